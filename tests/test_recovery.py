"""Papers that are removed and come back, lost ledgers, plans that are not carried out: no answer is lost."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING

RUN, RETRIEVE = "run_batch.py --process extraction", "retrieve_results.py --process extraction"
ONE_AT_A_TIME = {"MAX_REQUESTS_PER_BATCH": 1, "MAX_ENQUEUED_TOKENS": 800}


def statuses(project: Project, process: str, source: str) -> dict[str, str]:
    found: dict[str, str] = project.document(process, source)["page_status"]
    return found


def keep_batches_running(server: Server) -> None:
    server.polls_to_complete = 10**6


def end_first_batch(server: Server) -> None:
    server.end(next(iter(server.batches)), "completed")


def delete_ledger(project: Project) -> None:
    for file in project.output.glob("ledger.sqlite*"):
        file.unlink()


def take_away(project: Project, name: str) -> None:
    shutil.move(project.input / name, project.folder / name)


def put_back(project: Project, name: str) -> None:
    shutil.move(project.folder / name, project.input / name)


def test_a_removed_paper_that_comes_back_keeps_its_answers(project: Project, server: Server) -> None:
    """One page is answered, two wait for the queue."""
    project.configure(**ONE_AT_A_TIME)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {page}" for page in range(3)))
    project.paper("b.pdf", CENSUS)
    keep_batches_running(server)
    project.run(RUN)
    end_first_batch(server)
    project.run(RETRIEVE)
    assert statuses(project, "extraction", "a")["1"] == "answered"
    take_away(project, "a.pdf")
    project.run(RUN)
    put_back(project, "a.pdf")
    project.run("run_batch.py --check")
    project.run(RETRIEVE)
    assert statuses(project, "extraction", "a") == {"1": "answered", "2": "pending", "3": "not_sent"}


def test_an_answer_that_was_paid_for_again_counts_after_the_paper_was_away(project: Project, server: Server) -> None:
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {page}" for page in range(3)))
    project.paper("b.pdf", CENSUS)
    project.run(f"{RUN} --wait")
    project.configure(**ONE_AT_A_TIME)
    keep_batches_running(server)
    project.run(f"{RUN} --again --documents a")
    take_away(project, "a.pdf")
    project.run(RUN)
    put_back(project, "a.pdf")
    project.run(RUN)
    server.polls_to_complete = 0
    project.run(f"{RETRIEVE} --wait")
    database = sqlite3.connect(project.output / "ledger.sqlite")
    current = database.execute("SELECT generation FROM ask WHERE source = 'a' ORDER BY page").fetchall()
    database.close()
    assert current[0] == (1,) and set(server.seen.values()) == {1}


def test_a_paper_that_is_damaged_for_one_run_keeps_its_answers(project: Project, server: Server) -> None:
    project.configure(**ONE_AT_A_TIME)
    paper = project.paper("a.pdf", f"{HOUSEHOLDS} 1", f"{HOUSEHOLDS} 2")
    project.paper("b.pdf", CENSUS)
    keep_batches_running(server)
    project.run(RUN)
    end_first_batch(server)
    project.run(RETRIEVE)
    good = paper.read_bytes()
    paper.write_bytes(b"%PDF-1.4 broken")
    project.run(f"{RUN} --documents b", expect=3)
    paper.write_bytes(good)
    project.run("run_batch.py --check")
    project.run(RETRIEVE)
    assert statuses(project, "extraction", "a")["1"] == "answered"


def test_documents_of_a_lost_ledger_are_kept_when_settings_change(project: Project) -> None:
    project.paper("a.pdf", f"{HOUSEHOLDS} a", CENSUS)
    project.run("run_batch.py --process all")
    final = project.document("reasoning", "a")
    delete_ledger(project)
    project.paper("b.pdf", f"{HOUSEHOLDS} b", NOTHING)
    for process in ("extraction", "judge", "reasoning"):
        project.run(f"run_batch.py --process {process} --yes --documents b --wait")
    project.configure(SKIP_PAGES=[])
    project.run("retrieve_results.py --process reasoning")
    assert project.document("reasoning", "a") == final


def test_a_dry_run_leaves_no_document_that_is_taken_for_an_older_one(project: Project) -> None:
    project.paper("a.pdf", f"{HOUSEHOLDS} a")
    project.run(f"{RUN} --wait")
    project.run("run_batch.py --process judge --wait")
    project.paper("b.pdf", f"{CENSUS} b")
    project.run("run_batch.py --process judge --dry-run")
    (project.input / "b.pdf").unlink()
    project.paper("b.pdf", "Other text alone.", "Second page", "Third page")
    project.run("run_batch.py --check")
    project.run(RETRIEVE)
    assert statuses(project, "extraction", "b") == {"1": "not_sent", "2": "not_sent", "3": "not_sent"}


def test_results_can_be_imported_after_an_import_under_other_settings(project: Project) -> None:
    project.paper("a.pdf", " ".join(f"{HOUSEHOLDS} Sentence {number} has words." for number in range(12)))
    project.run(f"{RUN} --wait")
    answered = statuses(project, "extraction", "a")
    delete_ledger(project)
    (batch_id,) = (project.output / "extraction_batches.txt").read_text().split()
    project.configure(MAX_PAGE_TOKENS=150)
    assert "ignored 1 row" in project.run(f"{RETRIEVE} --results {batch_id}")
    project.configure()
    project.run(f"{RETRIEVE} --results {batch_id}")
    assert statuses(project, "extraction", "a") == answered == {"1": "answered"}


def test_results_are_imported_although_the_paper_is_away(project: Project, server: Server) -> None:
    """Its request waits in a file, which is answered elsewhere."""
    project.configure(**ONE_AT_A_TIME)
    project.paper("a.pdf", f"{HOUSEHOLDS} a")
    project.paper("b.pdf", f"{CENSUS} b")
    keep_batches_running(server)
    project.run(RUN)
    waiting = max((project.output / "batches" / "extraction").glob("part-*.jsonl"))
    (request,) = map(json.loads, waiting.read_text().splitlines())
    response = {"status_code": 200, "request_id": "1", "body": server.model_answer(request["body"])[1]}
    row = {"id": "1", "custom_id": request["custom_id"], "response": response, "error": None}
    (project.folder / "answers.jsonl").write_text(json.dumps(row) + "\n")
    take_away(project, "b.pdf")
    project.run(f"{RETRIEVE} --results {project.folder}/answers.jsonl")
    put_back(project, "b.pdf")
    sent = server.seen.total()
    server.polls_to_complete = 0
    project.run(f"{RUN} --wait")
    assert statuses(project, "extraction", "b") == {"1": "answered"} and server.seen.total() == sent


def test_selected_pages_do_not_wait_for_others(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", NOTHING, f"{HOUSEHOLDS} 2")
    keep_batches_running(server)
    project.run(RUN)
    end_first_batch(server)
    project.run(RETRIEVE)
    assert statuses(project, "extraction", "a") == {"1": "answered", "2": "pending"}
    assert "nothing to send" in project.run("run_batch.py --process judge --pages 1")
    project.run("run_batch.py --process judge", expect=1)


def test_no_question_about_datasets_of_another_text(project: Project, server: Server) -> None:
    project.paper("a.pdf", f"{HOUSEHOLDS} old")
    project.run(f"{RUN} --wait")
    delete_ledger(project)
    (project.input / "a.pdf").unlink()
    project.paper("a.pdf", f"{CENSUS} new")
    sent = server.seen.total()
    project.run("run_batch.py --process judge --yes", expect=1)
    assert server.seen.total() == sent


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_the_upgrade_repairs_the_documents_it_needs(project: Project, damage: str) -> None:
    """A version 3 folder in which the extraction's document of a judged paper is damaged."""
    from test_upgrade import ARCHIVE

    shutil.unpack_archive(ARCHIVE, project.folder)
    document = project.output / "extraction" / "a.json"
    judged = project.document("judge", "a")["page_status"]
    content = document.read_bytes()
    document.unlink()
    if damage == "cut off":
        document.write_bytes(content[:300])
    project.run("retrieve_results.py --process reasoning")
    assert statuses(project, "judge", "a") == judged
    assert statuses(project, "extraction", "a") == {"1": "answered", "2": "answered", "3": "answered"}
