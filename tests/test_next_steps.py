"""The next step that a command prints helps: it can be run as it is, it changes something, and it leads to the end."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING

from pipeline.providers.openai import PROBE_TOKENS

State = Callable[[Project, Server], object]
NO = {"error": {"message": "no", "type": "x", "param": None, "code": None}}
EXPORT = "python export_mentions.py --format html"


def unread(project: Project, server: Server) -> None:
    (project.input / "scan.pdf").write_bytes(b"not a PDF")


def paper(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS, CENSUS)


def two_papers(project: Project, server: Server) -> None:
    paper(project, server)
    project.paper("b.pdf", f"{HOUSEHOLDS} Again.")


def with_unread(project: Project, server: Server) -> None:
    paper(project, server)
    unread(project, server)


def blank(project: Project, server: Server) -> None:
    project.paper("a.pdf", " ")


def nothing_found(project: Project, server: Server) -> None:
    project.paper("a.pdf", NOTHING)
    project.run("run_batch.py --process extraction --wait")


def submitted(project: Project, server: Server) -> None:
    paper(project, server)
    project.run("run_batch.py --process extraction")


def extracted(project: Project, server: Server) -> None:
    paper(project, server)
    project.run("run_batch.py --process extraction --wait")


def limited(project: Project, server: Server) -> None:
    """Only one of two papers has gone through all stages."""
    two_papers(project, server)
    for process in ("extraction", "judge", "reasoning"):
        project.run(f"run_batch.py --process {process} --limit 1 --wait")


def judged_in_part(project: Project, server: Server) -> None:
    two_papers(project, server)
    project.run("run_batch.py --process extraction --wait")
    project.run("run_batch.py --process judge --documents a --wait")


def extraction_in_part(project: Project, server: Server) -> None:
    """The judge is done with one paper, and the extraction is not with the other."""
    two_papers(project, server)
    project.run("run_batch.py --process extraction --documents a --wait")
    project.run("run_batch.py --process judge --wait")
    project.run("run_batch.py --process extraction")


def judge_submitted(project: Project, server: Server) -> None:
    extracted(project, server)
    project.run("run_batch.py --process judge")


def done(project: Project, server: Server) -> None:
    paper(project, server)
    project.run("run_batch.py --process all")


def paper_added(project: Project, server: Server) -> None:
    done(project, server)
    project.paper("b.pdf", f"{HOUSEHOLDS} Again.")


def paper_removed(project: Project, server: Server) -> None:
    two_papers(project, server)
    project.run("run_batch.py --process extraction")
    (project.input / "b.pdf").unlink()


def paper_broken(project: Project, server: Server) -> None:
    done(project, server)
    (project.input / "a.pdf").write_bytes(b"damaged")


def expired(project: Project, server: Server) -> None:
    paper(project, server)
    server.finish = lambda batch: ("expired", 0)
    project.run("run_batch.py --process extraction")
    project.run("retrieve_results.py --process extraction --wait")
    server.finish = lambda batch: ("completed", None)


def cancelled(project: Project, server: Server) -> None:
    server.polls_to_complete = 5
    submitted(project, server)
    project.run("batch_status.py --cancel all")
    server.polls_to_complete = 2


def all_failed(project: Project, server: Server) -> None:
    """Every request of the first batch fails. The cause is gone afterwards."""
    paper(project, server)
    usual = server.answer
    server.answer = lambda body: usual(body) if body["max_completion_tokens"] == PROBE_TOKENS else (400, NO)
    project.run("run_batch.py --process extraction --wait", expect=3)
    server.answer = usual


STATES: tuple[State, ...] = (
    unread, paper, two_papers, with_unread, blank, nothing_found, submitted, extracted, limited, judged_in_part,
    extraction_in_part, judge_submitted, done, paper_added, paper_removed, paper_broken, expired, cancelled, all_failed,
)  # fmt: skip
COMMANDS = (
    *(f"run_batch.py --process {process}" for process in ("extraction", "judge", "reasoning")),
    *(f"retrieve_results.py --process {process}" for process in ("extraction", "judge", "reasoning")),
    "batch_status.py",
)
WITHOUT_RESULTS = (unread, blank, paper_broken)  # states that only other papers change


def advised(printed: str) -> str | None:
    """The first command that a message advises: `Next: python …`, or in backticks."""
    found = re.search(r"^Next: python ([^(,]+?)(?:  |$)|^error: .*?run `python (.+?)`", printed, re.IGNORECASE | re.M)
    return (found[1] or found[2]) if found else None


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_following_the_advice_leads_to_the_end(project: Project, server: Server, state: State, command: str) -> None:
    """Each step changes something: the output of no command is repeated, but for a batch that is not ready yet."""
    state(project, server)
    ran: list[str] = []
    step: str | None = command
    while step and not step.startswith(("export_mentions.py", "run_batch.py --check")):
        status, printed = project.command(step)
        assert status in (0, 1, 3, 4)
        ran.append(f"{step}\n{re.sub(r'batch_[0-9a-f]+|[0-9:]+', '', printed)}")
        running = server.polls_to_complete > 1 and ("in_progress" in printed or "still running" in printed)
        assert running or ran.count(ran[-1]) == 1, f"{step} was advised twice in the same state"
        assert len(ran) < 16, ran
        step = advised(printed)
    if state in WITHOUT_RESULTS:
        assert step is None or step == "run_batch.py --check" or state is paper_broken
    else:
        assert step and f"python {step}" == EXPORT, ran[-1]
        project.run(step)


@pytest.mark.parametrize(
    ("state", "command", "expected"),
    [
        (unread, "run_batch.py --process extraction", "run_batch.py --check"),
        (unread, "run_batch.py --process all", "run_batch.py --check"),
        (blank, "run_batch.py --process extraction", "run_batch.py --check"),
        (blank, "run_batch.py --process all", "run_batch.py --check"),
        (paper, "run_batch.py --process reasoning", "run_batch.py --process extraction"),
        (paper, "retrieve_results.py --process reasoning", "run_batch.py --process extraction"),
        (submitted, "run_batch.py --process judge", "retrieve_results.py --process extraction"),
        (submitted, "run_batch.py --process reasoning", "retrieve_results.py --process extraction"),
        (expired, "run_batch.py --process judge", "run_batch.py --process extraction"),
        (judged_in_part, "retrieve_results.py --process extraction", "run_batch.py --process judge"),
        (extraction_in_part, "run_batch.py --process judge", "retrieve_results.py --process extraction"),
        (paper_added, "run_batch.py --process judge", "run_batch.py --process extraction"),
        (limited, "retrieve_results.py --process reasoning", "export_mentions.py --format html"),
        (limited, "run_batch.py --process extraction --limit 1", "run_batch.py --process extraction"),
        (done, "run_batch.py --process extraction", "export_mentions.py --format html"),
        (done, "batch_status.py", "export_mentions.py --format html"),
        (submitted, "batch_status.py", "retrieve_results.py --process extraction"),
        (submitted, "export_mentions.py", "run_batch.py --process all"),
        (all_failed, "run_batch.py --process judge", "run_batch.py --process extraction --again failed"),
        (all_failed, "run_batch.py --process all", "run_batch.py --process extraction --again failed"),
        (all_failed, "batch_status.py", "run_batch.py --process extraction --again failed"),
    ],
)
def test_the_advice(project: Project, server: Server, state: State, command: str, expected: str) -> None:
    state(project, server)
    printed = project.command(command)[1]
    assert advised(printed) == expected, printed


def test_all_stops_where_nothing_was_answered(project: Project, server: Server) -> None:
    all_failed(project, server)
    assert "\njudge" not in project.run("run_batch.py --process all", expect=3)
    project.paper("b.pdf", NOTHING)
    assert "\nreasoning" in project.run("run_batch.py --process all", expect=3)  # another paper was answered


def test_a_selection_of_nothing(project: Project, server: Server) -> None:
    two_papers(project, server)
    for process in ("extraction", "judge"):
        for selection, reason in (
            ("--pages 90-95", "No selected document has a page"),
            ("--documents b --pages 2", "No selected document has a page"),
            ("--documents c*", "No document matches 'c*'"),
        ):
            assert reason in project.run(f"run_batch.py --process {process} {selection}", expect=1)
    assert not server.files


def test_no_stage_is_advised_before_it_can_run(project: Project, server: Server) -> None:
    paper(project, server)
    printed = project.run("batch_status.py")
    assert "--process judge" not in printed and "Next: python run_batch.py --process all" in printed


def test_only_papers_that_cannot_be_read_are_no_page(project: Project, server: Server) -> None:
    paper_broken(project, server)
    printed = project.run("run_batch.py --process all", expect=3)
    assert "problem: a.pdf:" in printed and ": 0 pages" not in printed and "judge: " not in printed
