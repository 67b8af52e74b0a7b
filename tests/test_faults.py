"""Whatever a server does wrong: every question is answered, waiting or given up, and nothing is sent twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import server_faults
from conftest import COMMANDS, Project
from server import Reply, Server
from server_faults import FAULTS

from pipeline.config import ROOT

EXTRACTION = "--process extraction"
PAPERS, PAGES = 3, 4
# These refuse requests for good; all other faults pass, and a patient user gets everything.
FINAL = {"error_null_status_400", "validation_failure"}
QUICK: dict[str, Callable[[Server], None]] = {
    "file_not_found_for_a_while": partial(server_faults.file_not_found_for_a_while, seconds=0.5),
    "rate_limited": partial(server_faults.rate_limited, seconds=0),
    "create_times_out_after_making": partial(server_faults.create_times_out_after_making, seconds=1),
    "big_output": partial(server_faults.big_output, size=10_000_000),
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.providers.openai.WAITS", (0.1,) * 8)
    monkeypatch.setattr("pipeline.providers.openai.CREATE_TIMEOUT", 0.4)
    monkeypatch.setattr("openai._constants.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def papers(project: Project) -> Project:
    project.configure(MAX_REQUESTS_PER_BATCH=5)
    for paper in range(PAPERS):
        pages = (f"We use the Korvian{'abcd'[page]} Household Survey, no. {paper}." for page in range(PAGES))
        project.paper(f"{paper}.pdf", *pages)
    return project


def command(project: Project, line: str) -> tuple[int, str]:
    """Run a command whatever its status; a traceback fails the test."""
    script, *arguments = line.split()
    project._capsys.readouterr()
    status = COMMANDS[script]([*arguments, "--config", str(project.folder / "config.yaml")])
    printed = project._capsys.readouterr()
    assert "Traceback" not in printed.err
    return status, printed.out + printed.err


def statuses(project: Project, process: str = "extraction") -> Counter[str]:
    """Pages by status, after checking that `failures/` holds exactly those that failed."""
    found, failed = Counter[str](), set()
    for paper in range(PAPERS):
        for page, status in project.document(process, str(paper))["page_status"].items():
            found[status] += 1
            if status.startswith("failed:"):
                failed.add((str(paper), int(page), status.removeprefix("failed:")))
    lines = (project.output / "failures" / f"{process}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {(row["source"], row["page"], row["kind"]) for row in rows} == failed and len(rows) == len(failed)
    assert all(row["message"] and row["attempts"] for row in rows)
    return found


def check(project: Project, server: Server) -> Counter[str]:
    found = statuses(project)
    assert found.total() == PAPERS * PAGES
    assert set(found) <= {"answered", "pending", "failed:api_error"}
    assert set(server.seen.values()) <= {1}, "an attempt was sent twice"
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_and_nothing_sent_twice(papers: Project, server: Server, name: str) -> None:
    QUICK.get(name, FAULTS[name])(server)
    for _ in range(3):
        command(papers, f"run_batch.py {EXTRACTION}")
        check(papers, server)
        command(papers, f"retrieve_results.py {EXTRACTION}" + (" --wait" if name != "another_key" else ""))
        check(papers, server)
        if name == "another_key":
            server.behave()
    found = check(papers, server)
    assert found["pending"] == 0
    assert (found["answered"] < PAPERS * PAGES) == (name in FINAL)
    before = papers.files()
    command(papers, f"retrieve_results.py {EXTRACTION}")
    assert papers.files() == before


def test_a_batch_that_fails_validation_stops_with_its_message(papers: Project, server: Server) -> None:
    server_faults.validation_failure(server)
    status, printed = command(papers, "run_batch.py --process all")
    assert status == 3
    assert "not sent again as it is" in printed and "--again failed" in printed
    assert not (papers.output / "judge").exists()
    assert statuses(papers)["failed:api_error"] == 5
    created = len(server.batches)
    assert "5 given up" in command(papers, f"run_batch.py {EXTRACTION}")[1]
    assert len(server.batches) == created
    server.behave()
    status, printed = command(papers, f"run_batch.py {EXTRACTION} --again failed --wait")
    assert status == 0 and "on purpose" not in printed
    assert statuses(papers) == {"answered": PAPERS * PAGES}
    assert set(server.attempts.values()) == {1}


def test_a_refused_parameter_stops_and_is_named(
    papers: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe would have told; some servers have no route for it."""
    monkeypatch.setattr("pipeline.providers.openai.OpenAIProvider.probe", lambda self, body: None)
    papers.configure(REQUEST_PARAMS={"*": {"reasoning_effort": "low"}})
    status, printed = command(papers, "run_batch.py --process all")
    assert status == 3
    assert "12 requests were refused: Unsupported parameter: 'reasoning_effort'" in printed
    assert not (papers.output / "judge").exists()
    papers.configure(REQUEST_PARAMS={"*": {"temperature": 0}})
    assert command(papers, f"run_batch.py {EXTRACTION} --wait")[0] == 0
    assert statuses(papers) == {"answered": PAPERS * PAGES}


