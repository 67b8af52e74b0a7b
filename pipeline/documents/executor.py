"""Where papers are read: in children of this process, or on the workers of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from pipeline.config import Config


@contextmanager
def reading_executor(config: Config) -> Iterator[Executor]:
    """Runs `read_paper`, which leaves the work to a child process: a thread for each is all it takes."""
    executor = ThreadPoolExecutor(config.read_processes or os.cpu_count() or 1)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
