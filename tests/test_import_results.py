"""Importing results produced elsewhere: `retrieve_results.py --results`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING, check_document

from pipeline.providers.openai import PROBE_TOKENS

RUN = "run_batch.py --process extraction"


def answered_elsewhere(
    project: Project, server: Server, change: Callable[[dict], dict | None] = lambda row: row
) -> Path:
    """Run the request files of the extraction as another program would (`vllm run-batch`); returns the result file."""
    out = project.folder / "elsewhere.jsonl"
    rows = []
    for part in sorted((project.output / "batches" / "extraction").glob("part-*.jsonl")):
        for line in part.read_text().splitlines():
            request = json.loads(line)
            status, body = server.answer(request["body"])
            row = {"custom_id": request["custom_id"], "response": {"status_code": status, "body": body}, "error": None}
            rows.append(change(row))
    out.write_text("".join(json.dumps(row) + "\n" for row in rows if row))
    return out


@pytest.fixture
def papers(project: Project) -> Project:
    project.paper("a.pdf", HOUSEHOLDS, NOTHING, CENSUS)
    project.paper("b.pdf", f"{HOUSEHOLDS} Again.")
    return project


def lose_ledger(project: Project) -> None:
    for file in project.output.glob("ledger*"):
        file.unlink()


def test_imported_answers_are_not_recorded_twice(papers: Project, server: Server) -> None:
    papers.run(RUN)
    file = answered_elsewhere(papers, server)
    assert "4 ok" in papers.run(f"retrieve_results.py --process extraction --results {file}")
    files = papers.files()
    assert "no new answers" in papers.run(f"retrieve_results.py --process extraction --results {file}")
    assert "ignored 4 rows that matched no pending request" in papers.run(
        "retrieve_results.py --process extraction --wait"
    )
    after = papers.files()
    assert {name: after[name] for name in files} == files
    papers.run("run_batch.py --process all")
    assert check_document(papers, "a") == 3 and server.attempts.total() == 4 + 2 * 3


def test_given_up_questions_can_be_answered_by_an_import(papers: Project, server: Server) -> None:
    usual = server.answer
    no = {"error": {"message": "no", "type": "x", "param": None, "code": None}}
    server.answer = lambda body: usual(body) if body["max_completion_tokens"] == PROBE_TOKENS else (400, no)
    papers.run(f"{RUN} --wait", expect=3)
    server.answer = usual
    papers.run(f"retrieve_results.py --process extraction --results {answered_elsewhere(papers, server)}")
    assert set(papers.document("extraction", "a")["page_status"].values()) == {"answered"}
    assert (papers.output / "failures" / "extraction.jsonl").read_text() == ""


def test_results_can_be_imported_after_the_ledger_was_lost(papers: Project, server: Server) -> None:
    papers.run("run_batch.py --process all")
    before = papers.files()
    lose_ledger(papers)
    refused = papers.run(RUN, expect=1)
    assert "lists 1 batch that" in refused and "the ledger was replaced or lost" in refused
    assert f"--results {(papers.output / 'extraction_batches.txt').read_text().strip()}`, or" in refused
    for process in ("extraction", "judge", "reasoning"):
        (output,) = (papers.output / "batches" / process).glob("*.output.jsonl")
        papers.run(f"retrieve_results.py --process {process} --results {output}")
    assert papers.files() == before
    assert "nothing to send" in papers.run(RUN)
    papers.paper("c.pdf", f"{CENSUS} New.")
    papers.run("run_batch.py --process all")
    assert set(server.seen.values()) == {1} and papers.files()["batches/extraction/part-00001.jsonl"]


def test_yes_asks_again_after_the_ledger_was_lost(papers: Project, server: Server) -> None:
    papers.run(f"{RUN} --wait")
    lose_ledger(papers)
    assert "sent 4 requests" in papers.run(f"{RUN} --yes")
    assert len(list((papers.output / "batches" / "extraction").glob("part-*"))) == 2


def test_rows_without_a_matching_request_are_ignored(papers: Project, server: Server) -> None:
    papers.run(RUN)

    def strange(row: dict) -> dict:
        return {**row, "custom_id": row["custom_id"].replace("extraction-", "judge-")}

    printed = papers.run(
        f"retrieve_results.py --process extraction --results {answered_elsewhere(papers, server, strange)}"
    )
    assert "ignored 4 rows that matched no pending request" in printed and "4 pending" in printed
    (papers.folder / "noise.jsonl").write_text('not json\n[1]\n{"custom_id": 7}\n{}\n' + "[" * 100_000 + "\n")
    printed = papers.run(f"retrieve_results.py --process extraction --results {papers.folder}/noise.jsonl", expect=3)
    assert "4 pending" in printed and "noise.jsonl has no results, but 4 lines of something else" in printed
    assert "Cannot read gone.jsonl" in papers.run(
        "retrieve_results.py --process extraction --results gone.jsonl", expect=1
    )


def test_answers_replaced_by_again_are_not_imported(papers: Project, server: Server) -> None:
    papers.run(f"{RUN} --wait")
    file = answered_elsewhere(papers, server)
    papers.run(f"{RUN} --again")
    assert "ignored 4 rows that matched no pending request" in papers.run(
        f"retrieve_results.py --process extraction --results {file}"
    )
    assert set(papers.document("extraction", "a")["page_status"].values()) == {"pending"}


def test_waiting_requests_with_an_imported_answer_are_not_sent(papers: Project, server: Server) -> None:
    papers.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=900)
    papers.run(RUN)
    assert server.attempts.total() == 1
    file = answered_elsewhere(papers, server, lambda row: row)
    papers.run(f"retrieve_results.py --process extraction --results {file}")
    papers.run(f"{RUN} --wait")
    assert server.attempts.total() == 1
    assert set(papers.document("extraction", "a")["page_status"].values()) == {"answered"}


def test_request_files_can_be_read_by_other_tools(papers: Project) -> None:
    """One JSON object per line, in ASCII and without a byte order mark, so that all tools agree on the lines."""
    papers.run(RUN)
    (part,) = (papers.output / "batches" / "extraction").glob("part-*.jsonl")
    assert int(subprocess.run(["wc", "-l", part], capture_output=True, text=True, check=True).stdout.split()[0]) == 4
    assert part.read_bytes().isascii()


def test_lost_ledger_with_a_batch_in_progress(papers: Project, server: Server) -> None:
    """A batch that has not been imported is not asked again. Its results can be downloaded by its id."""
    papers.configure(MAX_REQUESTS_PER_BATCH=2)
    server.polls_to_complete = 10**6
    papers.run(RUN)
    first, second = server.batches
    server.end(first, "completed")
    papers.run("retrieve_results.py --process extraction")
    lose_ledger(papers)
    papers.run(f"retrieve_results.py --process extraction --results {first}")
    assert f"--results {second}" in papers.run(RUN, expect=1)
    refused = papers.run(f"retrieve_results.py --process extraction --results {second}", expect=1)
    assert "import its results when it has ended" in refused
    server.end(second, "completed")
    papers.run(f"retrieve_results.py --process extraction --results {second}")
    assert "nothing to send" in papers.run(RUN)
    assert set(server.seen.values()) == {1}
    assert papers.run("retrieve_results.py --process extraction").count("4 answered") == 1


def test_lost_ledger_and_import_under_wrong_settings_first(papers: Project, server: Server) -> None:
    papers.run(f"{RUN} --wait")
    (batch_id,) = server.batches
    lose_ledger(papers)
    papers.configure(MODEL="gpt-4.1-mini")
    assert "ignored 4 rows that matched no pending request" in papers.run(
        f"retrieve_results.py --process extraction --results {batch_id}"
    )
    papers.configure()
    assert "4 ok" in papers.run(f"retrieve_results.py --process extraction --results {batch_id}")
    assert set(papers.document("extraction", "a")["page_status"].values()) == {"answered"}


@pytest.mark.parametrize("newest_first", [True, False])
def test_import_after_a_lost_ledger_keeps_the_newest_answers(
    papers: Project, server: Server, newest_first: bool
) -> None:
    papers.run(f"{RUN} --wait")
    usual = server.answer

    def later(body: dict) -> tuple[int, dict]:
        status, made = usual(body)
        message = made["choices"][0]["message"]
        message["content"] = message["content"].replace('"producer": null', '"producer": "later"')
        return status, made

    server.answer = later
    papers.run(f"{RUN} --again --wait")
    before = papers.document("extraction", "a")["pages"]
    assert "later" in json.dumps(before)
    lose_ledger(papers)
    ids = list(server.batches)[::-1] if newest_first else list(server.batches)
    papers.run(f"retrieve_results.py --process extraction --results {' '.join(ids)}")
    assert papers.document("extraction", "a")["pages"] == before


def test_full_queue_does_not_send_imported_questions_again(papers: Project, server: Server) -> None:
    server.polls_to_complete, server.queue_limit = 3, 0
    papers.run(RUN)
    papers.run(f"retrieve_results.py --process extraction --results {answered_elsewhere(papers, server)}")
    papers.run("retrieve_results.py --process extraction")
    assert len(server.batches) == 1 and "nothing to send" in papers.run(RUN)
