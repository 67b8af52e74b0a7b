"""Label Studio: tasks with the pipeline's mentions as predictions, and the labels from a project's JSON export.

A mention is a region of the page's text. Its verdict and class fields are choices for that region, its text fields are
text areas. All results of one mention share the id of the region. Our offsets are characters of the page's text.
Format: https://labelstud.io/guide/task_format
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from pydantic import ValidationError

from pipeline.errors import LabelError
from pipeline.files import replacing
from pipeline.records import CLASS_FIELDS, DATASET_FIELDS, TEXT_FIELDS, invalid_because, storable
from pipeline.review.labels import DatasetLabel, Decision, PageLabel
from pipeline.review.review_pages import ReviewDataset, ReviewPage
from pipeline.text.grounding import PageIndex
from pipeline.user_files import JsonRow
from pipeline.words import counted

CHOICES: dict[str, tuple[str, ...]] = {"verdict": ("valid", "invalid"), **CLASS_FIELDS}
COMPLETE = "page_complete"
SHOWN = "mentions"  # the key in the data of a task
_ADVICE = "export the project from Label Studio in the format JSON"


def labelling_config() -> str:
    """The labelling interface of the project, as XML."""
    parts = ["<View>", '  <Header value="$title"/>', '  <Labels name="mention" toName="text">']
    parts += ['    <Label value="dataset" background="#2a6f97"/>', "  </Labels>"]
    parts += ['  <Text name="text" value="$text" granularity="character"/>']
    for name, values in CHOICES.items():
        parts.append(f'  <Choices name="{name}" toName="text" perRegion="true" choice="single" showInLine="true">')
        parts += [f"    <Choice value={quoteattr(value)}/>" for value in values] + ["  </Choices>"]
    for name in TEXT_FIELDS:
        attributes = f'name="{name}" toName="text" perRegion="true" maxSubmissions="1"'
        parts.append(f"  <TextArea {attributes} placeholder={quoteattr(name.replace('_', ' '))}/>")
    parts.append(f'  <Choices name="{COMPLETE}" toName="text" choice="single">')
    parts += ['    <Choice value="complete"/>', "  </Choices>", "</View>"]
    return "\n".join(parts) + "\n"


def write_tasks(pages: Iterable[ReviewPage], path: Path) -> int:
    """Write a JSON array with one task per page. Returns their number. Holds one page in memory at a time."""
    count = 0
    with replacing(path) as file:
        file.write(b"[")
        for page in pages:
            file.write((b",\n" if count else b"\n") + json.dumps(task(page), ensure_ascii=False).encode())
            count += 1
        file.write(b"\n]\n")
    return count


def task(page: ReviewPage) -> dict[str, Any]:
    """One page as a task, with the pipeline's mentions as its prediction."""
    data = {
        "title": f"{page.source}, page {page.page}",
        "text": page.text,
        "source": page.source,
        "page": page.page,
        "text_sha256": page.text_sha256,
        # An export has only the ids of predictions. What the annotator has deleted is found by comparing with this.
        SHOWN: [{"start": one.start, "end": one.end, "text": one.quote} for one in page.mentions],
    }
    results = [result for number, mention in enumerate(page.mentions) for result in _results(f"m{number}", mention)]
    return {"data": data, "predictions": [{"model_version": "pipeline", "result": results}]}


def _results(region: str, mention: ReviewDataset) -> Iterator[dict[str, Any]]:
    """A region, and a result for each of its values."""
    where = {"start": mention.start, "end": mention.end, "text": mention.quote}
    common = {"id": region, "to_name": "text"}
    yield {**common, "from_name": "mention", "type": "labels", "value": {**where, "labels": ["dataset"]}}
    values = {"verdict": "invalid" if mention.valid is False else "valid", **mention.fields}
    for name in CHOICES:
        if values[name]:
            yield {**common, "from_name": name, "type": "choices", "value": {**where, "choices": [values[name]]}}
    for name in TEXT_FIELDS:
        if values[name]:
            yield {**common, "from_name": name, "type": "textarea", "value": {**where, "text": [values[name]]}}


def is_label_studio(rows: Sequence[JsonRow]) -> bool:
    """Whether rows are tasks of Label Studio, with or without annotations, in any of its formats."""
    return any(isinstance(row.get("data"), dict) or {"annotation_id", "annotator"} <= row.keys() for _, row in rows)


