"""The tables of `evaluate.py`. They fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from pipeline.cli.output import Output
from pipeline.evaluation import (
    GROUP_FIELDS,
    LEVELS,
    MEASURES,
    Comparison,
    Evaluation,
    Row,
    coverage_notes,
    shown,
    shown_difference,
    shown_interval,
    verdict_sentences,
)
from pipeline.records import SPECIFICITIES
from pipeline.words import counted

WIDTH = 80
MAX_NOTES = 10  # that are printed; all are in evaluation.json
LEVEL_NAMES = {"mention": "mention", "mention_lenient": "lenient", "name": "name", "page": "page"}
MEASURE_NAMES = {"precision": "precision", "recall": "recall", "f1": "F1", "f05": "F0.5"}


def print_evaluation(output: Output, evaluation: Evaluation) -> None:
    """The measures of all stages, what the verdicts changed, the chosen stage by field, and notes."""
    scores = evaluation.chosen.scores
    mentions = sum(len(page.mentions) for page in evaluation.placement.pages)
    parts = (counted(scores.pages, "page"), counted(len(scores.documents), "document"), counted(mentions, "mention"))
    intervals = f"95 % intervals from {evaluation.samples:,} samples"
    if len(scores.documents) < 2:
        intervals = "No intervals, because there is only one document"
    output.note(f"Gold: {' of '.join(parts[:2])} with {parts[2]}.\n{intervals}.")
    if evaluation.min_specificity != SPECIFICITIES[-1]:
        output.note(f"Mentions that are vaguer than {evaluation.min_specificity} are left out (MIN_SPECIFICITY).")
    for stage in evaluation.stages:
        output.note(f"\n{stage.process}")
        _print_rows(output, [(LEVEL_NAMES[level], stage.scores.row(level)) for level in LEVELS], "level")
    sentences = [sentence for stage in evaluation.stages for sentence in verdict_sentences(stage)]
    if sentences:
        output.note("\n" + "\n".join(sentences))
    for name in GROUP_FIELDS:
        rows = [row for row in scores.rows if (row.level, row.group) == ("mention", name)]
        if rows:
            output.note(f"\n{evaluation.process}, level mention, by {name}")
            _print_rows(output, [(row.value[:WIDTH], row) for row in rows], name)
    _print_notes(output, list(coverage_notes(evaluation)))


def print_comparison(output: Output, comparison: Comparison) -> None:
    """The tables of both runs and the differences of F1."""
    for place, evaluation in (("A", comparison.first), ("B", comparison.second)):
        output.note(f"Run {place}: {printable(str(evaluation.folder))}, {evaluation.process}")
        print_evaluation(output, evaluation)
        output.note()
    output.note("F1 of B minus F1 of A, on the same documents in every sample (95 % interval)")
    for level, estimate in comparison.differences.items():
        value, interval = shown_difference(estimate)
        output.note(f"{LEVEL_NAMES[level]:<8} {value:>8}   {interval}")
    if comparison.only_one:
        output.note(f"{counted(comparison.only_one, 'gold page')} left out, because only one of the runs has them")


def printable(text: str) -> str:
    """Text from a file without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _print_rows(output: Output, rows: Sequence[tuple[str, Row]], heading: str) -> None:
    """Two lines for each row: the measures, and their intervals below. A long name gets a line of its own."""
    columns = (f"{MEASURE_NAMES[name]:>12}" for name in MEASURES)
    output.note(f"{heading:<11}{'gold':>7}{'pred.':>7}{'right':>7}{''.join(columns)}")
    for name, row in rows:
        if len(name) > 10:
            output.note(printable(name))
            name = ""
        counts = f"{row.counts.gold:>7}{row.counts.predicted:>7}{row.counts.right:>7}"
        values = "".join(f"{shown(row.measures[one].value):>12}" for one in MEASURES)
        output.note(f"{name:<11}{counts}{values}".rstrip())
        intervals = "".join(f"{shown_interval(row.measures[one]):>12}" for one in MEASURES)
        if intervals.strip():
            output.note(f"{'':<32}{intervals}".rstrip())


def _print_notes(output: Output, notes: Iterable[str]) -> None:
    lines = [printable(note) for note in notes]
    if lines:
        output.note()
    for line in lines[:MAX_NOTES]:
        output.note(textwrap.fill(line, WIDTH, subsequent_indent="  "))
    if len(lines) > MAX_NOTES:
        output.note(f"and {counted(len(lines) - MAX_NOTES, 'more note')} in evaluation.json")
