"""Reading papers in child processes that are limited in time and memory, and replaced when they die."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, cast

from pipeline.config import ROOT, SECRETS
from pipeline.documents.protocol import HAS_ALARM, Job, Told
from pipeline.errors import WorkspaceError
from pipeline.records import Page

READER = "pipeline.documents.reader"  # the module that a child runs
MOST_CRASHES = 3  # pages that may kill a reader, of one paper


@dataclass(frozen=True)
class Limits:
    """Of one paper: seconds, and megabytes of memory (on Linux)."""

    seconds: float
    megabytes: int


@dataclass
class Reading:
    """What came of one paper. `pages` is empty where `problem` says why, and where the file is `unchanged`."""

    sha256: str | None = None
    n_pages: int = 0
    pages: list[Page] = field(default_factory=list)
    problem: str | None = None
    unchanged: bool = False


def read_paper(file: str, password: str | None, known: str | None, limits: Limits) -> Reading:
    """The pages of a paper, unless its SHA-256 is `known`. A page that kills its reader costs that page alone."""
    reading, deadline, suspect = Reading(), time.monotonic() + limits.seconds, -1
    crashes = 0
    while crashes < MOST_CRASHES:
        left = deadline - time.monotonic()
        job = Job(file=file, password=password, known=known, first=len(reading.pages) + 1, seconds=max(left, 0.01))
        trouble = _advance(reading, job, limits, fresh=suspect == len(reading.pages))
        if trouble is None:
            return reading
        if not trouble.final and suspect != len(reading.pages):
            suspect = len(reading.pages)  # it may have been the reader, worn by other papers: a fresh one will tell
            continue
        crashes += 1
        if not reading.n_pages:
            reading.problem = f"it cannot be opened: {trouble.message}"
            return reading
        _give_up(reading, trouble)
        if trouble.final or len(reading.pages) == reading.n_pages:
            return reading
    _give_up(reading, _Trouble(f"{MOST_CRASHES} pages before it made the PDF library crash", final=True))
    return reading


@dataclass(frozen=True)
class _Trouble:
    """What stopped a reader; `final`: the rest of the paper is not tried."""

    message: str
    final: bool = False


def _give_up(reading: Reading, trouble: _Trouble) -> None:
    last = reading.n_pages if trouble.final else len(reading.pages) + 1
    for number in range(len(reading.pages) + 1, last + 1):
        reading.pages.append(Page(page=number, text="", problem=trouble.message))


def _advance(reading: Reading, job: Job, limits: Limits, fresh: bool) -> _Trouble | None:
    """Let a child read on. Returns what went wrong, or None when it has come to the end."""
    with children.borrowed(limits.megabytes, fresh) as child:
        for told in child.work(job):
            if told.out_of_memory:
                child.kill()
                return _Trouble(f"it needs more memory than READ_MEMORY_MB, {limits.megabytes}")
            if told.done:
                reading.problem = told.problem
                reading.unchanged = not told.problem and not reading.n_pages
                return None
            reading.sha256 = told.sha256 or reading.sha256
            reading.n_pages = told.n_pages or reading.n_pages
            if told.page:
                reading.pages.append(told.page)
        if child.was_slow:
            return _Trouble(f"it takes longer than READ_TIMEOUT_S, {limits.seconds:g} seconds", final=True)
        return _Trouble("the PDF library crashes on it")


class Stopped(Exception):
    """Nobody waits for the papers any more."""


class _Child:
    """One reader process."""

    def __init__(self, megabytes: int) -> None:
        command = [sys.executable, "-m", READER, str(megabytes)]
        # A thread of OpenBLAS, which numpy brings along, reserves memory that counts.
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        environment["OPENBLAS_NUM_THREADS"] = "1"
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._in, self._out = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self.megabytes, self._timed_out = megabytes, False
        if not self._out.readline():
            raise WorkspaceError(
                f"Papers cannot be read with {megabytes} MB: raise READ_MEMORY_MB, or install requirements.txt anew."
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def work(self, job: Job) -> Iterator[Told]:
        """What it tells; ends early when it dies, of itself or because its time is up."""
        with self._watched(job.seconds):
            with suppress(BrokenPipeError):
                self._in.write(job.model_dump_json().encode() + b"\n")
                self._in.flush()
            for line in self._out:
                if not line.endswith(b"\n"):
                    return  # it died in the middle of the line
                yield Told.model_validate_json(line)

    @contextmanager
    def _watched(self, seconds: float) -> Iterator[None]:
        """Kill it when its time is up, where it cannot have itself killed: a thread for each paper is not cheap."""
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
            timer.join()  # so that it cannot kill during the next paper

    @property
    def was_slow(self) -> bool:
        """Whether it died because its time was up."""
        return self._process.wait() == -signal.SIGALRM if HAS_ALARM else self._timed_out

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        with suppress(BrokenPipeError):
            self._in.close()
        self._out.close()


class _Children:
    """Readers at rest, for all threads of this process: to start one takes longer than to read most papers."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @contextmanager
    def borrowed(self, megabytes: int, fresh: bool) -> Iterator[_Child]:
        """One for this thread alone; it is kept if it comes back in good order. Raises Stopped."""
        child, well = self._taken(megabytes, fresh), False
        try:
            yield child
            well = child.alive
        finally:
            with self._lock:
                self._busy.discard(child)
                if well:
                    self._idle.append(child)
            if not well:
                child.close()

    def _taken(self, megabytes: int, fresh: bool) -> _Child:
        child = (None if fresh else self._idle_one(megabytes)) or _Child(megabytes)
        with self._lock:
            if not self._stopped:
                self._busy.add(child)
                return child
        child.close()
        raise Stopped

    def stop(self) -> None:
        """End all that are reading, and let none start: the user does not want to wait for them."""
        with self._lock:
            self._stopped = True
            for child in self._busy:
                child.kill()

    def go_on(self) -> None:
        self._stopped = False

    def _idle_one(self, megabytes: int) -> _Child | None:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive and child.megabytes == megabytes:
                    return child
                child.close()
        return None

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().close()


children = _Children()
atexit.register(children.close)
