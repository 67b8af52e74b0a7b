"""What is known about the papers: from a table metadata.csv of the user in INPUT_DIR, or else from the PDFs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError
from pipeline.export.columns import Column, Value
from pipeline.export.user_tables import read_rows

METADATA = "metadata.csv"
FIELDS = ("title", "authors", "year", "doi", "country")
_DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:\s*)?(10\.\d{4,9}/\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Papers:
    """The rows of metadata.csv by document. `extra`: its other columns, which every table gets.

    `look_up`: returns title, authors and year of a DOI.
    """

    by_document: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    look_up: Callable[[str], Mapping[str, Value]] | None = None

    def columns(self) -> list[Column]:
        """The columns that metadata.csv adds to a table of mentions."""
        return [Column(f"paper_{name}", "text", f"column {name} of {METADATA}") for name in self.extra]

    def of(self, document: str, guessed: Mapping[str, Value]) -> dict[str, Value]:
        """The values of the columns of papers for a document. `guessed` fills in what metadata.csv does not have."""
        row = self.by_document.get(document, {})
        known: dict[str, Value] = {name: row.get(name) for name in (*FIELDS, *self.extra)}
        known |= {"year": _year(row.get("year")), "doi": _doi(row.get("doi"))}
        doi = known["doi"] or guessed.get("doi")
        if self.look_up and doi and not all(known[name] for name in ("title", "authors", "year")):
            known |= {name: value for name, value in self.look_up(str(doi)).items() if known[name] is None}
        used = [name for name in guessed if known[name] is None]
        known |= {name: guessed[name] for name in used}
        return {**{f"paper_{name}": value for name, value in known.items()}, "paper_guessed": ", ".join(used) or None}


def load_papers(input_dir: Path) -> Papers:
    """Read metadata.csv, if there is one. Raises InputError if it has no column `document`, or a document twice."""
    path = input_dir / METADATA
    if not path.exists():
        return Papers()
    rows: dict[str, Mapping[str, str]] = {}
    extra: dict[str, None] = {}
    for place, cells in read_rows(path, "The metadata file"):
        row = {name.strip().lower(): (value or "").strip() for name, value in cells.items()}
        document = row.pop("document", "").removesuffix(".pdf")
        if not document:
            raise InputError(
                f"{path}, {place}, names no document: add a column 'document' with the path of the PDF in "
                "INPUT_DIR, without .pdf."
            )
        if document in rows:
            raise InputError(f"{path}, {place}, names the document '{document}' again: delete one of its lines.")
        if "guessed" in row:
            raise InputError(f"{path} has a column 'guessed', which the tables use for something else: rename it.")
        extra |= dict.fromkeys(name for name in row if name not in FIELDS)
        rows[document] = {name: value for name, value in row.items() if value}
    return Papers(rows, tuple(extra))


def _year(text: str | None) -> int | None:
    found = re.search(r"\b(?:1[5-9]|20)\d\d\b", text or "")
    return int(found[0]) if found else None


def _doi(text: str | None) -> str | None:
    found = _DOI.fullmatch(text or "")
    return found[1] if found else text
