"""Which split a document belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pipeline.config import SPLITS, Split


def split_of(sha256: str, shares: Mapping[Split, float], seed: int) -> Split:
    """The split of a document. It depends on the hash of its PDF only, so no other paper and no name can change it.

    `shares`: sizes of the splits, relative to their sum.
    """
    position = int(hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()[:13], 16) / 16**13
    position *= sum(shares.get(split, 0.0) for split in SPLITS)
    for split in SPLITS:
        position -= shares.get(split, 0.0)
        if position < 0:
            return split
    return SPLITS[0]
