"""Where papers are read: in children of this process, or on the workers of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.documents.children import Limits, Reading, children, read_paper

READER = "2"  # another number has all papers read again: for changes to what text/ holds
AHEAD = 64  # papers that are read, or wait for a reader, before their turn


@dataclass(frozen=True)
class Readers:
    """Runs `read_paper`, which leaves the work to a child process: here a thread for each reader is all it takes."""

    executor: Executor
    limits: Limits
    ahead: int = AHEAD

    def start(self, file: str, password: str | None, known: str | None) -> Future[Reading]:
        return self.executor.submit(read_paper, file, password, known, self.limits)

    def result(self, future: Future[Reading]) -> Reading:
        """What came of a paper. Raises ClusterError."""
        return future.result()


@contextmanager
def readers(config: Config) -> Iterator[Readers]:
    """Raises ClusterError where DASK_SCHEDULER names a cluster that cannot be used."""
    limits = Limits(config.read_timeout_s, config.read_memory_mb)
    if config.dask_scheduler:
        from pipeline.documents.cluster import cluster_readers

        with cluster_readers(config, limits) as made:
            yield made
        return
    executor = ThreadPoolExecutor(config.read_processes or os.cpu_count() or 1)
    try:
        yield Readers(executor, limits)
    except BaseException:  # Ctrl-C, or an error in what is done with the papers: nobody waits for the others
        children.stop()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        children.go_on()
