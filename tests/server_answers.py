"""The model behind the test server. Its answers are computed from the page in the request.

Dataset names are found with a pattern. Verdicts are functions of stage and name, so that tests can recompute them.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import time
import uuid

from server_spec import REASONERS, Breach, Json

PROCESSES = {
    "dataset_extraction": "extraction",
    "dataset_judgement": "judge",
    "dataset_reasoning": "reasoning",
}
CONTEXT = ("primary", "supporting", "background")
SPECIFICITY = ("properly_named", "descriptive_but_unnamed", "vague_generic")
RELEVANCE = ("directly_relevant", "indirectly_relevant", "not_relevant")

_MESSAGE = re.compile(r"\A(?:<datasets>\n(?P<datasets>.*?)\n</datasets>\n)?<page>\n(?P<page>.*)\n</page>\Z", re.DOTALL)
_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*)"
_WORD = r"[A-Z][\w'’&/-]*"
_LAST = rf"(?:Surveys?|Census|Panel|Study|Database|Dataset|Indicators|Data{_GAP}Set)"
_NAME = re.compile(
    rf"(?<!\w)(?!(?:The|This|These|In|On|For|From|We|Our|A|An|And|Of|Using)\b)"
    rf"(?P<name>{_WORD}(?:{_GAP}(?:(?:of|and|the|for){_GAP}){{0,2}}{_WORD}){{0,9}}?"
    rf"(?:{_GAP}{_LAST}){{1,3}})(?![\w-])"
    rf"(?:{_GAP}\((?P<acronym>[A-Z][A-Z0-9&-]{{1,14}})\))?"
)


def read_request(body: Json) -> tuple[str, str, list[Json]]:
    """The process, the page and the numbered datasets of a request. Nothing else is known about prompts here."""
    name = body["response_format"]["json_schema"]["name"]
    shown = _MESSAGE.match(str(body["messages"][-1].get("content")))
    if name not in PROCESSES or [message["role"] for message in body["messages"]] != ["system", "user"]:
        raise Breach(f"Not a system and a user message of one of the three stages: {name!r}")
    if not shown or (shown["datasets"] is None) != (PROCESSES[name] == "extraction"):
        raise Breach(f"{name!r}: the user message must be <page>, after <datasets> in the later stages")
    datasets = [json.loads(line) for line in (shown["datasets"] or "").split("\n") if line]
    if any([type(row.get("number")), type(row.get("raw_name"))] != [int, str] for row in datasets):
        raise Breach(f"{name!r}: each dataset must have a number and a raw_name")
    return PROCESSES[name], shown["page"], datasets


def dataset_names(page_text: str) -> list[str]:
    """The names that the extractor finds, as printed in the page (line breaks included), in order, each once."""
    return list(dict.fromkeys(found["name"] for found in _NAME.finditer(page_text)))


def _dice(*parts: str) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()


def labels(process: str, raw_name: str) -> Json:
    """The classes that `process` assigns to a name. All classes occur in a few dozen names."""
    dice = _dice(process, raw_name)
    context, specificity = CONTEXT[dice[0] % 3], SPECIFICITY[dice[1] % 3]
    return {"context": context, "specificity": specificity, "relevance": RELEVANCE[dice[2] % 3]}


def verdict(process: str, raw_name: str) -> Json:
    """The verdict of `process` (judge or reasoning) on a name, without its number. Three of four are valid."""
    dice, row = _dice(process, "verdict", raw_name), labels(process, raw_name)
    del row["relevance"]
    row["valid"] = dice[0] % 4 > 0
    row["reason"] = f"“{raw_name}” is " + ("a source of data." if row["valid"] else "a publication, not data.")
    if process == "judge":
        note = "name to be confirmed" if row["valid"] and dice[3] % 4 == 0 else None
        return row | {"note": note, "corrections": _corrections(raw_name)[dice[1] % 5 :][: dice[2] % 3]}
    if not row["valid"]:
        row |= {"context": None, "specificity": None}
    doubt = f"“{raw_name}” might be only the title of a report."
    return {"analysis": f"The page names “{raw_name}” as a source.", "devils_advocate": doubt, **row}


def _older_extraction(answer: Json) -> Json:
    """The same answer in the form that requests of the previous version ask for."""
    for dataset in (one for mention in answer["data_mentions"] for one in mention["datasets"]):
        del dataset["geography"]
    return {"dataset_used": bool(answer["data_mentions"]), **answer}


def _older_verdict(row: Json, raw_name: str) -> Json:
    """The same verdict in the form that requests of the previous version ask for."""
    classes = {name: row[name] or labels("judge", raw_name)[name] for name in ("context", "specificity")}
    rest = {name: value for name, value in row.items() if name not in ("reason", "note")}
    return rest | classes | {"invalid_reason": None if row["valid"] else row["reason"]}


def _corrections(raw_name: str) -> list[Json]:
    known = {"harmonized_name": " ".join(raw_name.split()), "acronym": None, "producer": "Statistics Office"}
    known |= {"year": str(1990 + len(raw_name) % 30), "data_type": "survey", "geography": "Kenya"}
    return [{"field": name, "value": value} for name, value in known.items()]


def extracted(page_text: str) -> Json:
    """The extractor's answer to a page. Names in the same passage share a mention."""
    passages: dict[str, list[Json]] = {}
    first = {found["name"]: found for found in reversed([*_NAME.finditer(page_text)])}
    for name in dataset_names(page_text):
        passage = _passage(page_text, *first[name].span("name"))
        passages.setdefault(passage, []).append(_dataset(name, first[name]["acronym"], passage))
    mentions = [{"mentioned_in": passage, "datasets": found} for passage, found in passages.items()]
    return {"data_mentions": mentions}


