"""Dataset names that a stage has judged both ways within one document."""

from __future__ import annotations

from pipeline.records import Document, JudgedBothWays
from pipeline.text.names import key


def judged_both_ways(document: Document) -> list[JudgedBothWays]:
    """The names with a valid and an invalid mention, in the order in which they first occur.

    Names that differ only in letter case, punctuation, years, an article or the word "data" are the same.
    """
    found: dict[str, JudgedBothWays] = {}
    for page in document.pages:
        for dataset in page.datasets():
            if dataset.valid is not None:
                name = " ".join(dataset.raw_name.split())
                entry = found.setdefault(key(name), JudgedBothWays(name=name, valid_on=[], invalid_on=[]))
                pages = entry.valid_on if dataset.valid else entry.invalid_on
                if page.page not in pages:
                    pages.append(page.page)
    return [entry for entry in found.values() if entry.valid_on and entry.invalid_on]