def require_annotations(rows: Sequence[JsonRow], path: Path) -> None:
    """Raises LabelError if no task can have labels."""
    if any("annotations" in row for _, row in rows):
        return
    if any("annotation_id" in row for _, row in rows):
        raise LabelError(f"{path} is a Label Studio export in the format JSON-MIN: {_ADVICE}.")
    raise LabelError(
        f"{path} has tasks for Label Studio and no annotations: import it into a Label Studio project, label the tasks "
        "there, and give the project's JSON export."
    )


def read_export(
    rows: Sequence[JsonRow], path: Path, own_tasks: Path | None = None
) -> tuple[list[PageLabel], list[str]]:
    """The labels in a project's JSON export, and sentences about what was left out.

    `own_tasks`: the file of `write_tasks`, for exports of tasks that do not hold the pipeline's mentions. Raises
    LabelError if the file is something else.
    """
    require_annotations(rows, path)
    found = _Export(_ShownMentions(own_tasks))
    for place, exported in rows:
        try:
            found.add(exported)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            reason = invalid_because(error) if isinstance(error, ValidationError) else repr(error)
            raise LabelError(
                f"{path}, {place}, is not a task of a JSON export of Label Studio ({reason}): {_ADVICE}."
            ) from None
    return found.labels, found.notes()


class _Export:
    """Collects the labels of the tasks of an export, and counts what was left out."""

    def __init__(self, shown: _ShownMentions) -> None:
        self.labels: list[PageLabel] = []
        self._shown = shown
        self._without_annotation = self._cancelled = self._not_located = self._unknown_deletions = 0

    def add(self, exported: dict[str, Any]) -> None:
        annotations = exported["annotations"]
        self._without_annotation += not annotations
        for annotation in annotations:
            if annotation.get("was_cancelled"):
                self._cancelled += 1
            else:
                self.labels.append(self._page_label(exported, annotation))

    def notes(self) -> list[str]:
        """What was left out, and why."""
        notes = []
        if number := self._without_annotation:
            notes.append(f"{counted(number, 'task has', 'tasks have')} no annotation")
        if number := self._cancelled:
            notes.append(f"{counted(number, 'annotation was', 'annotations were')} skipped by the annotator")
        if number := self._not_located:
            notes.append(
                f"{counted(number, 'label was', 'labels were')} skipped, because the text of the region is not on the "
                "page; such pages do not count as complete"
            )
        if number := self._unknown_deletions:
            notes.append(
                f"in {counted(number, 'annotation')}, mentions that the annotator has deleted cannot be recognised, "
                "because neither the export nor review/label-studio.json has the mentions of the pipeline"
            )
        return notes

    def _page_label(self, exported: dict[str, Any], annotation: dict[str, Any]) -> PageLabel:
        data = exported["data"]
        text = storable(data["text"])
        shown = self._shown.of(exported, annotation)
        self._unknown_deletions += shown is None
        shown_spans = {(one.get("start"), one.get("end")) for one in shown or ()}
        regions: dict[str, dict[str, Any]] = defaultdict(dict)
        complete = False
        for result in annotation["result"]:
            if result.get("from_name") == COMPLETE:
                complete = True
            elif "id" in result:
                regions[result["id"]] |= _values(result)
        labels = []
        for values in regions.values():
            if "region" not in values:  # a text area of a region that was deleted can be left over
                continue
            as_shown = (values["region"].get("start"), values["region"].get("end")) in shown_spans
            if span := region_span(text, values["region"], as_shown):
                labels.append(_dataset_label(values, text, *span))
            else:
                self._not_located += 1
                complete = False
        labels += _deleted(shown or (), {(label.start, label.end) for label in labels}, text)
        user = annotation.get("completed_by")
        annotator = str(user.get("email") or user.get("id")) if isinstance(user, dict) else f"user {user}"
        return PageLabel(
            source=data["source"], page=data["page"], text_sha256=data["text_sha256"], annotator=annotator,
            time=annotation.get("updated_at") or annotation.get("created_at") or "", page_complete=complete,
            mentions=sorted(labels, key=lambda label: (label.start, label.end)),
        )  # fmt: skip


