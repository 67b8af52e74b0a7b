"""One row per document and dataset: how often and how the document mentions it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.export.columns import Value
from pipeline.export.mentions import hashed
from pipeline.export.registry import Registry

SOURCE = "dataset-mentions"


def dataset_rows(rows: Sequence[Mapping[str, Value]], registry: Registry) -> Iterator[dict[str, Value]]:
    """The rows of the datasets of one document, most mentions first. `rows`: of all its exported mentions.

    Rejected mentions do not count. Unnamed data are grouped by their words.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Value]]] = {}
    for row in rows:
        if row["valid"] is not False:
            groups.setdefault(_dataset(row), []).append(row)
    for dataset, mentions in sorted(groups.items(), key=lambda item: (-len(item[1]), str(item[0]))):
        yield _row(dataset, mentions, registry)


def _dataset(row: Mapping[str, Value]) -> tuple[Any, ...]:
    """What tells datasets apart: the canonical name, or the words of unnamed data."""
    if row.get("canonical_name"):
        return row["canonical_name"], row.get("canonical_id")
    return " ".join(str(row["raw_name"]).split()).lower(), None, "unnamed"


def _row(dataset: tuple[Any, ...], mentions: Sequence[Mapping[str, Value]], registry: Registry) -> dict[str, Value]:
    first = mentions[0]
    entry = registry.by_id.get(str(first.get("canonical_id")))
    contexts = [row.get("context") for row in mentions]
    year = first.get("paper_year")
    countries = dict.fromkeys(code for row in mentions for code in str(row.get("countries") or "").split("; ") if code)
    printed = dict.fromkeys(" ".join(str(row["raw_name"]).split()) for row in mentions)
    return {
        "id": hashed(str(first["document"]), *map(str, dataset)),
        "document": first["document"],
        "publication": first.get("paper_doi"),
        "publication_title": first.get("paper_title"),
        "publishedDate": None if year is None else str(year),
        "dataset": first.get("canonical_id"),
        "title": first.get("canonical_name") or next(iter(printed)),
        "repository": (entry and entry.producer)
        or next((row["producer"] for row in mentions if row["producer"]), None),
        "source": SOURCE,
        "mentions": len(mentions),
        "pages": ", ".join(dict.fromkeys(str(row["page"]) for row in mentions)),
        "primary": contexts.count("primary"),
        "supporting": contexts.count("supporting"),
        "background": contexts.count("background"),
        "used": "primary" in contexts or "supporting" in contexts,
        "countries": "; ".join(countries) or None,
        "names": "; ".join(printed),
        "first_sentence": first["sentence"],
    }
