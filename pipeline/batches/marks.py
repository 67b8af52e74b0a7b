"""Which documents have to be written anew, and what the written ones hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.batches.database import Database

Failure = dict[str, Any]  # page, kind, message, attempts


@dataclass(frozen=True)
class MergedFile:
    """A document's file as it was written: its bytes, the stamp of the text it was made from, its pages by status."""

    size: int
    text: str
    statuses: Counter[str]


class DocumentMarks(Database):
    """The part of the ledger that knows of document files."""

    def mark_dirty(self, process: str, source: str) -> None:
        self._run("INSERT OR IGNORE INTO dirty VALUES (?, ?)", process, source)

    def mark_merged(self, process: str, source: str, merged: MergedFile, failures: Sequence[Failure]) -> None:
        """The document's file shows all that is in here."""
        self._run("DELETE FROM dirty WHERE process = ? AND source = ?", process, source)
        values = (merged.size, merged.text, json.dumps(merged.statuses), json.dumps(failures) if failures else None)
        self._run("INSERT OR REPLACE INTO merged VALUES (?, ?, ?, ?, ?, ?)", process, source, *values)

    def failures(self, process: str) -> dict[str, list[Failure]]:
        """The asks of each document that were given up."""
        query = "SELECT source, failures FROM merged WHERE process = ? AND failures IS NOT NULL"
        return {source: json.loads(failures) for source, failures in self._all(query, process)}

    def all_merged(self, process: str) -> Iterator[tuple[str, Counter[str]]]:
        """(document, its pages by status as its file shows them)."""
        for source, statuses in self._all("SELECT source, statuses FROM merged WHERE process = ?", process):
            yield source, Counter(json.loads(statuses))

    def merged(self, process: str, source: str) -> MergedFile | None:
        """What is known of a document's file, or None where none was written by this ledger."""
        rows = self._all("SELECT size, text, statuses FROM merged WHERE process = ? AND source = ?", process, source)
        return MergedFile(rows[0][0], rows[0][1], Counter(json.loads(rows[0][2]))) if rows else None

    def dirty(self, process: str) -> list[str]:
        """The documents whose file does not show all that is in here."""
        return [row[0] for row in self._all("SELECT source FROM dirty WHERE process = ? ORDER BY source", process)]

    def is_dirty(self, process: str, source: str) -> bool:
        return bool(self._all("SELECT 1 FROM dirty WHERE process = ? AND source = ?", process, source))
