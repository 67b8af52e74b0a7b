"""Read papers in worker processes that are limited in time and memory, and replaced when they die."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, cast

from pipeline.config import ROOT, SECRETS
from pipeline.errors import WorkspaceError
from pipeline.pdf.worker_messages import HAS_ALARM, ReadRequest, WorkerMessage
from pipeline.records import Page

WORKER_MODULE = "pipeline.pdf.worker"
MAX_CRASHES = 3  # per paper: pages that may crash a worker before the rest of the paper is given up


@dataclass(frozen=True)
class Limits:
    """What one paper may use: seconds, and megabytes of address space (enforced on Linux).

    `ocr`: languages in which pages without text are read by OCR, such as "eng+deu". With it, `seconds` are counted from
    the last page that was read by OCR.
    """

    seconds: float
    megabytes: int
    ocr: str | None = None


@dataclass
class ReadResult:
    """The pages of a paper. None are given if `problem` says why it cannot be read, or if the file is `unchanged`.

    `title`, `year`: what the PDF's metadata say. `remark`: what the file has besides its pages. `has_languages`: the
    languages of the pages are final; if not, each page has its own guess.
    """

    sha256: str | None = None
    n_pages: int = 0
    title: str | None = None
    year: int | None = None
    remark: str | None = None
    pages: list[Page] = field(default_factory=list)
    problem: str | None = None
    unchanged: bool = False
    has_languages: bool = False


class ReadingCancelledError(Exception):
    """The pool was cancelled while a paper was waiting to be read."""


def read_paper(
    file: str,
    password: str | None,
    known_sha256: str | None,
    limits: Limits,
    on_ocr: Callable[[], object] | None = None,
) -> ReadResult:
    """Read a paper in a worker process, unless the file's SHA-256 is `known_sha256`.

    `on_ocr` is called after each page that was read by OCR.

    A page on which the worker crashes or runs out of memory twice gets a `problem`, and reading continues with the next
    page. When the time is over, all remaining pages get a `problem`. Raises ReadingCancelledError and WorkspaceError.
    """
    result, deadline = ReadResult(), time.monotonic() + limits.seconds
    crashes, retried = 0, -1  # `retried`: the number of pages that were read before the page that is tried again
    while crashes < MAX_CRASHES:
        is_retry = retried == len(result.pages)
        seconds_left = limits.seconds if limits.ocr else max(deadline - time.monotonic(), 0.01)
        request = ReadRequest(
            file=file, password=password, known_sha256=known_sha256, first_page=len(result.pages) + 1,
            seconds=seconds_left, ocr=limits.ocr,
        )  # fmt: skip
        failure = _read_on(result, request, limits, is_retry, on_ocr)
        if failure is None or (result.n_pages and len(result.pages) == result.n_pages):
            return result  # a worker that dies after the last page has read all
        if not failure.is_timeout and not is_retry:
            retried = len(result.pages)  # the worker's earlier papers may be the cause: try once more in a fresh one
            continue
        crashes += 1
        if not result.n_pages:
            result.problem = f"it cannot be opened: {failure.message}"
            return result
        _give_up(result, failure.message, result.n_pages if failure.is_timeout else len(result.pages) + 1)
        if len(result.pages) == result.n_pages:
            return result
    _give_up(
        result, f"it was not tried, because the PDF library crashed on {MAX_CRASHES} earlier pages", result.n_pages
    )
    return result


@dataclass(frozen=True)
class _Failure:
    """Why a worker did not reach the end of a paper."""

    message: str
    is_timeout: bool = False


def _read_on(
    result: ReadResult, request: ReadRequest, limits: Limits, fresh_worker: bool, on_ocr: Callable[[], object] | None
) -> _Failure | None:
    """Let a worker add pages to `result`. Returns None once the paper has been read to its end."""
    with (
        workers.borrow(limits.megabytes, fresh_worker) as worker,
        closing(worker.replies(request)) as messages,
    ):
        for message in messages:
            if message.out_of_memory:
                worker.kill()
                return _Failure(f"it needs more memory than READ_MEMORY_MB ({limits.megabytes})")
            if message.done:
                if message.languages is not None:
                    result.has_languages = True
                    for page, language in zip(result.pages, message.languages, strict=True):
                        page.language = language
                result.problem = message.problem
                result.unchanged = not message.problem and not result.n_pages
                return None
            result.sha256 = message.sha256 or result.sha256
            result.n_pages = message.n_pages or result.n_pages
            result.title, result.year = message.title or result.title, message.year or result.year
            result.remark = message.remark or result.remark
            if message.page:
                result.pages.append(message.page)
                if message.page.ocr and on_ocr:
                    on_ocr()
        if worker.timed_out:
            return _Failure(f"it takes longer than READ_TIMEOUT_S ({limits.seconds:g} s)", is_timeout=True)
        return _Failure("the PDF library crashes on it")


def _give_up(result: ReadResult, problem: str, last: int) -> None:
    """Mark all pages up to page `last` that were not read."""
    for number in range(len(result.pages) + 1, last + 1):
        result.pages.append(Page(page=number, text="", problem=problem))


class Worker:
    """A worker process. Raises WorkspaceError if it cannot be started."""

    def __init__(self, module: str, megabytes: int) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        # Each thread of OpenBLAS, a part of numpy, reserves address space, which counts towards the memory limit.
        environment["OPENBLAS_NUM_THREADS"] = "1"
        self.megabytes, self._timed_out = megabytes, False
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(megabytes)],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._in, self._out = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        if not self._out.readline():
            self.close()
            raise WorkspaceError(
                f"No worker process for reading papers can be started with READ_MEMORY_MB = {megabytes}: raise it, or "
                "run `pip install -r requirements.txt` again."
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def timed_out(self) -> bool:
        """Whether the process, which has died, was killed by the time limit."""
        return self._process.wait() == -signal.SIGALRM if HAS_ALARM else self._timed_out

    def replies(self, request: ReadRequest) -> Generator[WorkerMessage, None, None]:
        """Send a request and yield the replies. They end early if the process dies or is out of time."""
        with self._time_limit(request.seconds):
            with suppress(BrokenPipeError):
                self._in.write(request.model_dump_json().encode() + b"\n")
                self._in.flush()
            for line in self._out:
                if not line.endswith(b"\n"):
                    return  # the process died while it was writing the line
                yield WorkerMessage.model_validate_json(line)

    @contextmanager
    def _time_limit(self, seconds: float) -> Iterator[None]:
        """Kill the process after `seconds`, if it cannot do so itself (an alarm is cheaper than a thread per paper)."""
        if HAS_ALARM:
            yield
            return
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        try:
            yield
        finally:
            self._timed_out = not timer.is_alive()
            timer.cancel()
            timer.join()  # so that it cannot kill the process while it reads the next paper

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and close its pipes."""
        self.kill()
        with suppress(BrokenPipeError):  # a request may still be in the buffer
            self._in.close()
        self._out.close()


