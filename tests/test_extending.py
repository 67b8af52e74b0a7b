"""What it takes to add a stage or a provider, shown in a copy of the program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from server import Server
from server_answers import completion

from pipeline.config import ROOT

EXTENSIONS = Path(__file__).parent / "extensions"


class Copy:
    """A copy of the program that can be changed."""

    def __init__(self, folder: Path, project: Project) -> None:
        self.folder, self.project = folder, project
        shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "prompts", folder / "prompts")
        for script in ROOT.glob("*.py"):
            shutil.copy(script, folder)

    def add_line(self, file: str, after: str, line: str) -> None:
        path = self.folder / file
        before = path.read_text()
        assert before.count(after) == 1
        path.write_text(before.replace(after, f"{after}\n{line}"))

    def run(self, command: str, expect: int = 0) -> str:
        script, *arguments = command.split()
        config = ["--config", str(self.project.folder / "config.yaml")]
        done = subprocess.run(
            [sys.executable, script, *arguments, *config], cwd=self.folder, env=os.environ, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == expect and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def copied(tmp_path: Path, project: Project, server: Server) -> Copy:
    server.polls_to_complete = 0
    return Copy(tmp_path / "copy", project)


def test_a_fourth_stage_is_a_file_a_prompt_a_schema_and_a_line(copied: Copy, server: Server) -> None:
    shutil.copy(EXTENSIONS / "audit.py", copied.folder / "pipeline" / "stages")
    shutil.copy(EXTENSIONS / "audit.json", copied.folder / "pipeline" / "stages" / "schemas")
    (copied.folder / "prompts" / "audit.md").write_text("Say for every number whether the dataset has an owner.")
    line = '    "audit": "pipeline.stages.audit:Audit",'
    copied.add_line("pipeline/processes.py", '    "reasoning": "pipeline.stages.reasoning:Reasoning",', line)
    usual = server.answer

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["response_format"]["json_schema"]["name"] != "dataset_audit":
            return usual(body)
        shown = str(body["messages"][1]["content"]).partition("</datasets>")[0]
        rows = [json.loads(line) for line in shown.splitlines()[1:]]
        verdicts = [{"number": row["number"], "valid": "Panel" in row["raw_name"], "owner": "X"} for row in rows]
        return 200, completion(body, json.dumps({"verdicts": verdicts}))

    server.answer = answer
    copied.project.paper("a.pdf", "We use the Korvian Household Survey here.", "The Lake Fishing Panel is new.")
    assert "audit: no price yet" in copied.run("run_batch.py --process all --dry-run")
    printed = copied.run("run_batch.py --process all")
    assert (
        "audit: 2 pages of 1 document: 2 answered" in printed
        and f"Next: {sys.executable} export_mentions.py" in printed
    )
    document = copied.project.document("audit", "a")
    datasets = [d for page in document["pages"] for mention in page["data_mentions"] for d in mention["datasets"]]
    assert [(d["raw_name"], d["valid"], d["verdicts"]["audit"]["owner"]) for d in datasets] == [
        ("Korvian Household Survey", False, "X"), ("Lake Fishing Panel", True, "X"),
    ]  # fmt: skip
    assert "audit" in copied.run("batch_status.py") and "audit" in document["usage"]
    copied.run("generate_finetune_data.py")  # the final labels are those of the last stage
    rows = "".join(file.read_text() for file in (copied.project.output / "finetune").glob("t*.jsonl"))
    assert "Lake Fishing Panel" in rows and '"raw_name\\":\\"Korvian' not in rows


def test_a_provider_with_a_format_of_its_own_is_a_file_and_a_line(copied: Copy, server: Server) -> None:
    shutil.copy(EXTENSIONS / "post_office.py", copied.folder / "pipeline" / "providers")
    line = '    "post_office": "pipeline.providers.post_office:PostOffice",'
    after = '    "local": "pipeline.providers.local:LocalProvider",'
    copied.add_line("pipeline/providers/__init__.py", after, line)
    copied.project.configure(PROVIDER="post_office")
    copied.project.paper("a.pdf", "We use the Korvian Household Survey here.", "This page is about theory.")
    assert "cost    none" in copied.run("run_batch.py --process extraction --dry-run")
    copied.run("run_batch.py --process all")
    document = copied.project.document("reasoning", "a")
    assert document["page_status"] == {"1": "answered", "2": "nothing_to_ask"}
    (dataset,) = document["pages"][0]["data_mentions"][0]["datasets"]
    assert dataset["raw_name"] == "Korvian Household Survey" and dataset["valid"] is True
    assert {recipe["provider"] for recipe in document["provenance"]} == {"post_office"}
    assert not server.requests
