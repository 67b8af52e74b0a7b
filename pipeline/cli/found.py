"""What a stage has found, in one sentence, and the most frequent datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from pipeline.cli.output import Output
from pipeline.processes import previous_process
from pipeline.words import counted
from pipeline.workflow.findings import StageFindings

SHOWN_DATASETS = 5


def found_sentence(process: str, found: StageFindings, pages: int) -> str:
    """`extraction: found 3 mentions of 2 named datasets on 2 of 9 pages`, and what the stage did to them."""
    total = found.total
    sentence = f"{process}: found no mentions"
    if total.mentions:
        sentence = (
            f"{process}: found {counted(total.mentions, 'mention')} {of_datasets(len(found.datasets))} "
            f"on {total.pages:,} of {counted(pages, 'page')}"
        )
    previous = previous_process(process)
    if previous is None:
        return sentence
    sentence += f"; {total.rejected:,} rejected, {total.uncertain:,} with a note"
    if previous_process(previous):  # the first verdicts overrule none
        overruled = counted(total.removed + total.restored, "verdict")
        sentence += f"; {overruled} of {previous} overruled"
        if total.removed + total.restored:
            sentence += f": {total.removed:,} from valid to rejected, {total.restored:,} from rejected to valid"
    return sentence


def of_datasets(named: int) -> str:
    return f"of {counted(named, 'named dataset')}" if named else "without a name"


def stage_data(documents: int, pages: Mapping[str, int], found: StageFindings | None) -> dict[str, Any]:
    """A stage for --json: its documents, its pages by status, and what was found."""
    data: dict[str, Any] = {"documents": documents, "page_status": dict(pages)}
    if found:
        data |= {"found": vars(found.total) | {"datasets": len(found.datasets)}}
    return data


def print_frequent(output: Output, found: StageFindings) -> None:
    """The datasets that most papers mention."""
    rows = [(one.name, f"{one.mentions:,}", f"{one.papers:,}") for one in found.datasets[:SHOWN_DATASETS]]
    headers, alignment = ("most frequent datasets:", "mentions", "papers"), ("left", "right", "right")
    if rows:
        output.note(tabulate(rows, headers, tablefmt="plain", disable_numparse=True, colalign=alignment))
