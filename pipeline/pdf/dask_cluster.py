"""Read papers on the workers of a Dask cluster: other machines that see the same files and run the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from pipeline.config import ROOT, Config
from pipeline.errors import ClusterError
from pipeline.pdf.pool import Limits, ReadResult, read_paper
from pipeline.pdf.readers import QUEUE_LENGTH, Readers
from pipeline.pdf.version import extraction_environment

if TYPE_CHECKING:
    from distributed import Client

CONNECT_TIMEOUT_S = 5.0
CHECK_INTERVAL_S = 0.5  # between checks of the connection while waiting for a paper
PAPERS_PER_TASK = 8  # a task of Dask costs this process some milliseconds, more than planning a paper
TASKS_PER_THREAD = 2  # that wait at each Dask worker, so that it never waits for this process

Paper = tuple[str, str | None, str | None]  # the arguments of `Readers.start`


class Reading(Future[ReadResult]):
    """The reading of one paper, as part of a task."""

    def __init__(self, paper: Paper) -> None:
        super().__init__()
        self.paper = paper


@dataclass(kw_only=True)
class ClusterReaders(Readers):
    """Reads papers on the cluster that `client` is connected to.

    Several papers are one task, but not the first ones, nor the last: few papers are spread over all threads.
    """

    client: Client
    threads: int
    _waiting: list[Reading] = field(default_factory=list)  # for a task
    _tasks: set[Future[list[ReadResult]]] = field(default_factory=set)  # that have not ended
    _started: int = 0  # papers

    def start(self, file: str, password: str | None, known_sha256: str | None) -> Future[ReadResult]:
        """Submit a paper. Raises ClusterError if the cluster was lost."""
        reading = Reading((file, password, known_sha256))
        self._waiting.append(reading)
        self._started += 1
        number = 1 if self._started <= self.threads or self.limits.ocr else PAPERS_PER_TASK
        if len(self._waiting) == number:
            self._submit(number)
        return reading

    def result(self, future: Future[ReadResult]) -> ReadResult:
        """Wait for a paper. Raises ClusterError if the cluster was lost, but not if one paper killed its workers."""
        from distributed import KilledWorker

        if future in self._waiting:
            self._submit(len(self._waiting))
        try:
            return self._wait_for(future)
        except KilledWorker:
            pass
        # Another paper of the task may be the reason, so this one is read again, alone.
        alone = Reading(cast(Reading, future).paper)
        self._waiting.insert(0, alone)
        self._submit(1)
        try:
            return self._wait_for(alone)
        except KilledWorker:
            return ReadResult(
                problem="the Dask workers that read it died: read it without DASK_SCHEDULER, or remove it"
            )

    def _submit(self, number: int) -> None:
        """Make a task of the first papers that wait."""
        self._check_connection()
        readings = self._waiting[:number]
        del self._waiting[:number]
        task = self.executor.submit(_read_papers, [reading.paper for reading in readings], self.limits)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(_distribute, readings))

    def _wait_for(self, future: Future[ReadResult]) -> ReadResult:
        # If the connection is lost, Dask cancels most futures, but some are never completed.
        while not wait([future], timeout=CHECK_INTERVAL_S).done:
            self._check_connection()
            while self._waiting and len(self._tasks) < self.threads:
                self._submit(1)
        try:
            return future.result()
        except (CancelledError, OSError) as error:
            raise _connection_lost(str(error) or type(error).__name__) from None

    def _check_connection(self) -> None:
        if self.client.status != "running":
            raise _connection_lost(f"the client is {self.client.status}")


def _read_papers(papers: list[Paper], limits: Limits) -> list[ReadResult]:
    """Runs on a Dask worker."""
    return [read_paper(*paper, limits) for paper in papers]


def _distribute(readings: list[Reading], task: Future[list[ReadResult]]) -> None:
    """Give each paper its result when their task has ended."""
    try:
        results = task.result()
    except BaseException as error:
        for reading in readings:
            reading.set_exception(error)
        return
    for reading, result in zip(readings, results, strict=True):
        reading.set_result(result)


def _connection_lost(reason: str) -> ClusterError:
    return ClusterError(
        f"The connection to the Dask cluster was lost while papers were read ({reason}): restart the cluster, then run "
        "this again."
    )


@contextmanager
def cluster_readers(config: Config, limits: Limits) -> Iterator[Readers]:
    """The cluster at DASK_SCHEDULER.

    Raises ClusterError if it has no scheduler or no worker, or if a worker sees other files or runs other code.
    """
    with connected(str(config.dask_scheduler)) as client:
        _check_workers(client, config)
        executor = client.get_executor(pure=False)
        threads = sum(client.nthreads().values())
        try:
            queue_length = max(QUEUE_LENGTH, threads * TASKS_PER_THREAD * PAPERS_PER_TASK)
            yield ClusterReaders(executor, limits, queue_length, client=client, threads=threads)
        finally:
            executor.shutdown(wait=False)


@contextmanager
def connected(address: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Iterator[Client]:
    """A client of the scheduler at `address`. Raises ClusterError if it does not answer within `timeout_s`."""
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(
            "DASK_SCHEDULER needs the package distributed: run `pip install -r requirements-cluster.txt` first."
        ) from None
    try:
        client = Client(address, timeout=timeout_s, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        raise ClusterError(
            f"Cannot connect to a Dask scheduler at {address} ({reason}): start one there, or remove DASK_SCHEDULER "
            "from config.yaml."
        ) from None
    with client:
        yield client


def _check_workers(client: Client, config: Config) -> None:
    """Raise ClusterError unless all workers see the papers and run the same versions as this process."""
    input_dir = str(config.input_dir.resolve())
    found_on_workers = client.run(_remote_check(input_dir))
    if not found_on_workers:
        raise ClusterError(
            f"The Dask scheduler at {config.dask_scheduler} has no workers: start at least one, then run this again."
        )
    expected = extraction_environment(input_dir)
    for worker, found in found_on_workers.items():
        if isinstance(found, str):
            raise ClusterError(
                f"The Dask worker {worker} cannot import this program ({found}): start it in {ROOT} with the same "
                "Python environment."
            )
        for name, value in expected.items():
            if found[name] != value:
                raise ClusterError(
                    f"On the Dask worker {worker}, {name} is {found[name]}, but here it is {value}: use the same files "
                    "and the same Python environment on all machines."
                )


def _remote_check(input_dir: str) -> Callable[[], dict[str, str] | str]:
    """A function that runs on a Dask worker. It returns the worker's environment, or the message of an ImportError."""

    # A nested function is sent to the worker by value. So it can run even where this program cannot be imported.
    def check() -> dict[str, str] | str:
        try:
            from pipeline.pdf.version import extraction_environment

            return extraction_environment(input_dir)
        except ImportError as error:
            return str(error)

    return check
