"""The messages between a worker process and its parent: one JSON object per line."""

from __future__ import annotations

import signal

from pipeline.records import Page, Record

HAS_ALARM = hasattr(signal, "setitimer")  # Windows has none: there the parent watches the time


class ReadRequest(Record):
    """Read `file` from page `first_page` on, within `seconds`. A file whose SHA-256 is `known_sha256` is not read.

    `ocr`: languages in which pages without text are read by OCR; then `seconds` count from the last such page.
    """

    file: str
    password: str | None = None
    known_sha256: str | None = None
    first_page: int = 1
    seconds: float
    ocr: str | None = None


class WorkerMessage(Record):
    """One part of the reply. Each sets one of: `sha256`, `n_pages` with `title`, `year` and `remark`, `page`, and last
    `done`.

    With `done`, `languages` has the final language of each page, if all pages were read; `problem` says why the paper
    cannot be read, and `out_of_memory` that the page after the last one needs too much memory. A message with no field
    set means that the worker has started.
    """

    sha256: str | None = None
    n_pages: int | None = None
    title: str | None = None
    year: int | None = None
    remark: str | None = None
    page: Page | None = None
    done: bool = False
    languages: list[str | None] | None = None
    problem: str | None = None
    out_of_memory: bool = False
