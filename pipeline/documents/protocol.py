"""What a reader process and its parent say to each other, in lines of JSON."""

from __future__ import annotations

import signal

from pipeline.records import Page, Record

HAS_ALARM = hasattr(signal, "setitimer")  # not on Windows, where the parent has to watch the time


class Job(Record):
    """Read `file` from page `first` on, unless its bytes have the SHA-256 `known`."""

    file: str
    password: str | None = None
    known: str | None = None
    first: int = 1
    seconds: float


class Told(Record):
    """One thing at a time: the file's hash, its number of pages, a page; at the end `done`, and what was wrong."""

    sha256: str | None = None
    n_pages: int | None = None
    page: Page | None = None
    done: bool = False
    problem: str | None = None
    out_of_memory: bool = False
