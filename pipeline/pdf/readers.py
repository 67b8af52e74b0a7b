"""Where papers are read. This module: in worker processes on this machine. `dask_cluster`: on other machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from tqdm import tqdm

from pipeline.config import Config
from pipeline.pdf.pool import Limits, ReadResult, read_paper, workers

QUEUE_LENGTH = 64  # papers that are read ahead, or wait for a worker


@dataclass
class Readers:
    """Reads papers through an executor. `queue_length`: papers to submit before waiting for the first result."""

    executor: Executor
    limits: Limits
    queue_length: int = QUEUE_LENGTH

    def start(self, file: str, password: str | None, known_sha256: str | None) -> Future[ReadResult]:
        """Submit a paper. A file whose SHA-256 is `known_sha256` is not read."""
        return self.executor.submit(read_paper, file, password, known_sha256, self.limits)

    def result(self, future: Future[ReadResult]) -> ReadResult:
        """Wait for a paper. Raises ClusterError if the papers are read on a cluster."""
        return future.result()


@dataclass(kw_only=True)
class LocalReaders(Readers):
    """Reads papers on this machine. `on_ocr` is called after each page that was read by OCR, which takes seconds."""

    on_ocr: Callable[[], object]

    def start(self, file: str, password: str | None, known_sha256: str | None) -> Future[ReadResult]:
        """Submit a paper."""
        return self.executor.submit(read_paper, file, password, known_sha256, self.limits, self.on_ocr)


@contextmanager
def local_readers(config: Config, limits: Limits) -> Iterator[Readers]:
    """READ_PROCESSES worker processes on this machine; by default one for each CPU core."""
    # Threads are enough to feed the worker processes.
    executor = ThreadPoolExecutor(config.read_processes or os.cpu_count() or 1)
    progress: tqdm[NoReturn] = tqdm((), "OCR", unit=" pages", leave=False, disable=None if limits.ocr else True)
    try:
        yield LocalReaders(executor, limits, on_ocr=progress.update)
    except BaseException:  # Ctrl-C, or an error in the caller: the papers that are being read are not needed any more
        workers.cancel()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        progress.close()
        workers.resume()
