"""Which documents and pages a command works on: `--limit`, `--documents` and `--pages`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.errors import ConfigError, InputError
from pipeline.records import ManifestEntry


@dataclass(frozen=True)
class Selection:
    """`limit`: the first N documents. `documents`: a glob on document ids. `pages`: first and last page."""

    limit: int | None = None
    documents: str | None = None
    pages: tuple[int, int] | None = None

    def of(self, entries: Iterable[ManifestEntry]) -> Iterator[ManifestEntry]:
        """The selected readable documents. Consumes all entries.

        Raises InputError if the glob matches none, or the limit is not positive.
        """
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit} selects no document: give a number from 1.")
        matching = 0
        for entry in entries:
            if self.documents is None or fnmatchcase(entry.source, self.documents):
                matching += 1
                if not entry.problem and (self.limit is None or matching <= self.limit):
                    yield entry
        if self.documents and not matching:
            raise InputError(
                f"No document matches '{self.documents}': a document's id is its path in INPUT_DIR without .pdf "
                "(`python run_batch.py --check` lists all)."
            )

    def has_page(self, page: int) -> bool:
        return self.pages is None or self.pages[0] <= page <= self.pages[1]


def parse_pages(text: str) -> tuple[int, int]:
    """First and last page of `3` or `1-5`. Raises ConfigError for anything else."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise ConfigError(f"'{text}' is not a page or a range of pages: write 3 or 1-5")
    return first, last
