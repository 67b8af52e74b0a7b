"""Pages that say nearly the same: two editions of a paper, the boilerplate of a series."""

from __future__ import annotations

import hashlib
import re

SHINGLE = 8  # words; so many in a row are not the same by chance
KEPT_OF = 8  # one shingle in so many is kept: those whose hash is divisible by it (Broder, 1997, "modulo sketch")
NEARLY = 0.6  # of a page's shingles that stand in other pages
_WORD = re.compile(r"\w+")


class HeldOut:
    """What stands in the pages of valid and test."""

    def __init__(self) -> None:
        self._shingles: set[int] = set()

    def add(self, text: str) -> None:
        self._shingles |= sketch(text)

    def nearly_has(self, text: str) -> bool:
        """Whether most of a page stands in the pages that were added."""
        found = sketch(text)
        return bool(found) and len(found & self._shingles) >= NEARLY * len(found)


def sketch(text: str) -> set[int]:
    """The same sample of the runs of words of a text, wherever they stand; of a short text all of it."""
    words = [word.casefold() for word in _WORD.findall(text)]
    runs = (" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))
    hashes = {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs if run}
    kept = {found for found in hashes if found % KEPT_OF == 0}
    return kept or set(sorted(hashes)[:1])
