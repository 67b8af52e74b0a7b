"""A worker process that crashes on every page with the text CRASH. Run by the pool as `-m tests.crashing_worker`.

If the environment variable CRASH_ONCE names a file, it crashes only as long as that file does not exist. With
CRASH_AT_END, it crashes after the last page.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.pdf import worker
from pipeline.pdf.extract import OpenPaper
from pipeline.records import Page


def read_pages(paper: OpenPaper, first: int) -> Iterator[Page]:
    marker = os.environ.get("CRASH_ONCE")
    for page in paper.pages(first):
        if "CRASH" in page.text and not (marker and Path(marker).exists()):
            if marker:
                Path(marker).touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        yield page
    if os.environ.get("CRASH_AT_END"):
        os.kill(os.getpid(), signal.SIGSEGV)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(worker.main(read_pages))
