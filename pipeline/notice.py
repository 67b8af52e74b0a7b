"""A line for the user while one step takes unusually long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noticed(message: str, seconds: float) -> Iterator[None]:
    """Print `message` to stderr, once, if the block takes longer than `seconds`."""
    timer = threading.Timer(seconds, lambda: print(message, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
