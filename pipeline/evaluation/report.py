"""evaluation.json: everything that was measured, in a stable form (described in docs/evaluation.md)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.measures import COVERAGE, MEASURES, Estimate
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName, MarkedPage
from pipeline.evaluation.placement import Placement
from pipeline.evaluation.runs import Comparison, Evaluation, StageResult
from pipeline.evaluation.scoring import RULES, MentionError, Row
from pipeline.files import write_atomic
from pipeline.text.grounding import PageIndex, Span
from pipeline.words import counted

FORMAT = 1  # of evaluation.json; it is raised if a key changes its meaning


@dataclass(frozen=True)
class Quotation:
    """A mention in its sentence: the text before it, the mention, the text after it."""

    before: str
    name: str
    after: str

    @property
    def sentence(self) -> str:
        return self.before + self.name + self.after


def quotation(page: MarkedPage, mention: MarkedName) -> Quotation | None:
    """The sentence of a mention, or None if the mention was not located."""
    if mention.start is None or mention.end is None:
        return None
    start, end = max(0, mention.start), min(mention.end, len(page.text))
    sentence = PageIndex(page.text).sentence(Span(start, end, "exact"))
    return Quotation(page.text[sentence.start : start], page.text[start:end], page.text[end : sentence.end])


def shown(value: float | None) -> str:
    """A measure as it is printed everywhere: three decimals."""
    return "–" if value is None else f"{value:.3f}"


def shown_interval(estimate: Estimate) -> str:
    """An interval as it is printed everywhere, or nothing."""
    return "" if estimate.low is None else f"{shown(estimate.low)}–{shown(estimate.high)}"


def shown_difference(estimate: Estimate) -> tuple[str, str]:
    """A difference and its interval as they are printed everywhere, with signs."""
    value, low, high = ("–" if one is None else f"{one:+.3f}" for one in (estimate.value, estimate.low, estimate.high))
    return value, "" if estimate.low is None else f"{low} to {high}"


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report. Raises WorkspaceError."""
    content = json.dumps(report, ensure_ascii=False, indent=1)
    write_atomic(path, content.encode("utf-8", "replace") + b"\n")


def comparison_report(comparison: Comparison) -> dict[str, Any]:
    """The report of two runs: the differences, and the report of each."""
    return {
        "format": FORMAT,
        "f1_difference": {level: asdict(estimate) for level, estimate in comparison.differences.items()},
        "pages_of_one_run_only": comparison.only_one,
        "first": evaluation_report(comparison.first),
        "second": evaluation_report(comparison.second),
    }


def evaluation_report(evaluation: Evaluation) -> dict[str, Any]:
    """The report of one run."""
    placement = evaluation.placement
    return {
        "format": FORMAT,
        "run": str(evaluation.folder),
        "process": evaluation.process,
        "gold": [
            {"file": str(gold.path), "format": gold.format, "pages": len(gold.pages), "notes": gold.notes}
            for gold in evaluation.gold
        ],
        "bootstrap": {"samples": evaluation.samples, "seed": evaluation.seed, "coverage": COVERAGE},
        "rules": RULES,
        "min_specificity": evaluation.min_specificity,
        "evaluated": {
            "documents": len(evaluation.chosen.scores.documents),
            "pages": len(placement.pages),
            "mentions": sum(len(page.mentions) for page in placement.pages),
            "relocated": placement.relocated,
        },
        "unmatched_documents": placement.unmatched,
        "unplaced": [asdict(one) for one in placement.unplaced],
        "stages": {stage.process: _stage(stage) for stage in evaluation.stages},
        "errors": [_error(error) for error in evaluation.chosen.scores.errors],
    }


