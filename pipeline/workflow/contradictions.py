"""Dataset names that a stage has judged both ways within one document."""

from __future__ import annotations

from collections import defaultdict

from pipeline.records import Document, JudgedBothWays
from pipeline.text.names import groups, name_forms


def judged_both_ways(document: Document) -> list[JudgedBothWays]:
    """The names with a valid and an invalid mention. A name and its acronym are the same name (see text/names.py)."""
    valid_on: dict[str, dict[bool, list[int]]] = defaultdict(lambda: {True: [], False: []})
    for page in document.pages:
        for dataset in page.datasets():
            if dataset.valid is not None:
                valid_on[" ".join(dataset.raw_name.split())][dataset.valid].append(page.page)
    names = list(valid_on)
    found = []
    for group in groups([name_forms(name) for name in names]):
        valid, invalid = (
            sorted({page for place in group for page in valid_on[names[place]][side]}) for side in (True, False)
        )
        if valid and invalid:
            found.append(JudgedBothWays(name=names[group[0]], valid_on=valid, invalid_on=invalid))
    return found
