"""What lies in the input folder: pages, languages, scans, duplicates, and what is wrong with each paper."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from pipeline.documents.discover import manifest_entries
from pipeline.records import ManifestEntry
from pipeline.workspace import Workspace

WIDTHS = (-40, 6, 10, 4, 6, 7, 8, 5)
HEADER = ("document", "pages", "characters", "lang", "images", "refs", "contents", "blank")
KINDS = ("image", "references", "contents", "blank")


@dataclass
class Checked:
    """Totals over all papers. `pages`: by kind, with "text" for those that would be asked about."""

    documents: int = 0
    problems: int = 0
    remarks: int = 0
    duplicates: int = 0
    pages: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)


def check(workspace: Workspace, tell: Callable[[str], object]) -> Checked:
    """Tell a line about each paper of the manifest, and return the totals. Memory does not grow with the papers."""
    checked = Checked()
    tell(_row(HEADER, "what is to be done"))
    with closing(_Originals()) as originals:
        for entry in manifest_entries(workspace):
            duplicate = originals.original_of(entry)
            tell(_row(_cells(entry), "; ".join(_notes(entry, duplicate))))
            _count(checked, entry, duplicate)
    return checked


class _Originals:
    """The first document of each content; on disk, since there can be millions."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")  # a temporary file that vanishes by itself
        self._db.execute("CREATE TABLE original (sha256 TEXT PRIMARY KEY, source TEXT) WITHOUT ROWID")

    def original_of(self, entry: ManifestEntry) -> str | None:
        """The earlier document with the same bytes, if there is one."""
        if not entry.sha256:
            return None
        found = self._db.execute("SELECT source FROM original WHERE sha256 = ?", (entry.sha256,)).fetchone()
        if found is None:
            self._db.execute("INSERT INTO original VALUES (?, ?)", (entry.sha256, entry.source))
        return str(found[0]) if found else None

    def close(self) -> None:
        self._db.close()


def _cells(entry: ManifestEntry) -> tuple[object, ...]:
    counts = [entry.kinds.get(kind) or "" for kind in KINDS]
    return entry.source, entry.n_pages or "", entry.characters or "", entry.language or "", *counts


def _row(cells: tuple[object, ...], notes: str) -> str:
    padded = (
        f"{cell!s:<{-width}}" if width < 0 else f"{cell!s:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)
    )
    return f"{'  '.join(padded)}  {notes}".rstrip()


def _notes(entry: ManifestEntry, duplicate: str | None) -> Iterator[str]:
    if entry.problem:
        yield entry.problem
    if entry.remark:
        yield entry.remark
    if duplicate:
        yield f"the same file as {duplicate} (its pages are paid for once)"


def _count(checked: Checked, entry: ManifestEntry, duplicate: str | None) -> None:
    checked.documents += 1
    checked.problems += bool(entry.problem)
    checked.remarks += bool(entry.remark)
    checked.duplicates += bool(duplicate)
    checked.pages.update(entry.kinds)
    checked.pages["text"] += entry.n_pages - sum(entry.kinds.values())
    if entry.language:
        checked.languages[entry.language] += 1
