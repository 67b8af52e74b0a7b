"""What people say of pages: labels.jsonl, one row a page and annotator, and how it overrules the pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pipeline.documents.grounding import PageIndex, Span
from pipeline.errors import LabelError
from pipeline.records import Context, Dataset, MentionPage, Page, Record, Relevance, Specificity
from pipeline.workspace import Workspace, replacing

Decision = Literal["accept", "reject", "edit", "add"]
FIELDS = (
    "harmonized_name", "acronym", "producer", "year", "data_type", "context", "specificity", "relevance",
)  # fmt: skip


class MentionLabel(Record):
    """A word on one mention. `start` and `end` are the name's span in the page's text, and `quote` the name itself.

    `accept`, `edit` and `add` carry all fields, so that a label stands by itself.
    """

    decision: Decision
    start: int
    end: int
    quote: str
    harmonized_name: str | None = None
    acronym: str | None = None
    producer: str | None = None
    year: str | None = None
    data_type: str | None = None
    context: Context = "background"
    specificity: Specificity = "properly_named"
    relevance: Relevance = "directly_relevant"


class PageLabel(Record):
    """What one annotator said of one page. `page_complete`: nothing on it was missed. `time`: ISO 8601, UTC."""

    source: str
    page: int
    text_sha256: str
    annotator: str
    time: str
    page_complete: bool = False
    mentions: list[MentionLabel] = Field(default_factory=list)


@dataclass
class Settled:
    """A page after its labels. `lost`: quotes whose place the text does not have any more."""

    datasets: list[Dataset] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def text_hash(page: Page) -> str:
    """What a label notes of the text that it was made on."""
    return hashlib.sha256(page.text.encode()).hexdigest()


def parse_labels(path: Path) -> Iterator[PageLabel]:
    """The rows of a label file. Raises LabelError with the line that is none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise LabelError(f"{path} cannot be read ({error.strerror}): name a file of labels.") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield PageLabel.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "the row"
                raise LabelError(f"{path}, line {number}, is no label ({place}: {first['msg']}): mend it.") from None


def load_labels(workspace: Workspace) -> dict[tuple[str, int], PageLabel]:
    """The newest label of each page, by document and page."""
    labels = parse_labels(workspace.labels) if workspace.labels.exists() else ()
    return {(label.source, label.page): label for label in sorted(labels, key=_time)}


def add_labels(new: Iterable[PageLabel], workspace: Workspace) -> int:
    """Put labels into labels.jsonl; the newest of each annotator counts. Returns how many of the new ones do."""
    known = parse_labels(workspace.labels) if workspace.labels.exists() else ()
    rows = {(label.source, label.page, label.annotator): label for label in sorted(known, key=_time)}
    before = dict(rows)
    for label in sorted(new, key=_time):
        place = label.source, label.page, label.annotator
        if place not in before or before[place].time <= label.time:
            rows[place] = label
    with replacing(workspace.labels) as file:
        for place in sorted(rows):
            file.write(json.dumps(rows[place].model_dump(), ensure_ascii=False).encode() + b"\n")
    return sum(rows[place] is not before.get(place) for place in rows)


def _time(label: PageLabel) -> str:
    return label.time


def settle(page: Page, known: MentionPage | None, label: PageLabel) -> Settled:
    """The datasets of a page as a person wants them.

    What the label does not speak of stays as the pipeline has it, unless the page is complete: then it is none.
    """
    spans = {(mention.start, mention.end) for mention in label.mentions}
    datasets = known.model_copy(deep=True).datasets() if known else []
    settled = Settled([one for one in datasets if not label.page_complete or (one.start, one.end) in spans])
    index = PageIndex(page.text, page.language)
    same_text = label.text_sha256 == text_hash(page)
    for mention in label.mentions:
        place = Span(mention.start, mention.end, "exact") if same_text else _placed(index, mention)
        if place is None or (page.text[place.start : place.end] != mention.quote and same_text):
            settled.lost.append(mention.quote)
        else:
            _apply(settled.datasets, mention, place, index)
    return settled


def _placed(index: PageIndex, mention: MentionLabel) -> Span | None:
    """The text has changed: where the quote stands now, nearest to where it stood."""
    return index.locate_nearest(mention.quote, mention.start)


def _apply(datasets: list[Dataset], mention: MentionLabel, place: Span, index: PageIndex) -> None:
    there = [one for one in datasets if (one.start, one.end) == (place.start, place.end)]
    if mention.decision == "reject":
        for dataset in there:
            dataset.valid, dataset.invalid_reason = False, "rejected by a person"
        return
    dataset = there[0] if there else _new(mention, place, index)
    datasets[:] = [one for one in datasets if all(one is not other for other in there)] + [dataset]
    dataset.valid, dataset.invalid_reason = True, None
    for name in FIELDS:
        setattr(dataset, name, getattr(mention, name))


def _new(mention: MentionLabel, place: Span, index: PageIndex) -> Dataset:
    sentence = index.sentence(place)
    return Dataset(
        raw_name=index.text[place.start : place.end], start=place.start, end=place.end, grounding="exact",
        sent=index.text[sentence.start : sentence.end], sent_start=sentence.start, sent_end=sentence.end,
        **{name: getattr(mention, name) for name in FIELDS},
    )  # fmt: skip