class WorkerPool:
    """The worker processes of this process, for all its threads.

    Idle workers are kept, because starting one takes longer than reading most papers.
    """

    def __init__(self) -> None:
        self._module = WORKER_MODULE
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._lock = threading.Lock()
        self._is_cancelled = False

    @contextmanager
    def borrow(self, megabytes: int, fresh: bool) -> Iterator[Worker]:
        """A worker for the calling thread alone; with `fresh`, a new process. Raises ReadingCancelledError.

        It goes back to the idle ones if it is alive at the end of the block, and is closed if not.
        """
        worker = (None if fresh else self._take_idle(megabytes)) or Worker(self._module, megabytes)
        with self._lock:
            is_cancelled = self._is_cancelled
            if not is_cancelled:
                self._busy.add(worker)
        if is_cancelled:
            worker.close()
            raise ReadingCancelledError
        reusable = False
        try:
            yield worker
            reusable = worker.is_alive
        finally:
            with self._lock:
                self._busy.discard(worker)
                if reusable:
                    self._idle.append(worker)
            if not reusable:
                worker.close()

    def _take_idle(self, megabytes: int) -> Worker | None:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive and worker.megabytes == megabytes:
                    return worker
                worker.close()
        return None

    def cancel(self) -> None:
        """Kill all busy workers, and let none start until `resume`."""
        with self._lock:
            self._is_cancelled = True
            for worker in self._busy:
                worker.kill()

    def resume(self) -> None:
        """Allow reading again after `cancel`."""
        with self._lock:
            self._is_cancelled = False

    def restart(self, module: str = WORKER_MODULE) -> None:
        """Close the idle workers. New ones will run `module`, which has to behave like the default one."""
        self.close()
        self._module = module

    def close(self) -> None:
        """Close the idle workers."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()


workers = WorkerPool()
atexit.register(workers.close)
