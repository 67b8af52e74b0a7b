"""The shipped prompts: their length, their agreement with the answer schemas, and the worked examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pymupdf
import pytest

from pipeline.batches.requests import RequestBuilder
from pipeline.config import ROOT, load_config
from pipeline.processes import PROCESSES
from pipeline.providers.openai import OpenAIProvider
from pipeline.records import Ask
from pipeline.stages import get_stage
from pipeline.stages.prompts import read_prompt, system_prompt
from pipeline.text.normalize import normalized
from pipeline.workspace import Workspace

MAX_STATIC_TOKENS = 900
MAX_LINE = 1_000  # characters
# The lists of datasets and of verdicts. The schema alone gives the model this structure.
LISTS = {"datasets", "verdicts"}


def shipped_prompt(process: str) -> str:
    return read_prompt(load_config(), process)


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, schema) of all properties of a schema, on every level."""
    for name, value in schema.get("properties", {}).items():
        yield name, value
        yield from properties(value.get("items", value))


def examples(process: str) -> list[tuple[str, str]]:
    """(question, answer) of the worked examples of a stage. The question is a page or the numbered datasets."""
    text = system_prompt(load_config(), process, with_examples=True).removeprefix(shipped_prompt(process))
    found = re.findall(r"^(?:Page|Entries): ((?:.+\n)+?)Answer: (.+)$", text, re.MULTILINE)
    assert found and len(found) == text.count("Answer: ")
    return found


@pytest.mark.parametrize("process", PROCESSES)
def test_prompt_and_schema_are_cheap(process: str, tmp_path: Path) -> None:
    """They are paid for with every page."""
    config, stage = load_config(), get_stage(process)
    requests = RequestBuilder.make(stage, OpenAIProvider(config, Workspace(tmp_path)), config)
    empty = Ask(process, "a", page=1, part=0, start=0, end=0, datasets=(), input_hash="", content="")
    assert 100 < requests.tokens(empty) <= MAX_STATIC_TOKENS


@pytest.mark.parametrize("process", PROCESSES)
def test_prompt_names_every_field_of_the_schema(process: str) -> None:
    prompt = shipped_prompt(process)
    names = {name for name, _ in properties(get_stage(process).schema)} - LISTS
    assert len(names) > 5
    assert [name for name in sorted(names) if not re.search(rf"\b{name}s?\b", prompt)] == []


@pytest.mark.parametrize("process", PROCESSES)
def test_prompt_names_every_value_of_the_schema(process: str) -> None:
    prompt = shipped_prompt(process)
    found = dict(properties(get_stage(process).schema))
    found.pop("field", None)  # its values are the names of the fields that the judge is shown
    values = [value for node in found.values() for value in node.get("enum", ()) if value is not None]
    assert len(values) > 5
    assert [value for value in values if value not in prompt] == []


@pytest.mark.parametrize("name", [*PROCESSES, "extraction_finetuned"])
def test_prompt_has_no_long_lines(name: str) -> None:
    lines = (ROOT / "prompts" / f"{name}.md").read_text().splitlines()
    assert [len(line) for line in lines if len(line) > MAX_LINE] == []


@pytest.mark.parametrize("process", PROCESSES)
def test_examples_are_valid_answers(process: str) -> None:
    stage = get_stage(process)
    for question, answer in examples(process):
        stage.parse(answer, expects=question.count('"number":'))
        jsonschema.validate(json.loads(answer), stage.schema)


def test_examples_of_the_extraction_quote_their_page() -> None:
    for page, answer in examples("extraction"):
        for passage in json.loads(answer)["data_mentions"]:
            assert passage["mentioned_in"] in page
            assert all(dataset["raw_name"] in passage["mentioned_in"] for dataset in passage["datasets"])


@pytest.mark.parametrize("process", ["judge", "reasoning"])
def test_examples_of_verdicts_accept_and_reject(process: str) -> None:
    verdicts = [verdict for _, answer in examples(process) for verdict in json.loads(answer)["verdicts"]]
    assert {verdict["valid"] for verdict in verdicts} == {True, False}
    assert all(verdict["reason"] for verdict in verdicts)


def sample_papers() -> str:
    """The text of the sample papers, normalized."""
    text = ""
    for path in sorted((ROOT / "examples" / "papers").glob("*.pdf")):
        with pymupdf.open(path) as document:
            text += "\n".join(page.get_text() for page in document)
    assert "Caldreth" in text
    return normalized(text)


def test_names_in_examples_do_not_occur_in_the_sample_papers() -> None:
    """Otherwise a model could copy the answer from its prompt."""
    quoted = "\n".join(question + answer for process in PROCESSES for question, answer in examples(process))
    keys = ("raw_name", "harmonized_name", "acronym", "producer")
    names = {name for key in keys for name in re.findall(rf'"{key}": ?"(.*?)"', quoted)}
    assert len(names) > 5
    papers = sample_papers()
    assert [name for name in sorted(names) if normalized(json.loads(f'"{name}"')) in papers] == []


def test_words_of_the_sample_papers_are_in_no_prompt() -> None:
    prompts = " ".join(path.read_text() for path in (ROOT / "prompts").glob("*.md")).lower()
    for word in (
        "caldreth",
        "stove",
        "cfsp",
        "gauge",
        "crga",
        "skyheat",
        "clinic attendance",
        "cough",
        "lindle",
        "observatory",
    ):
        assert word not in prompts
