"""The table of `run_batch.py --check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.cli.arguments import NEEDS_ATTENTION, OK
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


def print_papers(papers: Iterable[tuple[ManifestEntry, str | None]]) -> None:
    """One line per paper, printed as it comes: there can be millions."""
    print(_row("document", "pages", "lang", "pages that are not sent"))
    for entry, original in papers:
        kinds = [f"{name} {entry.kind_pages[kind]}" for kind, name in KINDS.items() if kind in entry.kind_pages]
        print(_row(entry.source, entry.n_pages or "", entry.language or "", ", ".join(kinds)))
        if entry.ocr:
            print(f"    {counted(entry.ocr, 'page')} read by OCR")
        for remark in _remarks(entry, original):
            print(f"    {remark}")


def print_totals(totals: InputTotals) -> int:
    """The totals; returns the exit status."""
    order = sorted(totals.pages, key=lambda kind: (kind != "text", kind))
    counts = (f"{totals.pages[kind]:,} {KIND_NAMES.get(kind, kind)}" for kind in order if totals.pages[kind])
    languages = ", ".join(f"{count:,} {language}" for language, count in totals.languages.most_common())
    print(
        f"\n{counted(totals.documents, 'document')}, {totals.problems:,} unreadable, "
        f"{counted(totals.duplicates, 'duplicate')}"
    )
    print(f"{counted(totals.pages.total(), 'page')}: {', '.join(counts) or 'none'}")
    print(f"documents by language: {languages or 'unknown'}")
    return NEEDS_ATTENTION if totals.problems or totals.remarks else OK


def _row(document: str, pages: object, language: str, not_sent: str) -> str:
    return f"{document:<40}  {pages:>5}  {language:<4}  {not_sent}".rstrip()


def _remarks(entry: ManifestEntry, original: str | None) -> Iterator[str]:
    if entry.problem:
        yield entry.problem
    if entry.remark:
        yield entry.remark
    if original:
        yield f"the same file as {original}: its pages are paid for once"
