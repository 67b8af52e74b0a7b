"""report.html: one page with plots, tables and every sentence. It needs no server and no network."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.export.columns import Row, Value
from pipeline.export.countries import country_name
from pipeline.files import replacing
from pipeline.pages.template import DATA, page_template
from pipeline.processes import PROCESSES, previous_process

_SAME = (
    "page",
    "raw_name",
    "sentence",
    "context",
    "specificity",
    "data_type",
    "geography",
    "producer",
    "year",
    "valid",
)
_STAGES = PROCESSES[1:]  # those that give verdicts
# What report.js knows about a mention, in this order.
FIELDS = ("paper", "dataset", *_SAME, "countries", "invalid_reason", "uncertain", "review", *_STAGES)
UNNAMED = -1
_PAPER = {"document": "document", **{name: f"paper_{name}" for name in ("title", "year", "doi", "country")}}
Dataset = tuple[Value, Value]  # canonical name, id


def write_report(path: Path, documents: Iterable[Sequence[Row]], about: Callable[[], dict[str, Any]]) -> None:
    """Write the report. `documents`: the rows of each. `about`: called after them; what the head of the page says.

    Holds the rows of one document in memory, and the list of papers and datasets. Raises WorkspaceError.
    """
    before, after = page_template(Path(__file__).with_name("report.html"), "Datasets in papers").split(DATA)
    papers: list[dict[str, Value]] = []
    datasets: dict[Dataset, int] = {}
    count = 0
    with replacing(path) as file:
        file.write(f'{before}{{"fields":{_json(FIELDS)},"mentions":['.encode())
        for rows in documents:
            if rows:
                papers.append({name: rows[0].get(column) for name, column in _PAPER.items()})
            both_ways = _judged_both_ways(rows)
            for row in rows:
                name = row.get("canonical_name")
                dataset = datasets.setdefault((name, row.get("canonical_id")), len(datasets)) if name else UNNAMED
                values = [len(papers) - 1, dataset, *_values(row, both_ways)]
                file.write((b",\n" if count else b"\n") + _json(values).encode())
                count += 1
        named = [{"name": name, "id": id_} for name, id_ in datasets]
        head = about() | {"stages": {process: FIELDS.index(process) for process in _STAGES}}
        file.write(f'],"papers":{_json(papers)},"datasets":{_json(named)},"about":{_json(head)}}}'.encode())
        file.write(after.encode())


def _values(row: Row, both_ways: set[Value]) -> list[Value | list[str]]:
    """The values of FIELDS after the numbers of paper and dataset."""
    decision = row.get("review_decision")
    return [
        *(row.get(name) for name in _SAME), _countries(row), row.get("invalid_reason"), _uncertain(row, both_ways),
        f"{decision} ({row.get('reviewer')})" if decision else None, *(_verdict(row, process) for process in _STAGES),
    ]  # fmt: skip


def _countries(row: Row) -> list[str] | None:
    codes = row.get("countries")
    return [country_name(code) for code in str(codes).split("; ")] if codes else None


def _judged_both_ways(rows: Sequence[Row]) -> set[Value]:
    """The canonical names with a valid and a rejected mention in one document."""
    verdicts: dict[Value, set[Value]] = defaultdict(set)
    for row in rows:
        verdicts[row.get("canonical_name")].add(row["valid"] is not False)
    return {name for name, found in verdicts.items() if name and len(found) > 1}


def _uncertain(row: Row, both_ways: set[Value]) -> Value:
    """Why a mention is uncertain, or None. What a person has decided is certain."""
    if row.get("review_decision"):
        return None
    if row.get("note"):
        return row["note"]
    if row.get("canonical_name") in both_ways:
        return "valid and rejected in the same paper"
    last = next((process for process in reversed(_STAGES) if row.get(f"{process}_valid") is not None), None)
    previous = previous_process(last) if last else None
    before = row.get(f"{previous}_valid") if previous else None
    if before is not None and before != row.get(f"{last}_valid"):
        return f"{last} overruled {previous}"
    return None


def _verdict(row: Mapping[str, Value], process: str) -> str | None:
    valid = row.get(f"{process}_valid")
    if valid is None:
        return None
    return ": ".join(filter(None, ["valid" if valid else "rejected", str(row.get(f"{process}_reason") or "")]))


def _json(value: object) -> str:
    """JSON without `<`, so that no text in it can close the script element around it."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
