"""Which pages without a dataset are taken: so many for each page with one, the hard ones first."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter


class Choice:
    """Counts positives and ranks negatives, by split. On disk, since there can be millions."""

    def __init__(self, negatives_per_positive: float) -> None:
        self._ratio, self._positives = negatives_per_positive, Counter[str]()
        self._db = sqlite3.connect("")  # a temporary file that vanishes by itself
        self._db.execute("CREATE TABLE page (split TEXT, hardness INT, place TEXT, source TEXT, page INT, taken INT)")

    def positive(self, split: str) -> None:
        self._positives[split] += 1

    def negative(self, split: str, hardness: int, source: str, sha256: str, page: int) -> None:
        """`sha256` of the PDF: among equally hard pages it decides, so that a renamed paper changes nothing."""
        place = hashlib.sha256(f"{sha256}:{page}".encode()).hexdigest()
        self._db.execute("INSERT INTO page VALUES (?, ?, ?, ?, ?, 0)", (split, hardness, place, source, page))

    def decide(self) -> int:
        """Take the hardest of each split; returns how many are not taken."""
        self._db.execute("CREATE INDEX by_place ON page (source, page)")
        for split in {row[0] for row in self._db.execute("SELECT DISTINCT split FROM page")}:
            limit = round(self._ratio * self._positives[split])
            best = "SELECT rowid FROM page WHERE split = ? ORDER BY hardness DESC, place LIMIT ?"
            self._db.execute(f"UPDATE page SET taken = 1 WHERE rowid IN ({best})", (split, limit))
        return int(self._db.execute("SELECT count(*) FROM page WHERE taken = 0").fetchone()[0])

    def takes(self, source: str, page: int) -> bool:
        """Whether a negative page was chosen."""
        query = "SELECT 1 FROM page WHERE source = ? AND page = ? AND taken"
        return self._db.execute(query, (source, page)).fetchone() is not None

    def close(self) -> None:
        self._db.close()
