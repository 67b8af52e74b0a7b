"""What is in the input folder: pages, languages, scans, duplicates, and the problems of each paper."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from pipeline.batches.session import Session
from pipeline.pdf.discover import refreshed
from pipeline.records import ManifestEntry
from pipeline.store import manifest_entries


@dataclass
class InputTotals:
    """Totals over all papers. `pages`: by kind, with "text" for those that would be asked about."""

    documents: int = 0
    problems: int = 0
    remarks: int = 0
    duplicates: int = 0
    pages: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    def add(self, entry: ManifestEntry, original: str | None) -> None:
        self.documents += 1
        self.problems += bool(entry.problem)
        self.remarks += bool(entry.remark)
        self.duplicates += bool(original)
        self.pages.update(entry.kinds)
        self.pages["text"] += entry.n_pages - sum(entry.kinds.values())
        if entry.language:
            self.languages[entry.language] += 1


def check_input(session: Session, totals: InputTotals) -> Iterator[tuple[ManifestEntry, str | None]]:
    """Read what is new in the input folder. Yields each paper, and the earlier document with the same file, if any.

    `totals` is filled in. Memory does not grow with the number of papers.
    """
    with session.lock():  # not held while the papers are listed: a pager may stop the output for long
        for _ in refreshed(session.workspace, session.config):
            pass
    with closing(sqlite3.connect("")) as originals:  # a temporary file: there can be millions
        originals.execute("CREATE TABLE original (sha256 TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID")
        for entry in manifest_entries(session.workspace):
            found = originals.execute("SELECT source FROM original WHERE sha256 = ?", (entry.sha256,)).fetchone()
            original = str(found[0]) if found else None
            if entry.sha256 and original is None:
                originals.execute("INSERT INTO original VALUES (?, ?)", (entry.sha256, entry.source))
            totals.add(entry, original)
            yield entry, original
