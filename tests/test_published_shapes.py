"""Document files can be read like both published formats of this method's results.

One format has `page` and `dataset_used` on the page, the other on the mention. The readers in this file are written for
the published files, and are tested on those first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import Project

Row = tuple[int, bool, str, Any, Any]


def read_page_shape(path: Path) -> list[Row]:
    """`page` and `dataset_used` on the page, `sent` on every dataset."""
    rows = []
    for page in json.loads(path.read_text())["pages"]:
        for mention in page["data_mentions"]:
            for dataset in mention["datasets"]:
                assert isinstance(dataset["sent"], str) and isinstance(mention["mentioned_in"], str)
                rows.append(row(page["page"], page["dataset_used"], dataset))
    return rows


def read_mention_shape(path: Path) -> list[Row]:
    """`page` and `dataset_used` on the mention, `valid` and its reason on every dataset."""
    rows = []
    for page in json.loads(path.read_text())["pages"]:
        for mention in page["data_mentions"]:
            for dataset in mention["datasets"]:
                assert isinstance(dataset["valid"], bool)
                assert dataset["valid"] or isinstance(dataset["invalid_reason"], str)
                rows.append(row(mention["page"], mention["dataset_used"], dataset))
    return rows


def row(page: int, used: bool, dataset: dict[str, Any]) -> Row:
    for key in ("harmonized_name", "acronym", "producer"):
        assert dataset[key] is None or isinstance(dataset[key], str)
    return page, used, dataset["raw_name"], dataset["context"], dataset["specificity"]


def test_readers_on_the_published_files(shared: Path) -> None:
    outputs = shared / "llm_outputs"
    (path,) = (outputs / "output" / "extracted_data").glob("*.json")
    assert len(read_page_shape(path)) == 27
    (path,) = (outputs / "extraction_outputs" / "reasoning").glob("The*.json")
    assert len(read_mention_shape(path)) == 19


def test_readers_on_document_files(project: Project) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey (KHS).", "Nothing.", "The Lake Fishing Panel is new.")
    project.run("run_batch.py --process all")
    for process in ("extraction", "judge", "reasoning"):
        assert [found[0] for found in read_page_shape(project.output / process / "a.json")] == [1, 3]
    for process in ("judge", "reasoning"):
        path = project.output / process / "a.json"
        assert [found[2:] for found in read_mention_shape(path)] == [found[2:] for found in read_page_shape(path)]
