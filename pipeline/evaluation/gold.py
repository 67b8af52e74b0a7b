"""Reading gold labels: the format is recognised by the content of the file.

| format | what it is |
|---|---|
| pages | JSONL with `doc_id`, `page` (not for sentences), `text`, `mentions` (`raw_name`, `start`, `end`) |
| labels | labels.jsonl of review_labels.py: only pages that are marked as complete, their newest label |
| label-studio | JSON export of a Label Studio project |
| brat | a folder of BRAT standoff files, or one .ann file; each with its .txt beside it |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import LabelError
from pipeline.evaluation.brat import is_standoff, read_brat
from pipeline.evaluation.gold_page import GoldPage, read_gold_bytes
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName
from pipeline.records import OptionalText, invalid_because, storable
from pipeline.review.label_studio import read_export
from pipeline.review.labels import PageLabel, parse_labels
from pipeline.words import counted

GoldFormat = Literal["pages", "labels", "label-studio", "brat"]
FORMATS_HINT = (
    "give a JSONL with doc_id, page, text and mentions, a labels.jsonl, a JSON export of Label Studio, or a folder "
    "with BRAT files (.ann and .txt)"
)
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
        content = read_gold_bytes(path)
        if content.lstrip()[:1] == b"[":
            gold = _label_studio(path, content)
        elif is_standoff(content):
            gold = Gold(path, "brat", *read_brat(path))
        elif b'"text_sha256"' in content.lstrip().partition(b"\n")[0]:
            gold = Gold(path, "labels", *_from_labels(parse_labels(path)))
        else:
            gold = Gold(path, "pages", list(_rows(path, content)), [])
    if not gold.pages:
        raise LabelError(f"{path} has no page to evaluate{''.join(' (' + note + ')' for note in gold.notes)}.")
    return gold


def is_gold(path: Path) -> bool:
    """Whether `path` has gold labels in a format of others: neither a labels.jsonl nor an export of our own tasks.

    False if it cannot be read.
    """
    if path.is_dir():
        return True
    try:
        content = path.read_bytes()
    except OSError:
        return False
    start = content.lstrip()
    if start[:1] == b"[":
        return b'"annotations"' in content and b'"text_sha256"' not in content
    return is_standoff(content) or b'"doc_id"' in start.partition(b"\n")[0]


def _rows(path: Path, content: bytes) -> Iterator[GoldPage]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            reason = invalid_because(error)
            raise LabelError(f"{path}, line {number}, is not a gold page ({reason}): {FORMATS_HINT}.") from None
        mentions = (MarkedName(one.raw_name, one.start, one.end, one.specificity, one.context) for one in row.mentions)
        yield GoldPage(str(row.doc_id), row.page, tuple(mentions), row.text)


def _label_studio(path: Path, content: bytes) -> Gold:
    try:
        tasks = json.loads(content)
        own = not tasks or "text_sha256" in tasks[0]["data"]
        pages, notes = _from_labels(read_export(path)) if own else ([_foreign_task(task) for task in tasks], [])
    except (RecursionError, KeyError, TypeError, AttributeError, ValueError) as error:
        # ValueError includes invalid JSON. The message of a KeyError is only the key.
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise LabelError(f"{path} is not a JSON export of Label Studio ({reason}): {FORMATS_HINT}.") from None
    return Gold(path, "label-studio", pages, notes)


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
    spans = [(one["value"]["start"], one["value"]["end"]) for one in newest["result"] if one["type"] == "labels"]
    mentions = tuple(MarkedName(text[start:end], start, end) for start, end in spans)
    return GoldPage(str(document), int(data["page"]) if data.get("page") else None, mentions, text)
