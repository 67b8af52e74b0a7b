"""make demo-replay: its recorded answers fit the questions that are asked now, and show what the stages are for."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys

import pymupdf
import pytest

from pipeline import Workspace, iter_mentions, load_document, manifest_entries
from pipeline.config import ROOT

DEMO = ROOT / "examples" / "demo"
PAPERS = ROOT / "examples" / "papers"


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run([sys.executable, DEMO / "run_demo.py", "--replay"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workspace(printed: str) -> Workspace:
    return Workspace(DEMO / "output-replay")


def test_recorded_answers_fit_the_questions(workspace: Workspace) -> None:
    """If a prompt or a paper has changed: python examples/demo/run_demo.py --record"""
    for entry in manifest_entries(workspace):
        for process in ("extraction", "judge", "reasoning"):
            document = load_document(workspace, process, entry.source)
            assert document is not None
            assert set(document.page_status.values()) <= {"answered", "nothing_to_ask"}, (entry.source, process)


def test_output_shows_every_mention_and_says_that_answers_are_recorded(printed: str, workspace: Workspace) -> None:
    lines = " ".join(printed.split())
    mentions = list(iter_mentions(workspace))
    assert len(mentions) > 8
    assert all(" ".join(one.dataset.raw_name.split()) in lines for one in mentions)
    assert "recorded earlier" in printed
    assert all(len(line) <= 110 for line in printed.splitlines() if not line.startswith("$ "))


def test_the_answers_show_what_the_stages_are_for(printed: str, workspace: Workspace) -> None:
    """A dataset with several names in several papers, a rejection by the judge, and a verdict that was overruled."""
    verdicts = [one.dataset.verdicts for one in iter_mentions(workspace)]
    assert any(not one["judge"]["valid"] for one in verdicts)
    assert any(one["reasoning"]["overrides_judge"] for one in verdicts)
    assert re.search(r"^Caldreth Fuel and Stove Panel +[23] ", printed, re.MULTILINE)
    assert "printed as" in printed


def test_datasets_without_a_canonical_name_are_listed_apart(printed: str, workspace: Workspace) -> None:
    """The report has the same mentions under "Unnamed data"."""
    with (workspace.root / "export" / "mentions.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["valid"] == "true"]
    named, unnamed = printed.partition("\ndataset ")[2].partition("\n\n")[0].split("Without a proper name")
    for row in rows:
        name = row["canonical_name"] or " ".join(row["raw_name"].split())
        assert f"\n{name} " in (named if row["canonical_name"] else unnamed)


def test_what_the_readme_shows_is_printed(printed: str) -> None:
    readme = (ROOT / "README.md").read_text()
    shown = readme.partition("<!-- demo -->\n```\n")[2].partition("```")[0].splitlines()[1:]
    lines = printed.replace("output-replay", "output").splitlines()
    assert shown and set(shown) - {"[…]"} <= set(lines)


def test_no_name_of_the_papers_is_in_prompts_or_training_data() -> None:
    names = {mention["raw_name"] for row in gold() for mention in row["mentions"]}
    words = {word for name in names for word in re.findall(r"[A-Z][A-Za-z-]{3,}", name)} - GENERIC
    assert {"Caldreth", "Lindle", "Ferrow", "SKYHEAT-"} <= words
    training = ROOT / "training"
    for path in (*(ROOT / "prompts").glob("*.md"), training / "sentences.yaml", *(training / "data").glob("*.jsonl")):
        text = path.read_text()
        assert not [word for word in words if word in text], path


# Words of which names of datasets are made everywhere.
GENERIC = {"Archive", "Attendance", "Clinic", "Cohort", "Cough", "Fuel", "Gauge", "Panel", "Rain", "Register", "Valley"}


def gold() -> list[dict]:
    return [json.loads(line) for line in (PAPERS / "gold.jsonl").read_text().splitlines()]


def test_gold_has_the_text_of_the_papers() -> None:
    for row in gold():
        with pymupdf.open(PAPERS / f"{row['doc_id']}.pdf") as paper:
            words = " ".join(paper[row["page"] - 1].get_text().split())
        assert " ".join(row["text"].split()) == words
        assert all(row["text"][one["start"] : one["end"]] == one["raw_name"] for one in row["mentions"])
