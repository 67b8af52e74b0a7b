"""What `review_labels.py --import` prints about gold labels."""

from __future__ import annotations

from pipeline.cli.evaluation_table import printable
from pipeline.cli.output import Output
from pipeline.evaluation import Gold, ImportedGold
from pipeline.records import CLASS_FIELDS
from pipeline.words import counted

SHOWN_REASONS = 20  # why gold was left out, those with most mentions first


def print_imported_gold(output: Output, gold: Gold, imported: ImportedGold) -> None:
    """How many pages and mentions were placed, how many were left out and why, and notes."""
    placed, left_out = imported.labels, imported.left_out
    for what, pages, mentions in (
        (printable(str(gold.path)), len(gold.pages), sum(len(page.mentions) for page in gold.pages)),
        ("placed", len(placed), sum(len(label.mentions) for label in placed)),
        ("left out", sum(one.pages for one in left_out), sum(one.mentions for one in left_out)),
    ):
        output.note(f"{what}: {counted(pages, 'page')} with {counted(mentions, 'mention')}")
    for one in left_out[:SHOWN_REASONS]:
        numbers = f"{counted(one.pages, 'page')} with {counted(one.mentions, 'mention')}"
        output.note(printable(f"  {one.document}: {numbers} ({one.reason})"))
    if len(left_out) > SHOWN_REASONS:
        output.note(f"  … and {counted(len(left_out) - SHOWN_REASONS, 'more line')}")
    for note in _notes(gold, imported):
        output.note(printable(f"note: {note}"))


def _notes(gold: Gold, imported: ImportedGold) -> list[str]:
    notes = list(gold.notes)
    if imported.relocated:
        notes.append(f"{counted(imported.relocated, 'mention')} located again, because the gold's text differs")
    for (name, value), count in sorted(imported.unknown_values.items()):
        allowed = ", ".join(CLASS_FIELDS[name])
        notes.append(f"{name} “{value}” of {counted(count, 'mention')} not imported (allowed: {allowed})")
    return notes
