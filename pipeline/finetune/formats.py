"""The formats of a training row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.finetune import Format
from pipeline.finetune.examples import Example
from pipeline.processes import FIRST
from pipeline.records import Page
from pipeline.stages import get_stage
from pipeline.text.chunks import whole_page


def row(example: Example, system: str, form: Format) -> dict[str, Any]:
    """One line of a training file. `system`: the system prompt.

    Rows in OpenAI's format have no provenance, because OpenAI refuses unknown keys.
    """
    question = get_stage(FIRST).content(whole_page(Page(page=example.page, text=example.text)))
    answer = example.answer.model_dump_json()
    return formatted(system, question, answer, form, provenance(example))


def formatted(system: str, question: str, answer: str, form: Format, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The same from its texts. `origin`: the keys that say where the row comes from."""
    if form == "openai":
        messages = [("system", system), ("user", question), ("assistant", answer)]
        return {"messages": [{"role": role, "content": content} for role, content in messages]}
    if form == "sharegpt":
        turns = [("system", system), ("human", question), ("gpt", answer)]
        return {"conversations": [{"from": who, "value": value} for who, value in turns], **origin}
    return {"instruction": system, "input": question, "output": answer, **origin}


def provenance(example: Example) -> dict[str, Any]:
    """The page that a row comes from, and who labelled it: `pipeline`, `person:NAME` or both."""
    return {"source": example.source, "page": example.page, "part": example.part, "label": example.label}


def sources_row(example: Example) -> dict[str, Any]:
    """One line of SPLIT.sources.jsonl. `unlabelled`: fields whose values in the answer nobody has labelled.

    It is not in the training files: a column of lists that are empty in one split has another type there.
    """
    return {**provenance(example), "unlabelled": example.unlabelled}
