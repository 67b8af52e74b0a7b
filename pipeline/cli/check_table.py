"""The table of `run_batch.py --check`."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.cli.arguments import NEEDS_ATTENTION, OK
from pipeline.cli.output import Output
from pipeline.records import ManifestEntry
from pipeline.words import counted
from pipeline.workflow.check import InputTotals

KINDS = {"references": "references", "contents": "contents", "blank": "blank", "image": "pictures"}
KIND_NAMES = {
    "text": "with text",
    "references": "with references only",
    "contents": "with contents only",
    "image": "with pictures only",
}


def print_papers(output: Output, papers: Iterable[tuple[ManifestEntry, str | None]]) -> None:
    """One line per paper, printed as it comes: there can be millions."""
    output.note(_row("document", "pages", "lang", "pages that are not sent"))
    for entry, original in papers:
        kinds = [f"{name} {entry.kind_pages[kind]}" for kind, name in KINDS.items() if kind in entry.kind_pages]
        output.note(_row(entry.source, entry.n_pages or "", entry.language or "", ", ".join(kinds)))
        if entry.ocr:
            output.note(f"    {counted(entry.ocr, 'page')} read by OCR")
        if entry.problem:
            output.problem(f"{entry.file}: {entry.problem}.")
        if entry.remark:
            output.warning(f"{entry.file}: {entry.remark}.")
        if original:
            output.note(f"    the same file as {original}: its pages are paid for once")


def print_totals(output: Output, totals: InputTotals) -> int:
    """The totals; returns the exit status."""
    order = sorted(totals.pages, key=lambda kind: (kind != "text", kind))
    counts = (f"{totals.pages[kind]:,} {KIND_NAMES.get(kind, kind)}" for kind in order if totals.pages[kind])
    output.report |= {
        "documents": totals.documents,
        "unreadable": totals.problems,
        "duplicates": totals.duplicates,
        "pages": +totals.pages,
        "languages": totals.languages,
    }
    languages = ", ".join(f"{count:,} {language}" for language, count in totals.languages.most_common())
    output.note(
        f"\n{counted(totals.documents, 'document')}, {totals.problems:,} unreadable, "
        f"{counted(totals.duplicates, 'duplicate')}"
    )
    output.note(f"{counted(totals.pages.total(), 'page')}: {', '.join(counts) or 'none'}")
    output.note(f"documents by language: {languages or 'unknown'}")
    return NEEDS_ATTENTION if totals.problems or totals.remarks else OK


def _row(document: str, pages: object, language: str, not_sent: str) -> str:
    return f"{document:<40}  {pages:>5}  {language:<4}  {not_sent}".rstrip()
