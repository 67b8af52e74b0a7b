"""Which documents must be written again, and what the written ones contain."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.ledger.schema import Database

Failure = dict[str, Any]  # page, part if there are several, kind, message, attempts


@dataclass(frozen=True)
class WrittenDocument:
    """A document file as it was written.

    `size`: bytes. `stamp`: changes with everything it was made from. `statuses`: number of pages by status. `found`:
    what it says about its mentions, for the summaries; None if an older version has written it.
    """

    size: int
    stamp: str
    statuses: Counter[str]
    failures: Sequence[Failure] = ()
    found: dict[str, Any] | None = None


class DocumentStates:
    """The tables `dirty` and `merged`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def mark_outdated(self, process: str, source: str) -> None:
        self._db.run("INSERT OR IGNORE INTO dirty VALUES (?, ?)", process, source)

    def mark_askers(self, process: str, key: str) -> None:
        """Mark the documents that ask this question."""
        query = "INSERT OR IGNORE INTO dirty SELECT process, source FROM ask WHERE key = ? AND process = ?"
        self._db.run(query, key, process)

    def mark_askers_of_batch(self, batch: int) -> None:
        """Mark the documents that ask a question of this batch."""
        query = (
            "INSERT OR IGNORE INTO dirty SELECT DISTINCT ask.process, source FROM attempt"
            " CROSS JOIN ask INDEXED BY ask_key USING (key, process) WHERE batch = ?"
        )
        self._db.run(query, batch)

    def mark_written(self, process: str, source: str, written: WrittenDocument) -> None:
        """The document's file contains everything that the ledger knows."""
        self._db.run("DELETE FROM dirty WHERE process = ? AND source = ?", process, source)
        failures = json.dumps(written.failures) if written.failures else None
        found = json.dumps(written.found, separators=(",", ":"))
        values = (written.size, written.stamp, json.dumps(written.statuses), failures, found)
        self._db.run("INSERT OR REPLACE INTO merged VALUES (?, ?, ?, ?, ?, ?, ?)", process, source, *values)

    def any(self, process: str) -> bool:
        """Whether a document of the stage was written."""
        return self._db.exists("SELECT 1 FROM merged WHERE process = ? LIMIT 1", process)

    def written(self, process: str, source: str) -> WrittenDocument | None:
        """What is known of a document's file, or None if this ledger has not written one."""
        query = "SELECT size, text, statuses, failures, found FROM merged WHERE process = ? AND source = ?"
        for size, stamp, statuses, failures, found in self._db.all(query, process, source):
            pages, given_up = Counter(json.loads(statuses)), json.loads(failures or "[]")
            return WrittenDocument(size, stamp, pages, given_up, json.loads(found or "null"))
        return None

    def found(self, process: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(document, what is kept about its mentions) of all written documents, in the order of their ids."""
        query = "SELECT source, found FROM merged WHERE process = ? AND found IS NOT NULL ORDER BY source"
        for source, found in self._db.each(query, process):
            if found != "null":
                yield source, json.loads(found)

    def is_outdated(self, process: str, source: str) -> bool:
        return self._db.exists("SELECT 1 FROM dirty WHERE process = ? AND source = ?", process, source)

    def outdated(self, process: str) -> list[str]:
        """The documents whose file must be written again."""
        return [row[0] for row in self._db.all("SELECT source FROM dirty WHERE process = ? ORDER BY source", process)]

    def page_counts(self, process: str) -> Iterator[tuple[str, Counter[str]]]:
        """(document, number of pages by status) of all written documents."""
        for source, statuses in self._db.all("SELECT source, statuses FROM merged WHERE process = ?", process):
            yield source, Counter(json.loads(statuses))
