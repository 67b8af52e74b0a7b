"""Sampling of negatives: a fixed number per positive page, those that say most about data first."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter


class NegativeSampler:
    """Counts the positive pages and ranks the negative pages of each split.

    The pages are kept in a temporary file, because there can be millions. `close` deletes it.
    """

    def __init__(self, negatives_per_positive: float) -> None:
        self._ratio, self._positives = negatives_per_positive, Counter[str]()
        self._db = sqlite3.connect("")  # an empty name: SQLite uses a temporary file
        self._db.execute("CREATE TABLE page (split TEXT, hardness INT, rank TEXT, source TEXT, page INT, chosen INT)")

    def add_positive(self, split: str) -> None:
        self._positives[split] += 1

    def add_negative(self, split: str, hardness: int, source: str, sha256: str, page: int) -> None:
        """Add a candidate. `sha256`: of the PDF. It orders equally hard pages, so a renamed paper changes nothing."""
        rank = hashlib.sha256(f"{sha256}:{page}".encode()).hexdigest()
        self._db.execute("INSERT INTO page VALUES (?, ?, ?, ?, ?, 0)", (split, hardness, rank, source, page))

    def sample(self) -> int:
        """Choose the hardest pages of each split. Returns the number of pages that were not chosen."""
        self._db.execute("CREATE INDEX by_place ON page (source, page)")
        for (split,) in self._db.execute("SELECT DISTINCT split FROM page").fetchall():
            limit = round(self._ratio * self._positives[split])
            hardest = "SELECT rowid FROM page WHERE split = ? ORDER BY hardness DESC, rank LIMIT ?"
            self._db.execute(f"UPDATE page SET chosen = 1 WHERE rowid IN ({hardest})", (split, limit))
        return int(self._db.execute("SELECT count(*) FROM page WHERE chosen = 0").fetchone()[0])

    def is_chosen(self, source: str, page: int) -> bool:
        """Whether `sample` chose this page."""
        query = "SELECT 1 FROM page WHERE source = ? AND page = ? AND chosen"
        return self._db.execute(query, (source, page)).fetchone() is not None

    def close(self) -> None:
        self._db.close()
