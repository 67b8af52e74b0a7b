"""Detection of near-duplicate pages, for example two editions of a paper or the standard text of a series."""

from __future__ import annotations

import hashlib
import re

SHINGLE = 8  # words; a run of this length rarely occurs twice by chance
KEPT_OF = 8  # keep one shingle in 8: those whose hash is divisible by 8 (Broder, 1997, "modulo sketch")
NEAR_DUPLICATE = 0.6  # share of a page's shingles that occur in other pages
_WORD = re.compile(r"\w+")


class HeldOut:
    """The shingles of all pages of valid and test."""

    def __init__(self) -> None:
        self._shingles: set[int] = set()

    def add(self, text: str) -> None:
        self._shingles |= sketch(text)

    def has_near_duplicate(self, text: str) -> bool:
        """Whether most shingles of a page occur in the pages that were added."""
        found = sketch(text)
        return bool(found) and len(found & self._shingles) >= NEAR_DUPLICATE * len(found)


def sketch(text: str) -> set[int]:
    """Hashes of a sample of the text's shingles (runs of words). Equal shingles are sampled in every text.

    At least one shingle is sampled from every text that has words.
    """
    words = [word.casefold() for word in _WORD.findall(text)]
    shingles = (" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))
    hashes = {
        int.from_bytes(hashlib.blake2b(shingle.encode(), digest_size=8).digest(), "big")
        for shingle in shingles
        if shingle
    }
    return {value for value in hashes if value % KEPT_OF == 0} or set(sorted(hashes)[:1])
