"""Papers read on the workers of a Dask cluster: the same function, on other machines that see the same files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import ROOT, Config
from pipeline.documents.children import Limits, Reading
from pipeline.documents.executor import AHEAD, READER, Readers
from pipeline.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 5
PAPERS_PER_THREAD = 4  # waiting at each reader, so that none has to wait for us


class ClusterReaders(Readers):
    """Tells a paper that workers die of from a cluster that is gone."""

    def result(self, future: Future[Reading]) -> Reading:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker:
            return Reading(problem="the workers that read it died: read it alone, or take it out")
        except (CancelledError, OSError) as error:
            raise ClusterError(f"The Dask cluster was lost while papers were read ({error}): start it again.") from None


@contextmanager
def cluster_readers(config: Config, limits: Limits) -> Iterator[Readers]:
    """Raises ClusterError where there is no scheduler, no worker, or a worker that sees other files or other code."""
    with _client(str(config.dask_scheduler)) as client:
        threads = _checked(client, config)
        executor = client.get_executor(pure=False)
        try:
            yield ClusterReaders(executor, limits, max(AHEAD, threads * PAPERS_PER_THREAD))
        finally:
            executor.shutdown(wait=False)


@contextmanager
def _client(address: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError("DASK_SCHEDULER needs  pip install -r requirements-cluster.txt  .") from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        raise ClusterError(
            f"There is no Dask scheduler at {address} ({reason}): start one, or take DASK_SCHEDULER out of config.yaml."
        ) from None
    with client:
        yield client


def _checked(client: Client, config: Config) -> int:
    """The number of threads of all workers, which see the papers and run this very version."""
    input_dir = str(config.input_dir.resolve())
    seen = client.run(_look(input_dir))
    if not seen:
        raise ClusterError(f"The Dask scheduler at {config.dask_scheduler} has no workers: start some.")
    own = facts(input_dir)
    for worker, found in seen.items():
        if isinstance(found, str):
            raise ClusterError(
                f"The Dask worker {worker} cannot import this program ({found}): start it in its folder, {ROOT}, with "
                "the same environment."
            )
        for what in own:
            if found[what] != own[what]:
                raise ClusterError(
                    f"On the Dask worker {worker}, {what} is {found[what]}, and here {own[what]}: all machines need "
                    "the same files and the same environment."
                )
    return sum(client.nthreads().values())


def _look(input_dir: str) -> Callable[[], dict[str, Any] | str]:
    def look() -> dict[str, Any] | str:
        """Travels as it is: a worker that cannot import this program can still say so."""
        try:
            from pipeline.documents.cluster import facts
        except ImportError as error:
            return str(error)
        return facts(input_dir)

    return look


def facts(input_dir: str) -> dict[str, Any]:
    """What has to be the same on all machines for the texts to be the same."""
    return {
        "the papers' folder": input_dir if Path(input_dir).is_dir() else "missing",
        "the reader's version": READER,
        "the version of pymupdf": version("pymupdf"),
        "the version of py3langid": version("py3langid"),
    }
