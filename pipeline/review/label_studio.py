"""Label Studio: tasks with the pipeline's mentions as predictions, and the labels from a project's JSON export.

A mention is a region of the page's text. Its verdict and class fields are choices for that region, its text fields are
text areas. All results of one mention share the id of the region. Offsets are characters of the page's text.
Format: https://labelstud.io/guide/task_format
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from pydantic import ValidationError

from pipeline.errors import LabelError
from pipeline.files import replacing
from pipeline.records import CLASS_FIELDS, DATASET_FIELDS, TEXT_FIELDS, invalid_because, storable
from pipeline.review.labels import DatasetLabel, Decision, PageLabel
from pipeline.review.review_pages import ReviewDataset, ReviewPage

CHOICES: dict[str, tuple[str, ...]] = {"verdict": ("valid", "invalid"), **CLASS_FIELDS}
COMPLETE = "page_complete"


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
        yield {**common, "from_name": name, "type": "choices", "value": {**where, "choices": [values[name]]}}
    for name in TEXT_FIELDS:
        if values[name]:
            yield {**common, "from_name": name, "type": "textarea", "value": {**where, "text": [values[name]]}}


def read_export(path: Path) -> Iterator[PageLabel]:
    """The labels in a project's JSON export. Raises LabelError if the file is something else."""
    advice = "export the project from Label Studio in the format JSON."
    try:
        for exported in json.loads(path.read_bytes()):
            for annotation in exported["annotations"]:
                if not annotation.get("was_cancelled"):
                    yield _page_label(exported["data"], annotation, exported.get("predictions") or [])
    except RecursionError:
        raise LabelError(f"{path} is not a JSON export of Label Studio: {advice}") from None
    except ValidationError as error:
        raise LabelError(f"{path} is not a JSON export of Label Studio ({invalid_because(error)}): {advice}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LabelError(f"{path} is not a JSON export of Label Studio ({error!r}): {advice}") from None


def _page_label(data: dict[str, Any], annotation: dict[str, Any], predictions: list[Any]) -> PageLabel:
    regions: dict[str, dict[str, Any]] = defaultdict(dict)
    complete = False
    for result in annotation["result"]:
        if result.get("from_name") == COMPLETE:
            complete = True
        elif "id" in result:
            regions[result["id"]] |= _values(result)
    text = data["text"]
    # A text area of a region that was deleted can be left over. It has no place.
    labels = [_dataset_label(values, text) for values in regions.values() if "start" in values]
    labels += _deleted(predictions, {(label.start, label.end) for label in labels}, text)
    user = annotation.get("completed_by")
    annotator = str(user.get("email") or user.get("id")) if isinstance(user, dict) else f"user {user}"
    return PageLabel(
        source=data["source"], page=data["page"], text_sha256=data["text_sha256"], annotator=annotator,
        time=annotation.get("updated_at") or annotation.get("created_at") or "", page_complete=complete,
        mentions=sorted(labels, key=lambda label: (label.start, label.end)),
    )  # fmt: skip


def _deleted(predictions: list[Any], kept: set[tuple[int, int]], text: str) -> Iterator[DatasetLabel]:
    """Regions that were predicted and that the annotator has deleted: they count as rejected."""
    results = [result for prediction in predictions if isinstance(prediction, dict) for result in prediction["result"]]
    regions = [result["value"] for result in results if result["type"] == "labels"]
    for start, end in {(region["start"], region["end"]) for region in regions} - kept:
        yield DatasetLabel(decision="reject", start=start, end=end, quote=text[start:end])


def _values(result: dict[str, Any]) -> dict[str, Any]:
    """What one result says about its region: where it is, or one of its values."""
    value = result["value"]
    if result["type"] == "labels":
        return {"start": value["start"], "end": value["end"], "origin": result.get("origin", "manual")}
    chosen = value.get("choices") or value.get("text") or [None]
    return {result["from_name"]: chosen[0] if isinstance(chosen, list) else chosen}


def _dataset_label(values: dict[str, Any], text: str) -> DatasetLabel:
    # `origin` is "prediction", "prediction-changed" or "manual".
    rejected = values.get("verdict") == "invalid"
    added = values["origin"] == "manual"
    changed = "changed" in values["origin"]
    decision: Decision = "reject" if rejected else "add" if added else "edit" if changed else "accept"
    fields: dict[str, Any] = dict.fromkeys(TEXT_FIELDS)  # an emptied text area is missing in the export
    fields |= {name: storable(values[name]) for name in DATASET_FIELDS if values.get(name)}
    start, end = values["start"], values["end"]
    return DatasetLabel(decision=decision, start=start, end=end, quote=text[start:end], **fields)
