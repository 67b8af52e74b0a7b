"""How much work a command does: nothing is read, rendered or parsed more often than needed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING

from pipeline.config import ROOT

PACKAGE = str(ROOT / "pipeline")
opened: list[str] = []


def _note_open(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith("manifest.jsonl"):
        opened.append(str(arguments[1]))


sys.addaudithook(_note_open)


class Effort:
    """Calls of functions of the package by name, and how often the manifest was opened to be read."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.manifest_reads = 0

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.calls[frame.f_code.co_qualname] += 1

    @property
    def rendered(self) -> int:
        return self.calls["Extraction.content"] + self.calls["VerdictStage.content"]

    @property
    def parsed(self) -> int:
        return self.calls["Stage.parse"]


@contextmanager
def effort() -> Iterator[Effort]:
    counted = Effort()
    opened.clear()
    before = sys.getprofile()
    sys.setprofile(counted.note)
    try:
        yield counted
    finally:
        sys.setprofile(before)
        counted.manifest_reads = sum("w" not in mode for mode in opened)


@pytest.fixture
def papers(project: Project, server: Server) -> Project:
    """Three papers; two of three pages have mentions."""
    server.polls_to_complete = 0
    for number in range(3):
        project.paper(f"{number}.pdf", f"{HOUSEHOLDS} {number}", f"{NOTHING} {number}", f"{CENSUS} {number}")
    return project


def test_each_question_is_rendered_once_and_each_answer_parsed_once(papers: Project) -> None:
    for process, questions in (("extraction", 9), ("judge", 6), ("reasoning", 6)):
        with effort() as planned:
            papers.run(f"run_batch.py --process {process}")
        assert (planned.rendered, planned.parsed) == (questions, 0), process
        with effort() as retrieved:
            papers.run(f"retrieve_results.py --process {process}")
        assert (retrieved.rendered, retrieved.parsed) == (0, questions), process


@pytest.mark.parametrize(("process", "questions"), [("extraction", 9), ("judge", 6), ("reasoning", 6)])
def test_unchanged_papers_take_two_passes_and_no_document_is_built(
    papers: Project, process: str, questions: int
) -> None:
    papers.run("run_batch.py --process all")
    files = papers.files()
    with effort() as again:
        papers.run(f"run_batch.py --process {process}")
    assert again.manifest_reads <= 2
    assert again.rendered == questions  # its hash decides whether it must be sent
    assert again.parsed == again.calls["DocumentBuilder.build"] == again.calls["Stage.load"] == 0
    with effort() as retrieved:
        papers.run(f"retrieve_results.py --process {process}")
    assert retrieved.manifest_reads <= 2
    assert retrieved.rendered == retrieved.parsed == retrieved.calls["DocumentBuilder.build"] == 0
    assert papers.files() == files


def test_only_the_changed_paper_is_built_again(papers: Project) -> None:
    papers.run("run_batch.py --process all")
    (papers.input / "1.pdf").unlink()
    papers.paper("1.pdf", f"{HOUSEHOLDS} 1", f"{NOTHING} changed", f"{CENSUS} 1")
    with effort() as planned:
        papers.run("run_batch.py --process extraction --yes")
    assert planned.calls["DocumentBuilder.build"] == 3  # one paper, three stages
    with effort() as retrieved:
        papers.run("retrieve_results.py --process extraction")
    assert retrieved.parsed == 1 and retrieved.rendered == 0
