"""generate_finetune_data.py --process judge: the verdicts that a judge should give on what the extraction found."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conftest import Project
from server import Server
from test_review import FIRST, SECOND, import_rows, label

from pipeline.config import SPLITS
from pipeline.stages import get_stage


@pytest.fixture
def extracted(project: Project, server: Server) -> Project:
    """Only the extraction was run. It found two datasets on page 1, and one on page 2."""
    project.paper("a.pdf", FIRST, "The annex describes the Farm Census.")
    project.run("run_batch.py --process extraction --wait")
    return project


def rows_of(project: Project, kind: str = "") -> list[dict[str, Any]]:
    folder = project.output / "finetune" / "judge"
    return [json.loads(line) for one in SPLITS for line in (folder / f"{one}{kind}.jsonl").read_text().splitlines()]


def verdicts_of(project: Project) -> list[list[dict[str, Any]]]:
    project.run("generate_finetune_data.py --process judge")
    return [json.loads(row["messages"][2]["content"])["verdicts"] for row in rows_of(project)]


def test_decisions_of_people_become_verdicts_without_any_later_stage(extracted: Project) -> None:
    import_rows(
        extracted, label(extracted, 1, ("accept", "Korvian Household Survey"), ("reject", "Barley Price Panel"))
    )
    ((survey, panel),) = verdicts_of(extracted)
    assert (survey["number"], survey["valid"], panel["number"], panel["valid"]) == (1, True, 2, False)
    (row,), (source,) = rows_of(extracted), rows_of(extracted, ".sources")
    assert source == {"source": "a", "page": 1, "part": 0, "label": "person:anna", "unlabelled": ["reason"]}
    question = row["messages"][1]["content"]
    assert '"raw_name":"Korvian Household Survey"' in question and "<page>" in question
    get_stage("judge").parse(row["messages"][2]["content"], expects=2)


def test_what_a_person_corrected_becomes_a_correction(extracted: Project) -> None:
    fields = {"year": "2011", "context": "supporting", "specificity": "properly_named"}
    import_rows(extracted, label(extracted, 1, ("edit", "Korvian Household Survey"), fields=fields))
    ((survey, panel),) = verdicts_of(extracted)
    assert {"field": "year", "value": "2011"} in survey["corrections"] and survey["context"] == "supporting"
    assert not panel["valid"], "the page is complete, and the person did not mark it"


def test_the_last_stage_teaches_its_verdicts_and_reasons(project: Project, server: Server) -> None:
    project.paper("a.pdf", FIRST, SECOND)
    project.run("run_batch.py --process all")
    made = verdicts_of(project)
    final = [
        dataset for page in project.document("reasoning", "a")["pages"]
        for passage in page["data_mentions"] for dataset in passage["datasets"]
    ]  # fmt: skip
    assert [one["valid"] for row in made for one in row] == [dataset["valid"] for dataset in final]
    assert [one["reason"] for row in made for one in row] == [
        dataset["verdicts"]["reasoning"]["reason"] for dataset in final
    ]
    assert all(source["unlabelled"] == [] for source in rows_of(project, ".sources"))


def test_pages_without_a_label_are_counted(extracted: Project) -> None:
    import_rows(extracted, label(extracted, 1, ("accept", "Korvian Household Survey")))
    printed = extracted.run("generate_finetune_data.py --process judge")
    assert "left out: 1 page (not_sent)" in printed
    assert re.search(r"^[a-z]+ +\d+ +1 +1$", printed, re.MULTILINE)
    card = (extracted.output / "finetune" / "judge" / "README.md").read_text()
    assert "not_sent" in card and "# Verdicts on dataset mentions" in card


def test_without_labels_the_next_step_is_named(extracted: Project) -> None:
    printed = extracted.run("generate_finetune_data.py --process judge", expect=1)
    assert "review_labels.py --html" in printed
    assert not (extracted.output / "finetune" / "judge" / "train.jsonl").exists()