def _dataset(raw_name: str, acronym: str | None, passage: str) -> Json:
    year, kind = re.search(r"\b(?:19|20)\d\d\b", passage), re.search(r"Survey|Census|Panel", raw_name)
    place = re.search(r"\b(?:Ghana|Kenya|Peru)\b", passage)
    return {
        "raw_name": raw_name,
        "harmonized_name": " ".join(raw_name.split()) if len(raw_name) % 2 else None,
        "acronym": acronym,
        "producer": None,
        "year": year[0] if year else None,
        "data_type": kind[0].lower() if kind else None,
        "geography": place[0] if place else None,
        **labels("extraction", raw_name),
    }


def _passage(text: str, start: int, end: int) -> str:
    """The sentence around a name, cut to 400 characters that include the name."""
    before, after = text.rfind(". ", 0, start), text.find(". ", end)
    first = max(before + 2 if before >= 0 else 0, start - 200)
    last = min(after + 1 if after >= 0 else len(text), first + 400)
    return text[first : max(last, end)].strip()


def answer_from_page(body: Json) -> Json:
    """The model's answer: a pure function of the request. The verdicts are shuffled."""
    process, page, datasets = read_request(body)
    older = set(body["response_format"]["json_schema"]["schema"]["required"]) & {"dataset_used"}
    if process == "extraction":
        answer = extracted(page)
        return _older_extraction(answer) if older else answer
    rows = [{"number": dataset["number"], **verdict(process, dataset["raw_name"])} for dataset in datasets]
    random.Random(_dice(process, page)).shuffle(rows)
    fields = body["response_format"]["json_schema"]["schema"]["properties"]["verdicts"]["items"]["properties"]
    if "invalid_reason" in fields:
        rows = [_older_verdict(row, dataset["raw_name"]) for row in rows for dataset in datasets
                if dataset["number"] == row["number"]]  # fmt: skip
    plan = {"strategy": "Find each name in the page.", "rubric": "Valid is what can be asked for."}
    return {**(plan if process == "reasoning" else {}), "verdicts": rows}


def completion(body: Json, content: str | None, finish: str = "stop", refusal: str | None = None) -> Json:
    """A chat completion. It is cut off (`length`) at the request's limit of tokens, with four characters per token."""
    reasons = REASONERS.match(body["model"]) and body.get("reasoning_effort") != "none"
    room = body.get("max_completion_tokens") or body.get("max_tokens") or sys.maxsize
    thought = min(64 if reasons else 0, room)
    if content and thought + len(content) // 4 > room:
        content, finish = content[: 4 * (room - thought)], "length"
    sizes = [len(str(message.get("content"))) // 4 for message in body["messages"]]
    asked, answered = sum(sizes), thought + len(content or refusal or "") // 4
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
            "prompt_tokens_details": {"cached_tokens": sizes[0] // 128 * 128 if sizes[0] >= 1024 else 0},
            "completion_tokens_details": {"reasoning_tokens": thought},
        },
    }
