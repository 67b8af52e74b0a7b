"""The rows in the forms in which trainers take them."""

from __future__ import annotations

from typing import Any, Literal

from pipeline.finetune.examples import Example
from pipeline.records import Page
from pipeline.stages import STAGES
from pipeline.stages.pieces import whole

Format = Literal["openai", "sharegpt", "alpaca"]
FORMATS: tuple[Format, ...] = ("openai", "sharegpt", "alpaca")


def row(example: Example, system: str, form: Format) -> dict[str, Any]:
    """One line of a training file. OpenAI refuses keys that it does not know, so who labelled it stands beside it."""
    question = STAGES["extraction"].content(whole(Page(page=example.page, text=example.text)))
    answer = example.answer.model_dump_json()
    if form == "openai":
        messages = [("system", system), ("user", question), ("assistant", answer)]
        return {"messages": [{"role": role, "content": content} for role, content in messages]}
    if form == "sharegpt":
        turns = [("system", system), ("human", question), ("gpt", answer)]
        return {"conversations": [{"from": who, "value": value} for who, value in turns], **provenance(example)}
    return {"instruction": system, "input": question, "output": answer, **provenance(example)}


def provenance(example: Example) -> dict[str, Any]:
    """Where a row comes from, and who says that it is right."""
    return {"source": example.source, "page": example.page, "part": example.part, "label": example.label}