def test_a_full_queue_halves_what_is_too_large_and_remembers_it(papers: Project, server: Server) -> None:
    papers.configure(MAX_REQUESTS_PER_BATCH=12)
    server_faults.small_queue(server, share=0.3)
    status, printed = command(papers, f"run_batch.py {EXTRACTION} --wait")
    assert status == 0 and "queue full" in printed
    assert statuses(papers) == {"answered": PAPERS * PAGES}
    refused = [batch for batch in server.batches.values() if batch.info["status"] == "failed"]
    assert 2 <= len(refused) <= 3
    passed = max(len(batch.lines) for batch in server.batches.values())
    papers.paper("3.pdf", *(f"We use the Korvian Census, table {n}." for n in range(12)))
    command(papers, f"run_batch.py {EXTRACTION} --wait")
    assert len([b for b in server.batches.values() if b.info["status"] == "failed"]) == len(refused)
    assert max(len(batch.lines) for batch in server.batches.values()) == passed


def test_a_large_output_file_is_read_in_little_memory(papers: Project, server: Server) -> None:
    """300 MB: downloaded, and read line by line. Linux tells a process its peak."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    papers.configure()
    for paper in range(PAPERS, 10):
        papers.paper(f"{paper}.pdf", *(f"We use the Korvian Census, table {paper}.{n}." for n in range(40)))
    server_faults.big_output(server)
    command(papers, f"run_batch.py {EXTRACTION}")
    server.polls_to_complete = 0
    code = (
        "import re, sys, retrieve_results as r; status = r.main(sys.argv[1:]);"
        "print(status, re.search('VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    arguments = [*EXTRACTION.split(), "--config", str(papers.folder / "config.yaml")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )
    status, kilobytes = map(int, done.stdout.split()[-2:])
    (output,) = (papers.output / "batches" / "extraction").glob("*.output.jsonl")
    assert output.stat().st_size > 290_000_000
    assert status == 0 and kilobytes < 200_000, done.stdout
    assert statuses(papers) == {"answered": PAPERS * PAGES}


def test_a_small_batch_that_passes_does_not_set_the_size_of_the_large_one(papers: Project, server: Server) -> None:
    """Room for 11 requests, batches of 11 and 1: the large one waits for the small one, and is not cut to its size."""
    papers.configure(MAX_REQUESTS_PER_BATCH=11)
    server.polls_to_complete = 4
    server_faults.small_queue(server, share=1.02)
    for _ in range(3):
        command(papers, f"run_batch.py {EXTRACTION} --wait")
    assert statuses(papers) == {"answered": PAPERS * PAGES} and len(server.batches) <= 4
    assert set(server.seen.values()) == {1}


def test_nothing_more_is_sent_after_a_rejection(papers: Project, server: Server) -> None:
    papers.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    server.refuse = lambda batch: [{"code": "invalid_request", "message": "broken", "line": 1, "param": None}]
    status, _ = command(papers, f"run_batch.py {EXTRACTION} --wait")
    assert status == 3 and len(server.batches) == 1


def test_one_batch_that_cannot_be_asked_for_does_not_stop_the_others(
    papers: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.providers.openai.RETRIES", 1)
    command(papers, f"run_batch.py {EXTRACTION}")
    broken = next(iter(server.batches))
    server.polls_to_complete = 0
    server.before_request = lambda request: (
        Reply(500, {"error": {"message": "oh", "type": "x", "param": None, "code": None}})
        if request.path.endswith(broken) and request.method == "GET" else None
    )  # fmt: skip
    status, printed = command(papers, f"retrieve_results.py {EXTRACTION}")
    assert status == 3 and "oh" in printed and statuses(papers) == {"answered": 7, "pending": 5}
    server.behave()
    assert command(papers, f"retrieve_results.py {EXTRACTION}")[0] == 0
    assert statuses(papers) == {"answered": 12}


def test_a_page_that_is_too_long_is_not_a_refused_parameter(papers: Project, server: Server) -> None:
    usual = server.answer
    long = {"message": "too long", "code": "context_length_exceeded", "param": "messages", "type": "x"}
    server.answer = lambda body: (
        (400, {"error": long}) if "Korviana" in str(body) and body["max_completion_tokens"] > 16 else usual(body)
    )
    status, printed = command(papers, "run_batch.py --process all")
    assert status == 3 and "Mend REQUEST_PARAMS" not in printed
    assert (papers.output / "reasoning" / "0.json").exists()
    assert statuses(papers) == {"answered": 9, "failed:api_error": 3}
