"""The pages that people are shown, with what the pipeline found on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.documents.discover import load_text, manifest_entries
from pipeline.errors import StageOrderError
from pipeline.labels import FIELDS, text_hash
from pipeline.merge import load_document
from pipeline.records import Dataset, Document, Page, Record
from pipeline.selection import Selection
from pipeline.workspace import Workspace

STAGES = ("reasoning", "judge", "extraction")  # the last one that has got to a document counts
SHOWN = ("answered", "nothing_to_ask")


class ReviewMention(Record):
    """A located dataset of the pipeline. `verdicts` as in the document files."""

    start: int
    end: int
    quote: str
    sent_start: int | None
    sent_end: int | None
    valid: bool | None
    invalid_reason: str | None
    fields: dict[str, str | None]
    verdicts: dict[str, dict[str, Any]]


class ReviewPage(Record):
    """A page with text, and the mentions on it. `unlocated`: names that stand nowhere in it."""

    source: str
    page: int
    text: str
    text_sha256: str
    mentions: list[ReviewMention]
    unlocated: list[str]


def review_pages(workspace: Workspace, selection: Selection) -> Iterator[ReviewPage]:
    """Every page that the pipeline is done with. Raises StageOrderError where there is none."""
    found = False
    for entry in selection.of(manifest_entries(workspace)):
        document = _latest(workspace, entry.source)
        text = load_text(workspace, entry.source)
        if document is None or document.text_sha256 != text.digest():
            continue  # nothing is known of the text as it is now
        for page in text.pages:
            if selection.has_page(page.page) and _is_shown(document, page):
                found = True
                yield _review_page(document, page)
    if not found:
        raise StageOrderError("There is nothing to review yet: run  python run_batch.py --process extraction  first.")


def _latest(workspace: Workspace, source: str) -> Document | None:
    return next(filter(None, (load_document(workspace, stage, source) for stage in STAGES)), None)


def _is_shown(document: Document, page: Page) -> bool:
    known = document.page(page.page)
    return document.page_status.get(str(page.page)) in SHOWN or bool(known and known.datasets())


def _review_page(document: Document, page: Page) -> ReviewPage:
    known = document.page(page.page)
    datasets = known.datasets() if known else []
    return ReviewPage(
        source=document.source,
        page=page.page,
        text=page.text,
        text_sha256=text_hash(page),
        mentions=[_mention(dataset) for dataset in datasets if dataset.start is not None],
        unlocated=[dataset.raw_name for dataset in datasets if dataset.start is None],
    )


def _mention(dataset: Dataset) -> ReviewMention:
    return ReviewMention(
        start=dataset.start or 0,
        end=dataset.end or 0,
        quote=dataset.raw_name,
        sent_start=dataset.sent_start,
        sent_end=dataset.sent_end,
        valid=dataset.valid,
        invalid_reason=dataset.invalid_reason,
        fields={name: getattr(dataset, name) for name in FIELDS},
        verdicts=dataset.verdicts,
    )
