"""What the README says to type works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from conftest import COMMANDS, Project
from server import Server

from pipeline.config import ROOT, environment_keys

README = (ROOT / "README.md").read_text()
DOCS = README + (ROOT / "docs" / "batches.md").read_text()


def block(marker: str) -> str:
    return re.search(rf"{re.escape(marker)}\s*```\w*\n(.*?)```", README, re.DOTALL)[1]  # type: ignore[index]


def test_the_commands(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", "We use the Korvian Household Survey (KHS) here.")
    for line in block("<!-- commands -->").splitlines():
        project.run(line.removeprefix("python "), expect=4 if "batch_status" in line else 0)  # 4: to be retrieved
    assert project.document("reasoning", "a")["page_status"] == {"1": "answered"}
    assert (project.output / "finetune" / "train.jsonl").exists()


def test_the_notebook_lines(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", "We use the Korvian Household Survey (KHS) here.")
    project.run("run_batch.py --process extraction")
    code = block("From a notebook in this folder:") + "\nprint(list_batches(client)[0]['id'], ids[0])"
    environment = os.environ | {"OUTPUT_DIR": str(project.output)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed, noted = done.stdout.split()
    assert listed == noted


def test_every_option_and_file_that_it_names_exists() -> None:
    for script in re.findall(r"python (\w+\.py)", README):
        assert (ROOT / script).is_file(), script
    for line in block("## The files").splitlines():
        for name in line.split("  ")[0].split():
            assert (ROOT / name).exists() or (ROOT / "pipeline" / name).exists(), name
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in re.findall(r"make ([\w-]+)", README))


@pytest.mark.parametrize("script", COMMANDS)
def test_every_option_is_described_and_every_described_option_exists(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        COMMANDS[script](["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert all(option in DOCS for option in options - {"--config"})
    typed = re.findall(rf"(?:python |`){script}((?: [^\s`#|]+)*)", DOCS)
    assert {option for line in typed for option in re.findall(r"--[a-z-]+", line)} <= options


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_every_setting_that_is_named_exists() -> None:
    known = environment_keys()
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", DOCS))
    assert named and named <= known, named - known


def test_statuses_and_keys_are_described() -> None:
    for word in ("answered", "nothing_to_ask", "pending", "not_sent", "empty_text", "unreadable"):
        assert f"`{word}`" in README
