"""Reading gold labels: the format is recognised by the content of the file.

| format | what it is |
|---|---|
| pages | JSONL with `doc_id`, `page` (not for sentences), `text`, `mentions` (`raw_name`, `start`, `end`) |
| labels | labels.jsonl of review_labels.py: only pages that are marked as complete, their newest label |
| label-studio | JSON export of a Label Studio project |
| brat | a folder of BRAT standoff files, or one .ann file; each with its .txt beside it |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from pipeline.errors import LabelError
from pipeline.evaluation.brat import is_standoff, read_brat
from pipeline.evaluation.gold_page import GoldPage
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName
from pipeline.records import OptionalText, storable
from pipeline.review.label_studio import is_label_studio, read_export, region_span, require_annotations
from pipeline.review.labels import PageLabel, labels_from
from pipeline.user_files import JsonRow, json_rows, read_text, records
from pipeline.words import counted

GoldFormat = Literal["pages", "labels", "label-studio", "brat"]
GOLD_FILE = (
    "a JSONL with doc_id, page, text and mentions, a labels.jsonl, a JSON export of Label Studio, or a folder with "
    "BRAT files (.ann and .txt)"
)
FORMATS_HINT = f"give {GOLD_FILE}"
# The keys of a Label Studio task that may hold the document's id, if the tasks are not our own.
TASK_DOCUMENT_KEYS = ("source", "doc_id", "document")


@dataclass(frozen=True)
class Gold:
    """All gold pages of a file. `notes`: sentences about what was left out while reading."""

    path: Path
    format: GoldFormat
    pages: list[GoldPage]
    notes: list[str]


class _Mention(BaseModel):
    raw_name: str = Field(min_length=1)
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    specificity: OptionalText = None
    context: OptionalText = None


class _Row(BaseModel):
    """A row of the format `pages`. Other keys are ignored."""

    doc_id: str | int
    page: int | None = Field(None, ge=1)
    text: str
    mentions: list[_Mention]


def load_gold(path: Path) -> Gold:
    """Read gold labels of any format. Raises LabelError with one sentence if the file cannot be used."""
    if path.is_dir():
        gold = Gold(path, "brat", *read_brat(path))
    else:
        gold = _load_file(path, read_text(path, GOLD_FILE, LabelError))
    if not gold.pages:
        raise LabelError(f"{path} has no page to evaluate{''.join(' (' + note + ')' for note in gold.notes)}.")
    return gold


def _load_file(path: Path, content: str) -> Gold:
    if not content.strip():
        raise LabelError(f"{path} is empty: give {GOLD_FILE}.")
    if is_standoff(content):
        return Gold(path, "brat", *read_brat(path))
    rows = json_rows(content, path, GOLD_FILE, LabelError)
    if is_label_studio(rows):
        return _label_studio(path, rows)
    if rows and "text_sha256" in rows[0][1]:
        return Gold(path, "labels", *_from_labels(labels_from(rows, path)))
    return Gold(path, "pages", [_gold_page(row) for row in records(
        rows, _Row, path, "a gold page", FORMATS_HINT, LabelError
    )], [])  # fmt: skip


def is_gold(path: Path) -> bool:
    """Whether `path` has gold labels in a format of others: neither a labels.jsonl nor an export of our own tasks.

    False if it cannot be read.
    """
    if path.is_dir():
        return True
    try:
        content = read_text(path, GOLD_FILE, LabelError)
    except LabelError:
        return False
    if is_standoff(content):
        return True
    try:
        rows = json_rows(content, path, GOLD_FILE, LabelError)
    except LabelError:
        return '"doc_id"' in content
    if is_label_studio(rows):
        return any("annotations" in row for _, row in rows) and not any(_is_own(row) for _, row in rows)
    return any("doc_id" in row for _, row in rows)


def _is_own(task: dict[str, Any]) -> bool:
    return isinstance(task.get("data"), dict) and "text_sha256" in task["data"]


def _gold_page(row: _Row) -> GoldPage:
    mentions = (MarkedName(one.raw_name, one.start, one.end, one.specificity, one.context) for one in row.mentions)
    return GoldPage(str(row.doc_id), row.page, tuple(mentions), row.text)


def _label_studio(path: Path, rows: Sequence[JsonRow]) -> Gold:
    require_annotations(rows, path)
    if any(_is_own(task) for _, task in rows):
        labels, notes = read_export(rows, path)
        pages, more = _from_labels(labels)
        return Gold(path, "label-studio", pages, [*notes, *more])
    pages = []
    for place, task in rows:
        try:
            pages.append(_foreign_task(task))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            # The message of a KeyError is only the key.
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
            raise LabelError(
                f"{path}, {place}, is not a task of a JSON export of Label Studio ({reason}): {FORMATS_HINT}."
            ) from None
    return Gold(path, "label-studio", pages, [])


def _from_labels(labels: Iterable[PageLabel]) -> tuple[list[GoldPage], list[str]]:
    """The complete pages among labels, with the mentions that were not rejected."""
    newest = {(label.source, label.page): label for label in sorted(labels, key=lambda label: label.time)}
    complete = [label for label in newest.values() if label.page_complete]
    left_out = len(newest) - len(complete)
    notes = [f"{counted(left_out, 'page is', 'pages are')} not marked as complete"] if left_out else []
    pages = [
        GoldPage(
            label.source,
            label.page,
            tuple(
                # A field that nobody has labelled has only its default.
                MarkedName(one.quote, one.start, one.end, **{name: fields.get(name) for name in GROUP_FIELDS})
                for one, fields in ((one, one.labelled_fields()) for one in label.mentions)
                if one.decision != "reject"
            ),
            text_sha256=label.text_sha256,
        )
        for label in complete
    ]
    return pages, notes


def _foreign_task(task: dict[str, Any]) -> GoldPage:
    """A task of a project that was not made by review_labels.py. Every region of its newest annotation is a mention."""
    data = task["data"]
    document = next((data[key] for key in TASK_DOCUMENT_KEYS if key in data), None)
    if document is None:
        raise ValueError(f"the data of a task have none of the keys {', '.join(TASK_DOCUMENT_KEYS)}")
    annotations = [one for one in task["annotations"] if not one.get("was_cancelled")]
    newest = max(annotations, key=lambda one: one.get("updated_at") or "") if annotations else {"result": []}
    text = storable(data["text"])
    regions = [one["value"] for one in newest["result"] if one["type"] == "labels"]
    mentions = tuple(_marked(text, region) for region in regions)
    return GoldPage(str(document), int(data["page"]) if data.get("page") else None, mentions, text)


def _marked(text: str, region: dict[str, Any]) -> MarkedName:
    """The mention of a region. One whose text is not on the page keeps it, so that it is reported as not found."""
    if span := region_span(text, region):
        return MarkedName(text[slice(*span)], *span)
    return MarkedName(storable(str(region.get("text"))), region["start"], region["end"])