def _stage(stage: StageResult) -> dict[str, Any]:
    found, rows = stage.predictions, stage.scores.rows
    by: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row.group != "all":
            by.setdefault(row.group, {}).setdefault(row.value, {})[row.level] = _row(row)
    return {
        "levels": {row.level: _row(row) for row in rows if row.group == "all"},
        "by": by,
        "unlocated": stage.scores.unlocated(),
        "unanswered": dict(Counter(status for *_, status in found.unanswered)),
        "unanswered_pages": [
            {"document": document, "page": page, "status": status} for document, page, status in found.unanswered
        ],
        "not_evaluated": {"pages": found.other_pages, "mentions": found.other_mentions},
        "verdicts": verdict_counts(stage),
        "changes": [
            {"kind": change.kind, "right": change.right, "reason": change.reason, **_place(change.page, change.mention)}
            for change in found.changes
        ],
    }


def verdict_counts(stage: StageResult) -> dict[str, int]:
    """How many mentions a stage removed and restored, and how many of each rightly."""
    counts = {"removed": 0, "removed_rightly": 0, "restored": 0, "restored_rightly": 0}
    for change in stage.predictions.changes:
        counts[change.kind] += 1
        counts[f"{change.kind}_rightly"] += change.right
    return counts


def _row(row: Row) -> dict[str, Any]:
    return row.counts._asdict() | {name: asdict(row.measures[name]) for name in MEASURES}


def _error(error: MentionError) -> dict[str, Any]:
    return {"kind": error.kind, **_place(error.page, error.mention), "overlaps": list(error.overlaps)}


def _place(page: MarkedPage, mention: MarkedName) -> dict[str, Any]:
    """Where a mention is. Offsets refer to the text of the page in text/<document>.json."""
    place, quoted = mention.shifted(page.offset), quotation(page, mention)
    return {
        "document": page.document,
        "page": page.page,
        "name": mention.name,
        "start": place.start,
        "end": place.end,
        "sentence": quoted.sentence if quoted else None,
    }


def verdict_sentences(stage: StageResult) -> Iterator[str]:
    """How many mentions the stage removed and restored, and how often rightly, as printed everywhere."""
    found = verdict_counts(stage)
    for kind in ("removed", "restored"):
        if number := found[kind]:
            rightly = found[f"{kind}_rightly"]
            share = f"{rightly:,} of them rightly ({100 * rightly / number:.1f} %)"
            yield f"{stage.process} {kind} {counted(number, 'mention')}, {share}"


def coverage_notes(evaluation: Evaluation) -> Iterator[str]:
    """Sentences about what could not be evaluated. Lists are in evaluation.json."""
    for gold in evaluation.gold:
        yield from (f"{gold.path}: {note}" for note in gold.notes)
    yield from _placement_notes(evaluation.placement)
    yield from _prediction_notes(evaluation.chosen)


def _placement_notes(placement: Placement) -> Iterator[str]:
    for gold_id, reason in placement.unmatched.items():
        yield f"gold document {gold_id} was not found: {reason}"
    for one in placement.unplaced:
        page = "" if one.page is None else f", page {one.page}"
        yield f"gold left out: {one.document}{page}: {one.what}"
    if placement.relocated:
        yield f"{counted(placement.relocated, 'gold mention')} located again, because the gold's text differs"
    marked = [mention for page in placement.pages for mention in page.mentions]
    missing = [name for name in GROUP_FIELDS if not any(getattr(mention, name) for mention in marked)]
    if missing:
        yield f"the gold has no {' and no '.join(missing)}: there is no recall by {' and '.join(missing)}"


def _prediction_notes(stage: StageResult) -> Iterator[str]:
    found = stage.predictions
    statuses = Counter(status for *_, status in found.unanswered)
    if statuses:
        listed = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
        yield f"{counted(statuses.total(), 'gold page')} without an answer counted as empty: {listed}"
    if unlocated := stage.scores.unlocated():
        yield f"{counted(unlocated, 'predicted mention')} not located in the text: false positives on the level name"
    if found.other_mentions:
        pages = f", on {counted(found.other_pages, 'page')} without gold" if found.other_pages else ""
        yield f"not evaluated: {counted(found.other_mentions, 'mention')} outside of the gold{pages}"
