"""The time, behind one interface: tests replace it, so that nothing has to wait."""

from __future__ import annotations

import time


class Clock:
    """The system's clock. Times are in seconds."""

    def time(self) -> float:
        """Seconds since 1970 (Unix)."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK = Clock()