class _ShownMentions:
    """Finds the mentions of the pipeline that an annotator was shown. Exports often have only ids of predictions."""

    def __init__(self, own_tasks: Path | None) -> None:
        self._path = own_tasks

    def of(self, exported: dict[str, Any], annotation: dict[str, Any]) -> Sequence[dict[str, Any]] | None:
        """The regions that the annotation was made from: `start`, `end`, `text`. None if that is unknown."""
        if not _is_from_prediction(annotation, exported["annotations"]):
            return ()
        parent, predictions = annotation.get("parent_prediction"), exported.get("predictions") or []
        bodies = [one for one in (annotation.get("prediction"), *predictions) if isinstance(one, dict)]
        bodies = [one for one in bodies if "result" in one and (parent is None or one.get("id", parent) == parent)]
        if bodies:
            results = [result for body in bodies for result in body["result"]]
            return [result["value"] for result in results if result["type"] == "labels"]
        if parent is None and not predictions:
            return ()
        shown: Sequence[dict[str, Any]] | None = exported["data"].get(SHOWN)
        return self._own_tasks.get(_page_key(exported["data"])) if shown is None else shown

    @cached_property
    def _own_tasks(self) -> dict[Any, list[dict[str, Any]]]:
        """The predicted regions in our own file of tasks, by page."""
        try:
            return {
                _page_key(task["data"]): [
                    result["value"]
                    for prediction in task["predictions"]
                    for result in prediction["result"]
                    if result["type"] == "labels"
                ]
                for task in (json.loads(self._path.read_bytes()) if self._path else [])
            }
        except (OSError, ValueError, KeyError, TypeError):  # it is only an aid, and may be gone or changed
            return {}


def _page_key(data: dict[str, Any]) -> tuple[Any, ...]:
    return data["source"], data["page"], data["text_sha256"]


def _is_from_prediction(annotation: dict[str, Any], others: Sequence[dict[str, Any]]) -> bool:
    """Whether an annotation was made from a prediction, or copied from one that was. Older exports do not say it."""
    if "parent_prediction" not in annotation or annotation["parent_prediction"] is not None:
        return True
    copied = annotation.get("parent_annotation")
    original = next((one for one in others if copied is not None and one.get("id") == copied), None)
    return original is not None and _is_from_prediction(original, others)


def _deleted(shown: Iterable[dict[str, Any]], kept: set[tuple[int, int]], text: str) -> Iterator[DatasetLabel]:
    """Regions that the annotator was shown and has deleted: they count as rejected."""
    spans = {span for region in shown if (span := region_span(text, region, as_shown=True))}
    for start, end in spans - kept:
        yield DatasetLabel(decision="reject", start=start, end=end, quote=text[start:end])


def region_span(text: str, region: dict[str, Any], as_shown: bool = False) -> tuple[int, int] | None:
    """Where a region is in the text, or None. If its offsets and its `text` disagree, its text decides.

    Most versions of Label Studio count UTF-16 code units. `as_shown`: the offsets are ours, which count characters.
    """
    start, end, quote = region.get("start"), region.get("end"), region.get("text")
    if not (isinstance(start, int) and isinstance(end, int)):
        start = end = 0
    if not isinstance(quote, str):
        return (start, end) if 0 <= start < end <= len(text) else None
    words = quote.split()
    if not words:
        return None
    units = _from_utf16(text, start), _from_utf16(text, end)
    for low, high in ((start, end), units) if as_shown else (units, (start, end)):
        if 0 <= low < high <= len(text) and text[low:high].split() == words:
            return low, high
    # White space may have changed. The lookahead also finds places that overlap.
    places = re.finditer(r"(?=(" + r"\s+".join(map(re.escape, words)) + "))", text)
    if nearest := min(places, key=lambda place: abs(place.start() - units[0]), default=None):
        return nearest.span(1)
    found = PageIndex(text).locate_nearest(quote, units[0])
    return (found.start, found.end) if found else None


def _from_utf16(text: str, offset: int) -> int:
    """The number of characters in the first `offset` UTF-16 code units of the text."""
    return len(text.encode("utf-16-le")[: 2 * max(offset, 0)].decode("utf-16-le", "ignore"))


def _values(result: dict[str, Any]) -> dict[str, Any]:
    """What one result says about its region: where it is, or one of its values."""
    value = result["value"]
    if result["type"] == "labels":
        return {"region": value, "origin": result.get("origin", "manual")}
    chosen = value.get("choices") or value.get("text") or [None]
    return {result["from_name"]: chosen[0] if isinstance(chosen, list) else chosen}


def _dataset_label(values: dict[str, Any], text: str, start: int, end: int) -> DatasetLabel:
    # `origin` is "prediction", "prediction-changed" or "manual".
    rejected = values.get("verdict") == "invalid"
    added = values["origin"] == "manual"
    changed = "changed" in values["origin"]
    decision: Decision = "reject" if rejected else "add" if added else "edit" if changed else "accept"
    fields: dict[str, Any] = dict.fromkeys(TEXT_FIELDS)  # an emptied text area is missing in the export
    fields |= {name: storable(values[name]) for name in DATASET_FIELDS if values.get(name)}
    return DatasetLabel(decision=decision, start=start, end=end, quote=text[start:end], **fields)
