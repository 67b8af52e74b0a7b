"""Import gold as human labels: each gold page becomes a complete page in labels.jsonl."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.evaluation.gold import Gold
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName, MarkedPage
from pipeline.evaluation.placement import Placement, place, require_pages
from pipeline.records import CLASS_FIELDS, Page
from pipeline.review.labels import AddedLabels, DatasetLabel, PageLabel, add_labels, stored_labels, text_hash
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class LeftOut:
    """Gold of one document that was not imported, for one reason: number of pages, and of mentions on them."""

    document: str
    reason: str
    pages: int
    mentions: int


@dataclass(frozen=True)
class ImportedGold:
    """`labels`: of the pages that were placed. `relocated`: mentions that were searched for, as the texts differ.

    `added`: what became of the rows of labels.jsonl. `unknown_values`: values that are not among those of
    their field and were not imported: number of mentions by field and value.
    """

    labels: list[PageLabel]
    left_out: list[LeftOut]
    relocated: int
    added: AddedLabels
    unknown_values: Counter[tuple[str, str]]


def import_gold(
    gold: Gold,
    workspace: Workspace,
    annotator: str,
    documents_map: Mapping[str, str] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> ImportedGold:
    """Place gold pages in the texts of the workspace and add them to labels.jsonl, as complete pages of `annotator`.

    A label has only the fields that the gold has. A page that the gold covers only in part is left out. The same gold
    imported again changes nothing. Raises InputError if no page can be placed, LabelError, WorkspaceError.
    """
    placement = place(gold.pages, workspace, documents_map)
    require_pages(placement, workspace)
    whole = [page for page in placement.pages if not page.part]
    time = datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    labels = _with_known_times([_page_label(page, annotator, time) for page in whole], workspace)
    return ImportedGold(
        labels=labels,
        left_out=_left_out(gold, placement),
        relocated=placement.relocated,
        added=add_labels(labels, workspace),
        unknown_values=Counter(
            (name, value)
            for page in whole
            for mention in page.mentions
            for name in GROUP_FIELDS
            if (value := getattr(mention, name)) and value not in CLASS_FIELDS[name]
        ),
    )


def _page_label(page: MarkedPage, annotator: str, time: str) -> PageLabel:
    by_span = {mention.span: mention for mention in page.mentions if mention.span}
    return PageLabel(
        source=page.document,
        page=page.page,
        text_sha256=text_hash(Page(page=page.page, text=page.text)),
        annotator=annotator,
        time=time,
        page_complete=True,
        mentions=[_dataset_label(page.text, *span, mention) for span, mention in sorted(by_span.items())],
    )


def _dataset_label(text: str, start: int, end: int, mention: MarkedName) -> DatasetLabel:
    values = {name: getattr(mention, name) for name in GROUP_FIELDS}
    fields: dict[str, Any] = {name: value for name, value in values.items() if value in CLASS_FIELDS[name]}
    return DatasetLabel(decision="add", start=start, end=end, quote=text[start:end], **fields)


def _with_known_times(labels: Sequence[PageLabel], workspace: Workspace) -> list[PageLabel]:
    """The labels, with the time of their first import where they are stored already and say the same."""
    known = {(label.source, label.page, label.annotator): label for label in stored_labels(workspace)}
    result = []
    for label in labels:
        old = known.get((label.source, label.page, label.annotator))
        result.append(old if old and _content(old) == _content(label) else label)
    return result


def _content(label: PageLabel) -> dict[str, Any]:
    return label.model_dump(exclude={"time"}, exclude_unset=True)


def _left_out(gold: Gold, placement: Placement) -> list[LeftOut]:
    """What was not imported, by document and reason, most mentions first."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def add(document: str, reason: str, mentions: int) -> None:
        counts[document, reason][0] += 1
        counts[document, reason][1] += mentions

    for page in gold.pages:
        if page.document in placement.unmatched:
            add(page.document, placement.unmatched[page.document], len(page.mentions))
    for one in placement.unplaced:
        add(one.document, one.what if one.page is None else f"page {one.page}: {one.what}", one.mentions)
    for marked in placement.pages:
        if marked.part:
            add(marked.document, "the gold covers only a part of the page", len(marked.mentions))
    found = [LeftOut(*key, *numbers) for key, numbers in counts.items()]
    return sorted(found, key=lambda one: (-one.mentions, -one.pages))
