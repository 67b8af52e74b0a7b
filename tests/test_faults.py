"""Whatever a server does wrong: every question is answered, waiting or given up, and nothing is sent twice."""

from __future__ import annotations

import itertools
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
from conftest import Project
from server import Reply, Server
from server_faults import FAULTS

from pipeline.config import ROOT

EXTRACTION = "--process extraction"
CHAT = "/v1/chat/completions"
PAPERS, PAGES = 3, 4
# These refuse requests for good. All other faults are temporary: a user who repeats the commands gets every answer.
PERMANENT = {"error_null_status_400", "validation_failure"}
SMALL: dict[str, Callable[[Server], None]] = {
    "create_times_out_after_creating": partial(server_faults.create_times_out_after_creating, seconds=0.6),
    "mute_for_a_while": partial(server_faults.mute_for_a_while, seconds=0.6),
    "big_output": partial(server_faults.big_output, size=10_000_000),
}


@pytest.fixture
def papers(project: Project) -> Project:
    project.configure(MAX_REQUESTS_PER_BATCH=5)
    for paper in range(PAPERS):
        pages = (f"We use the Korvian{'abcd'[page]} Household Survey, no. {paper}." for page in range(PAGES))
        project.paper(f"{paper}.pdf", *pages)
    return project


def statuses(project: Project, process: str = "extraction") -> Counter[str]:
    """Pages by status. Checks that `failures/` has exactly those that failed."""
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
def test_nothing_is_lost_and_nothing_sent_twice(
    papers: Project, server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "create_times_out_after_creating":
        monkeypatch.setattr("pipeline.providers.openai.CREATE_TIMEOUT", 0.3)
    if name == "mute_for_a_while":
        monkeypatch.setattr("pipeline.providers.openai.SILENCE", 0.3)
        monkeypatch.setattr("pipeline.providers.openai.UPLOAD_SILENCE", 0.3)
        monkeypatch.setattr("pipeline.providers.openai.CREATE_TIMEOUT", 0.3)
    SMALL.get(name, FAULTS[name])(server)
    if name == "upload_without_an_id":
        assert "does not reply like the OpenAI API" in papers.run(f"run_batch.py {EXTRACTION}", expect=1)
    for _ in range(3):
        papers.command(f"run_batch.py {EXTRACTION}")
        check(papers, server)
        papers.command(f"retrieve_results.py {EXTRACTION}" + (" --wait" if name != "another_key" else ""))
        check(papers, server)
        if name == "another_key":
            server.behave()
    found = check(papers, server)
    assert found["pending"] == 0
    assert (found["answered"] < PAPERS * PAGES) == (name in PERMANENT)
    before = papers.files()
    papers.command(f"retrieve_results.py {EXTRACTION}")
    assert papers.files() == before


def test_a_batch_that_fails_validation_stops_with_its_message(papers: Project, server: Server) -> None:
    server_faults.validation_failure(server)
    status, printed = papers.command("run_batch.py --process all")
    assert status == 3
    assert "None of its requests was answered" in printed and "--again failed" in printed
    assert not (papers.output / "judge").exists()
    assert statuses(papers)["failed:api_error"] == 5
    created = len(server.batches)
    assert "5 given up" in papers.command(f"run_batch.py {EXTRACTION}")[1]
    assert len(server.batches) == created
    server.behave()
    status, printed = papers.command(f"run_batch.py {EXTRACTION} --again failed --wait")
    assert status == 0 and "asked before" not in printed
    assert statuses(papers) == {"answered": PAPERS * PAGES}
    assert set(server.attempts.values()) == {1}


def test_a_refused_parameter_stops_and_is_named(papers: Project, server: Server) -> None:
    """The probe would find it, but some servers have no route for it."""
    no_route = {"error": {"message": "Not Found", "type": "x", "param": None, "code": None}}
    server.before_request = lambda request: Reply(404, no_route) if request.path == CHAT else None
    papers.configure(REQUEST_PARAMS={"*": {"reasoning_effort": "low"}})
    status, printed = papers.command("run_batch.py --process all")
    assert status == 3
    assert "12 requests were refused: Unsupported parameter: 'reasoning_effort'" in printed
    assert not (papers.output / "judge").exists()
    papers.configure(REQUEST_PARAMS={"*": {"temperature": 0}})
    assert papers.command(f"run_batch.py {EXTRACTION} --wait")[0] == 0
    assert statuses(papers) == {"answered": PAPERS * PAGES}


def test_a_batch_too_large_for_the_queue_is_halved_and_the_size_is_remembered(papers: Project, server: Server) -> None:
    papers.configure(MAX_REQUESTS_PER_BATCH=12)
    server_faults.small_queue(server, share=0.3)
    status, printed = papers.command(f"run_batch.py {EXTRACTION} --wait")
    assert status == 0 and "the queue was full" in printed
    assert statuses(papers) == {"answered": PAPERS * PAGES}
    refused = [batch for batch in server.batches.values() if batch.info["status"] == "failed"]
    assert 2 <= len(refused) <= 3
    largest = max(len(batch.lines) for batch in server.batches.values())
    papers.paper("3.pdf", *(f"We use the Korvian Census, table {n}." for n in range(12)))
    papers.command(f"run_batch.py {EXTRACTION} --wait")
    assert len([b for b in server.batches.values() if b.info["status"] == "failed"]) == len(refused)
    assert max(len(batch.lines) for batch in server.batches.values()) == largest


def test_the_remembered_size_of_the_queue_grows_with_a_larger_batch(papers: Project, server: Server) -> None:
    """The queue had room for one page of two. Later it accepts a page that is longer than both."""
    papers.configure(MAX_REQUESTS_PER_BATCH=2)
    server_faults.small_queue(server, share=0.6)
    selected = f"run_batch.py {EXTRACTION} --documents 0 --pages 1-2 --wait"
    assert "the queue was full; 1 batch will be sent again" in papers.run(selected)
    server.behave()
    sizes = [len(batch.lines) for batch in server.batches.values()]
    assert sizes == [0, 1, 1]
    papers.run(f"run_batch.py {EXTRACTION} --documents 0 --wait")
    assert [len(batch.lines) for batch in server.batches.values()] == [*sizes, 1, 1]
    papers.paper("long.pdf", "The Korvian Household Survey has many rows and many columns. " * 80)
    papers.run(f"run_batch.py {EXTRACTION} --documents long --wait")
    papers.run(f"run_batch.py {EXTRACTION} --documents 1 --wait")
    assert [len(batch.lines) for batch in server.batches.values()] == [*sizes, 1, 1, 1, 2, 2]


def test_a_large_output_file_is_read_in_little_memory(papers: Project, server: Server) -> None:
    """300 MB are downloaded, and read line by line. Linux reports the peak memory of a process."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc here")
    papers.configure()
    for paper in range(PAPERS, 10):
        papers.paper(f"{paper}.pdf", *(f"We use the Korvian Census, table {paper}.{n}." for n in range(40)))
    server_faults.big_output(server)
    papers.command(f"run_batch.py {EXTRACTION}")
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


def test_a_small_batch_that_is_accepted_does_not_set_the_size_of_a_large_one(papers: Project, server: Server) -> None:
    """Room for 11 requests, batches of 11 and 1: the large one waits for the small one, and is not split."""
    papers.configure(MAX_REQUESTS_PER_BATCH=11)
    server.polls_to_complete = 4
    server_faults.small_queue(server, share=1.02)
    for _ in range(3):
        papers.command(f"run_batch.py {EXTRACTION} --wait")
    assert statuses(papers) == {"answered": PAPERS * PAGES} and len(server.batches) <= 4
    assert set(server.seen.values()) == {1}


def test_nothing_more_is_sent_after_a_rejection(papers: Project, server: Server) -> None:
    papers.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    server.refuse = lambda batch: [{"code": "invalid_request", "message": "broken", "line": 1, "param": None}]
    status, _ = papers.command(f"run_batch.py {EXTRACTION} --wait")
    assert status == 3 and len(server.batches) == 1


def test_one_batch_whose_status_is_not_available_does_not_stop_the_others(papers: Project, server: Server) -> None:
    papers.command(f"run_batch.py {EXTRACTION}")
    broken = next(iter(server.batches))
    server.polls_to_complete = 0
    server.before_request = lambda request: (
        Reply(500, {"error": {"message": "oh", "type": "x", "param": None, "code": None}})
        if request.path.endswith(broken) and request.method == "GET" else None
    )  # fmt: skip
    status, printed = papers.command(f"retrieve_results.py {EXTRACTION}")
    assert status == 3 and "oh" in printed and statuses(papers) == {"answered": 7, "pending": 5}
    server.behave()
    assert papers.command(f"retrieve_results.py {EXTRACTION}")[0] == 0
    assert statuses(papers) == {"answered": 12}


def test_a_page_that_is_too_long_is_not_a_refused_parameter(papers: Project, server: Server) -> None:
    usual = server.answer
    long = {"message": "too long", "code": "context_length_exceeded", "param": "messages", "type": "x"}
    server.answer = lambda body: (
        (400, {"error": long}) if "Korviana" in str(body) and body["max_completion_tokens"] > 16 else usual(body)
    )
    status, printed = papers.command("run_batch.py --process all")
    assert status == 3 and "Fix REQUEST_PARAMS" not in printed
    assert (papers.output / "reasoning" / "0.json").exists()
    assert statuses(papers) == {"answered": 9, "failed:api_error": 3}


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("../../../outside{}", id="dots"),
        pytest.param("/outside{}", id="absolute"),
        pytest.param("one/two/three{}", id="slashes"),
        pytest.param("nul\0{}", id="nul"),
        pytest.param("..\\..\\outside{}", id="backslashes"),
        pytest.param("{}" + "long" * 75, id="long"),
        pytest.param("long" * 75 + "{}", id="long and different only at the end"),
        pytest.param("{}" + "𝒳" * 200, id="four bytes per character"),
    ],
)
def test_no_batch_id_decides_where_a_file_is_written(papers: Project, server: Server, template: str) -> None:
    """Result files are named after ids that the server chooses."""
    usual, numbers = server.new_id, itertools.count()
    server.new_id = lambda kind: template.format(next(numbers)) if kind == "batch_" else usual(kind)
    before = {path for path in papers.folder.rglob("*") if not path.is_relative_to(papers.output)}
    papers.run(f"run_batch.py {EXTRACTION} --wait")
    assert statuses(papers) == {"answered": PAPERS * PAGES} and set(server.seen.values()) == {1}
    assert {path for path in papers.folder.rglob("*") if not path.is_relative_to(papers.output)} == before
    results = set(papers.output.rglob("*.output.jsonl"))
    assert len(results) == 3 and {path.parent for path in results} == {papers.output / "batches" / "extraction"}
