"""NOTIFY_COMMAND runs once for each stage whose batches have ended while a command waited."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Project
from server import Server

PAGE = "We use the Korvian Household Survey."


@pytest.fixture
def notes(project: Project) -> Path:
    """The file to which the command writes."""
    project.configure(NOTIFY_COMMAND='echo "$STAGE: $MESSAGE ${OPENAI_API_KEY:-no key}" >> notes.txt')
    project.paper("a.pdf", PAGE)
    return project.folder / "notes.txt"


def test_each_stage_is_announced_once(project: Project, server: Server, notes: Path) -> None:
    project.run("run_batch.py --process all")
    assert notes.read_text().splitlines() == [
        f"{stage}: {stage} has ended: 1 answered no key" for stage in ("extraction", "judge", "reasoning")
    ]
    project.run("run_batch.py --process all")
    assert len(notes.read_text().splitlines()) == 3, "nothing was waited for"


def test_waiting_for_a_batch_that_is_running(project: Project, server: Server, notes: Path) -> None:
    project.run("run_batch.py --process extraction")
    assert not notes.exists()
    project.run("batch_status.py --watch", expect=4)
    project.run("retrieve_results.py --process extraction --wait")
    assert notes.read_text().splitlines() == [
        "all: No batch is running any more. no key", "extraction: extraction has ended: 1 answered no key",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["exit 7", "echo oh no >&2; false", "nonsense-command"])
def test_a_command_that_fails_is_a_warning(project: Project, server: Server, command: str) -> None:
    project.configure(NOTIFY_COMMAND=command)
    project.paper("a.pdf", PAGE)
    printed = project.run("run_batch.py --process extraction --wait")
    assert printed.count("warning: NOTIFY_COMMAND failed") == 1
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}
