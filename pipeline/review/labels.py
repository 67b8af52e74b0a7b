"""Human labels: labels.jsonl, with one row per page and annotator, and how labels override the pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.errors import LabelError
from pipeline.files import replacing
from pipeline.records import CLASS_FIELDS, Dataset, DatasetFields, MentionPage, Page, Record
from pipeline.text.grounding import PageIndex, Span
from pipeline.user_files import JsonRow, json_rows, read_text, records
from pipeline.words import counted
from pipeline.workspace import Workspace

Decision = Literal["accept", "reject", "edit", "add"]
# The page_status of a page that all stages have finished.
FINISHED = ("answered", "nothing_to_ask")
LABEL_FILE = "a labels.jsonl of the review page, or a JSON export of a Label Studio project"


class DatasetLabel(DatasetFields):
    """The decision of an annotator on one dataset mention.

    `page text[start:end]` is `quote`, the name of the dataset. The fields matter unless the decision is `reject`. The
    review page sets all of them but the classes without a value, so that a label can be applied where the pipeline
    found nothing. Imported gold sets those that it has.
    """

    decision: Decision
    start: int
    end: int
    quote: str


class PageLabel(Record):
    """The labels of one annotator for one page.

    `text_sha256`: `text_hash` of the page that was labelled. `time`: ISO 8601, UTC. `page_complete`: the annotator has
    marked every dataset mention of the page.
    """

    source: str
    page: int
    text_sha256: str
    annotator: str
    time: str
    page_complete: bool = False
    mentions: list[DatasetLabel] = Field(default_factory=list)


@dataclass(frozen=True)
class LabelledPage:
    """The datasets of a page after its label was applied. `lost`: labelled names that are not in its text any more.

    `decisions`: what the person decided, by the span of the name in the page's text.
    """

    datasets: list[Dataset]
    lost: list[str] = field(default_factory=list)
    decisions: dict[tuple[int, int], Decision] = field(default_factory=dict)


@dataclass(frozen=True)
class AddedLabels:
    """What became of imported labels: rows of labels.jsonl that are new, replaced or unchanged.

    `older`: labels that were not used, because there is a newer one of the same page and annotator.
    """

    new: int
    replaced: int
    unchanged: int
    older: int

    def __str__(self) -> str:
        older = f", {self.older:,} not used because there is a newer one" if self.older else ""
        return f"{counted(self.new, 'new row')}, {self.replaced:,} replaced, {self.unchanged:,} unchanged{older}"


def text_hash(page: Page) -> str:
    """SHA-256 of the page's text. It shows whether a label was made on the same text."""
    return hashlib.sha256(page.text.encode()).hexdigest()


def parse_labels(path: Path) -> list[PageLabel]:
    """The rows of a labels.jsonl. Raises LabelError, with the number of rows that are invalid."""
    return labels_from(json_rows(read_text(path, LABEL_FILE, LabelError), path, LABEL_FILE, LabelError), path)


def labels_from(rows: Sequence[JsonRow], path: Path) -> list[PageLabel]:
    """The rows of a labels.jsonl that was read already. Raises LabelError."""
    return records(rows, PageLabel, path, "a valid label", f"fix or delete it, or give {LABEL_FILE}", LabelError)


def stored_labels(workspace: Workspace) -> list[PageLabel]:
    """All rows of the workspace's labels.jsonl, oldest first. Raises LabelError."""
    return sorted(parse_labels(workspace.labels), key=_time) if workspace.labels.exists() else []


def load_labels(workspace: Workspace) -> dict[tuple[str, int], PageLabel]:
    """The newest label of each page, by document id and page number. Raises LabelError."""
    return {(label.source, label.page): label for label in stored_labels(workspace)}


def add_labels(new: Iterable[PageLabel], workspace: Workspace) -> AddedLabels:
    """Add labels to labels.jsonl, which keeps the newest label of each page and annotator. Raises LabelError."""
    before = {_key(label): label for label in stored_labels(workspace)}
    labels = sorted(new, key=_time)
    newest = {_key(label): label for label in labels}
    used = {key: label for key, label in newest.items() if key not in before or before[key].time <= label.time}
    rows = before | used
    with replacing(workspace.labels) as file:
        for key in sorted(rows):
            file.write(json.dumps(rows[key].model_dump(exclude_unset=True), ensure_ascii=False).encode() + b"\n")
    added = len(used.keys() - before.keys())
    unchanged = sum(label == before.get(key) for key, label in used.items())
    return AddedLabels(added, len(used) - added - unchanged, unchanged, len(labels) - len(used))


def _key(label: PageLabel) -> tuple[str, int, str]:
    return label.source, label.page, label.annotator


def _time(label: PageLabel) -> str:
    return label.time


def apply_label(page: Page, known: MentionPage | None, label: PageLabel) -> LabelledPage:
    """The datasets of `page`, with the label overriding `known`, which is what the pipeline found.

    Datasets without a label stay as they are, unless the page is complete: then they are removed.
    """
    spans = {(one.start, one.end) for one in label.mentions}
    found = known.model_copy(deep=True).datasets() if known else []
    labelled = LabelledPage([one for one in found if not label.page_complete or (one.start, one.end) in spans])
    index = PageIndex(page.text, page.language)
    same_text = label.text_sha256 == text_hash(page)
    for one in label.mentions:
        if same_text:
            place = Span(one.start, one.end, "exact") if page.text[one.start : one.end] == one.quote else None
        else:
            place = index.locate_nearest(one.quote, one.start)
        if place is None:
            labelled.lost.append(one.quote)
        else:
            labelled.decisions[place.start, place.end] = one.decision
            _apply(labelled.datasets, one, place, index)
    return labelled


def _labelled(dataset: Dataset, label: DatasetLabel) -> dict[str, Any]:
    """The fields that a person has given. The last stage clears the classes of a dataset that it rejects.

    If a person accepts that dataset, it has the classes that it had before, unless the person has chosen others.
    """
    changes = [verdict.get("changed", {}) for verdict in dataset.verdicts.values()]
    cleared = {name: change[name][0] for change in changes for name in change if change[name][1] is None}
    before = {name: cleared[name] for name in CLASS_FIELDS if getattr(dataset, name) is None and cleared.get(name)}
    fields = label.labelled_fields()
    return before | {name: value for name, value in fields.items() if value is not None or name not in CLASS_FIELDS}


def _apply(datasets: list[Dataset], label: DatasetLabel, place: Span, index: PageIndex) -> None:
    """Apply one label to the list of datasets, in place."""
    same_place = [one for one in datasets if (one.start, one.end) == (place.start, place.end)]
    if label.decision == "reject":
        for dataset in same_place:
            dataset.valid, dataset.invalid_reason = False, "rejected by a person"
        return
    if same_place:
        dataset = same_place[0]
    else:
        unlabelled: dict[str, Any] = dict.fromkeys(CLASS_FIELDS)  # null unless the label has a value
        name, sentence = index.text[place.start : place.end], index.sentence(place)
        dataset = Dataset(
            raw_name=name, start=place.start, end=place.end, grounding="exact",
            sent=index.text[sentence.start : sentence.end], sent_start=sentence.start, sent_end=sentence.end,
            **unlabelled,
        )  # fmt: skip
    # The pipeline may have found the same name in the same place twice. A person has decided that it is one mention.
    datasets[:] = [one for one in datasets if (one.start, one.end) != (place.start, place.end)]
    # A label that was made before a field existed says nothing about it.
    datasets.append(dataset.model_copy(update={"valid": True, "invalid_reason": None, **_labelled(dataset, label)}))
