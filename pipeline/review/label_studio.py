"""Label Studio's files: tasks with predictions out, a finished project's export back in.

A mention is a region of the page's text; verdict and classes are choices for that region, free fields text areas. The
parts of one mention share the region's id. Offsets are characters of the text, as everywhere here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args
from xml.sax.saxutils import quoteattr

from pipeline.errors import LabelError
from pipeline.labels import FIELDS, Decision, MentionLabel, PageLabel
from pipeline.records import Context, Relevance, Specificity, storable
from pipeline.review.pages import ReviewMention, ReviewPage
from pipeline.workspace import replacing

CHOICES: dict[str, tuple[str, ...]] = {
    "verdict": ("valid", "invalid"),
    "context": get_args(Context),
    "specificity": get_args(Specificity),
    "relevance": get_args(Relevance),
}
TEXTS = tuple(name for name in FIELDS if name not in CHOICES)
COMPLETE = "page_complete"


def labelling_config() -> str:
    """The project's XML."""
    parts = ["<View>", '  <Header value="$title"/>', '  <Labels name="mention" toName="text">']
    parts += ['    <Label value="dataset" background="#2a6f97"/>', "  </Labels>"]
    parts += ['  <Text name="text" value="$text" granularity="character"/>']
    for name, values in CHOICES.items():
        parts.append(f'  <Choices name="{name}" toName="text" perRegion="true" choice="single" showInLine="true">')
        parts += [f"    <Choice value={quoteattr(value)}/>" for value in values] + ["  </Choices>"]
    for name in TEXTS:
        attributes = f'name="{name}" toName="text" perRegion="true" maxSubmissions="1"'
        parts.append(f"  <TextArea {attributes} placeholder={quoteattr(name.replace('_', ' '))}/>")
    parts.append(f'  <Choices name="{COMPLETE}" toName="text" choice="single">')
    parts += ['    <Choice value="complete"/>', "  </Choices>", "</View>"]
    return "\n".join(parts) + "\n"


def task(page: ReviewPage) -> dict[str, Any]:
    """One page as a task, with what the pipeline says as its prediction."""
    data = {"title": f"{page.source}, page {page.page}", "text": page.text, "source": page.source, "page": page.page}
    results = [part for number, mention in enumerate(page.mentions) for part in _results(f"m{number}", mention)]
    prediction = {"model_version": "pipeline", "result": results}
    return {"data": data | {"text_sha256": page.text_sha256}, "predictions": [prediction]}


def _results(region: str, mention: ReviewMention) -> Iterator[dict[str, Any]]:
    where = {"start": mention.start, "end": mention.end, "text": mention.quote}
    common = {"id": region, "to_name": "text"}
    yield {**common, "from_name": "mention", "type": "labels", "value": {**where, "labels": ["dataset"]}}
    chosen = {"verdict": "invalid" if mention.valid is False else "valid", **mention.fields}
    for name in CHOICES:
        yield {**common, "from_name": name, "type": "choices", "value": {**where, "choices": [chosen[name]]}}
    for name in TEXTS:
        if chosen[name]:
            yield {**common, "from_name": name, "type": "textarea", "value": {**where, "text": [chosen[name]]}}


def write_tasks(pages: Iterable[ReviewPage], path: Path) -> int:
    """A JSON array of tasks, written one by one. Returns how many."""
    count = 0
    with replacing(path) as file:
        for page in pages:
            file.write((b"[\n" if not count else b",\n") + json.dumps(task(page), ensure_ascii=False).encode())
            count += 1
        file.write(b"\n]\n" if count else b"[]\n")
    return count


def labels_of(exported: Any) -> Iterator[PageLabel]:
    """What a project's JSON export says. Raises LabelError where it is none."""
    try:
        for one in exported:
            for annotation in one["annotations"]:
                if not annotation.get("was_cancelled"):
                    yield _label(one["data"], annotation, one.get("predictions") or [])
    except RecursionError:
        raise LabelError("This is no JSON export of a Label Studio project: export it as JSON.") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LabelError(f"This is no JSON export of a Label Studio project ({error!r}): export it as JSON.") from None


def _label(data: dict[str, Any], annotation: dict[str, Any], predictions: list[Any]) -> PageLabel:
    regions: dict[str, dict[str, Any]] = defaultdict(dict)
    complete = False
    for result in annotation["result"]:
        if result.get("from_name") == COMPLETE:
            complete = True
        elif "id" in result:
            regions[result["id"]] |= _said(result)
    text = data["text"]
    mentions = [_mention(said, text) for said in regions.values() if "start" in said]
    mentions += _deleted(predictions, {(mention.start, mention.end) for mention in mentions}, text)
    return PageLabel(
        source=data["source"], page=data["page"], text_sha256=data["text_sha256"], annotator=_annotator(annotation),
        time=annotation.get("updated_at") or annotation.get("created_at") or "", page_complete=complete,
        mentions=sorted(mentions, key=lambda mention: (mention.start, mention.end)),
    )  # fmt: skip


def _deleted(predictions: list[Any], kept: set[tuple[int, int]], text: str) -> Iterator[MentionLabel]:
    """What was predicted and is not there any more was taken out by the annotator."""
    results = [result for prediction in predictions if isinstance(prediction, dict) for result in prediction["result"]]
    for start, end in {_span(result) for result in results if result["type"] == "labels"} - kept:
        yield MentionLabel(decision="reject", start=start, end=end, quote=text[start:end])


def _span(result: dict[str, Any]) -> tuple[int, int]:
    return result["value"]["start"], result["value"]["end"]


def _said(result: dict[str, Any]) -> dict[str, Any]:
    """What one part of a region adds to it."""
    value = result["value"]
    if result["type"] == "labels":
        return {"start": value["start"], "end": value["end"], "origin": result.get("origin", "manual")}
    said = value.get("choices") or value.get("text") or [None]
    return {result["from_name"]: said[0] if isinstance(said, list) else said}


def _mention(said: dict[str, Any], text: str) -> MentionLabel:
    rejected = said.get("verdict") == "invalid"
    added = said.get("origin") == "manual"
    changed = "changed" in said.get("origin", "")
    decision: Decision = "reject" if rejected else "add" if added else "edit" if changed else "accept"
    fields: dict[str, Any] = {name: storable(said[name]) for name in FIELDS if said.get(name)}
    start, end = said["start"], said["end"]
    return MentionLabel(decision=decision, start=start, end=end, quote=text[start:end], **fields)


def _annotator(annotation: dict[str, Any]) -> str:
    who = annotation.get("completed_by")
    return str(who.get("email") or who.get("id")) if isinstance(who, dict) else f"user {who}"
