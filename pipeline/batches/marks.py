"""Which documents have to be written anew, and what the written ones hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.batches.database import Database

Failure = dict[str, Any]  # page, kind, message, attempts


class DocumentMarks(Database):
    """The part of the ledger that knows of document files."""

    def mark_dirty(self, process: str, source: str) -> None:
        self._run("INSERT OR IGNORE INTO dirty VALUES (?, ?)", process, source)

    def mark_merged(
        self, process: str, source: str, size: int, statuses: Mapping[str, int], failures: Sequence[Failure]
    ) -> None:
        """The document's file, of `size` bytes, shows all that is in here; `statuses`: its pages by status."""
        self._run("DELETE FROM dirty WHERE process = ? AND source = ?", process, source)
        values = (size, json.dumps(statuses), json.dumps(failures) if failures else None)
        self._run("INSERT OR REPLACE INTO merged VALUES (?, ?, ?, ?, ?)", process, source, *values)

    def failures(self, process: str) -> dict[str, list[Failure]]:
        """The asks of each document that were given up."""
        query = "SELECT source, failures FROM merged WHERE process = ? AND failures IS NOT NULL"
        return {source: json.loads(failures) for source, failures in self._all(query, process)}

    def all_merged(self, process: str) -> Iterator[tuple[str, Counter[str]]]:
        """(document, its pages by status as its file shows them)."""
        for source, statuses in self._all("SELECT source, statuses FROM merged WHERE process = ?", process):
            yield source, Counter(json.loads(statuses))

    def merged(self, process: str, source: str) -> tuple[int, Counter[str]] | None:
        """(bytes, pages by status) of a document's file, or None where none was written by this ledger."""
        rows = self._all("SELECT size, statuses FROM merged WHERE process = ? AND source = ?", process, source)
        return (rows[0][0], Counter(json.loads(rows[0][1]))) if rows else None

    def is_dirty(self, process: str, source: str) -> bool:
        return bool(self._all("SELECT 1 FROM dirty WHERE process = ? AND source = ?", process, source))
