"""batch_status.py: the status of batches and stages, and what a user can do about a batch by hand."""

from __future__ import annotations

import re
import shutil
import threading

import killable
import pytest
from conftest import Project, wait_until
from server import Reply, Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING

from pipeline.clock import SYSTEM_CLOCK

RUN = "run_batch.py --process extraction"
GET = "retrieve_results.py --process extraction"


@pytest.fixture
def sent(project: Project) -> Project:
    """Two submitted batches of two pages."""
    project.configure(MAX_REQUESTS_PER_BATCH=2)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    project.run(RUN)
    return project


def pages(project: Project) -> list[str]:
    return list(project.document("extraction", "a")["page_status"].values())


def test_the_table_shows_each_batch(sent: Project, server: Server) -> None:
    server.polls_to_complete = 10
    first, second = server.batches
    server.end(first, "expired", done=1)
    printed = sent.run("batch_status.py", expect=4)
    number, status, _, _, done, failed, cost, next_step = rows(printed)[first]
    assert (number, status, done, failed, cost, next_step) == ("1", "expired", "1/2", "0", "-", "retrieve")
    number, status, _, _, done, failed, cost, next_step = rows(printed)[second]
    assert (number, status, done, failed, cost, next_step) == ("2", "in_progress", "0/2", "0", "-", "wait")
    assert re.search(rf"{second}  ~[\d,]+ tokens, until ", printed)
    assert re.search(r"^extraction +1 +4 +0 +4 +0 +0$", printed, re.MULTILINE)
    sent.run(GET)
    printed = sent.run("batch_status.py")
    _, status, _, _, done, _, cost, next_step = rows(printed)[first]
    assert (status, done, next_step) == ("expired", "1/2", "done") and re.fullmatch(r"\$0\.\d+", cost)
    assert re.search(rf"{first}  [\d,]+ \+ [\d,]+ tokens$", printed, re.MULTILINE)
    assert max(map(len, printed.splitlines())) <= 80
    assert re.search(r"^extraction +1 +4 +1 +3 +0 +0$", printed, re.MULTILINE)


def rows(printed: str) -> dict[str, list[str]]:
    """The words in the row of each batch, by the id in the line below it."""
    lines = printed.splitlines()
    below = ((re.match(r" +(batch_\w+)  ", line), number) for number, line in enumerate(lines))
    return {match[1]: lines[number - 1].split() for match, number in below if match}


def test_the_pages_of_a_stage_add_up(project: Project, server: Server) -> None:
    """In every stage, each page is in exactly one of the columns: answered, waiting, failed, not asked."""
    answer = server.answer
    failure = {"error": {"message": "too long", "code": "context_length_exceeded", "param": "messages", "type": "x"}}
    server.answer = lambda body: (400, failure) if "page that fails" in str(body) else answer(body)
    project.paper("a.pdf", HOUSEHOLDS, CENSUS, NOTHING, NOTHING + " Twice.", "", "This is the page that fails.")
    project.run(f"{RUN} --pages 1 --wait")
    assert table(project) == {"extraction": [1, 6, 1, 4, 0, 1], "judge": [0] * 6, "reasoning": [0] * 6}
    project.run(f"{RUN} --wait", expect=3)
    project.run("run_batch.py --process judge --pages 1 --wait")
    stages = table(project)
    assert stages == {"extraction": [1, 6, 4, 0, 1, 1], "judge": [1, 6, 1, 1, 0, 4], "reasoning": [0] * 6}
    statuses = project.document("judge", "a")["page_status"].values()
    assert sorted(statuses) == [
        "answered", "not_sent", "nothing_to_ask", "nothing_to_ask", "skipped:blank", "skipped:extraction_failed",
    ]  # fmt: skip
    assert all(pages == sum(counts) for _, pages, *counts in stages.values())


def table(project: Project) -> dict[str, list[int]]:
    """The numbers that `batch_status.py` prints for each stage: documents, pages, and pages by state."""
    lines = project.command("batch_status.py")[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("stage "))
    assert lines[start].split() == ["stage", "documents", "pages", "answered", "waiting", "failed", "not", "asked"]
    end = lines.index("", start) if "" in lines[start:] else None
    cells = [line.split() for line in lines[start + 2 : end]]
    return {process: [int(count) for count in counts] for process, *counts in cells}


def test_before_anything_was_sent(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    assert "No batches have been submitted yet." in project.run("batch_status.py")


def test_watching_ends_when_no_batch_is_running(sent: Project, server: Server) -> None:
    printed = sent.run("batch_status.py --watch", expect=4)
    assert printed.count("stage ") >= 2 and "in_progress" in printed


def test_a_cancelled_batch_keeps_its_answers(sent: Project, server: Server) -> None:
    first, second = server.batches
    assert f"{first} is cancelling" in sent.run(f"batch_status.py --cancel {first}")
    sent.run(f"{GET} --wait")
    assert sorted(pages(sent)) == ["answered", "answered", "answered", "pending"]
    assert "no open batch" in sent.run(f"batch_status.py --cancel {second}", expect=1)
    assert "sent 1 request in 1 batch" in sent.run(RUN)
    sent.run(f"{GET} --wait")
    assert pages(sent) == ["answered"] * 4 and set(server.seen.values()) == {1}


def test_an_ended_batch_cannot_be_cancelled(sent: Project, server: Server) -> None:
    first, _ = server.batches
    server.end(first, "completed")
    assert f"{first} has already ended (completed)" in sent.run("batch_status.py --cancel 1")


def test_cancelling_all_includes_what_was_not_sent(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    project.run(RUN)
    printed = project.run("batch_status.py --cancel all")
    assert "is cancelling" in printed and "was cancelled before it was sent" in printed
    project.run(f"{GET} --wait")
    assert sorted(pages(project)) == ["answered", "pending", "pending", "pending"]
    assert "no open batches to cancel" in project.run("batch_status.py --cancel all")
    assert "no open batch 'batch_x'" in project.run("batch_status.py --cancel batch_x", expect=1)
    project.run(f"{RUN} --wait")
    assert pages(project) == ["answered"] * 4 and set(server.attempts.values()) == {1}


def test_a_waiting_command_does_not_send_a_cancelled_batch_again(sent: Project, server: Server) -> None:
    server.polls_to_complete = 10**6
    waiting = threading.Thread(target=lambda: sent.run(f"{RUN} --wait"))
    waiting.start()
    wait_until(lambda: server.requests.count(("GET", f"/v1/batches/{list(server.batches)[-1]}")) > 1)
    for batch_id in list(server.batches):
        server.end(batch_id, "cancelled", done=1)
    waiting.join(20)
    assert not waiting.is_alive() and len(server.batches) == 2
    assert sorted(pages(sent)) == ["answered", "answered", "pending", "pending"]


def test_a_batch_whose_results_were_deleted_can_be_given_up(sent: Project, server: Server) -> None:
    first, _ = server.batches
    sent.run("batch_status.py")
    server.end(first, "completed")
    del server.files[server.batches[first].info["output_file_id"]]
    printed = sent.run(f"{GET} --wait", expect=3)
    assert "--results FILE" in printed and "--resolve 1 lost" in printed
    assert "was given up" in sent.run(f"batch_status.py --resolve {first} lost")
    sent.run(f"{GET} --wait")
    sent.run(f"{RUN} --wait")
    assert pages(sent) == ["answered"] * 4 and set(server.seen.values()) == {1}


def test_one_unknown_batch_does_not_stop_the_others(sent: Project, server: Server) -> None:
    server.polls_to_complete = 5
    first, _ = server.batches
    del server.batches[first]
    printed = sent.run(f"{GET} --wait", expect=3)
    assert f"does not know batch {first}" in printed
    assert pages(sent) == ["pending", "pending", "answered", "answered"]
    row = rows(sent.run("batch_status.py"))[first]
    assert row[1] == "unknown" and row[-3:] == ["check", "the", "key"]


def test_what_cannot_be_resolved(sent: Project) -> None:
    for which, verdict in (("9", "lost"), ("1", "sent:batch_x"), ("1", "perhaps")):
        assert "error:" in sent.run(f"batch_status.py --resolve {which} {verdict}", expect=1)


def test_clean_remote_deletes_only_what_is_on_this_disk(sent: Project, server: Server) -> None:
    sent.run("batch_status.py --clean-remote")
    assert len(server.files) == 2  # of batches that are running
    sent.run(f"{GET} --wait")
    outputs = sorted((sent.output / "batches" / "extraction").glob("*.output.jsonl"))
    shutil.move(outputs[0], sent.folder / "away.jsonl")
    assert "was kept: there is no complete copy" in sent.run("batch_status.py --clean-remote")
    assert [info["purpose"] for info, _ in server.files.values()] == ["batch_output"]
    shutil.move(sent.folder / "away.jsonl", outputs[0])
    assert "was kept" not in sent.run("batch_status.py --clean-remote")
    assert not server.files
    sent.run("batch_status.py --clean-remote")
    assert pages(sent) == ["answered"] * 4


def test_a_batch_that_exists_cannot_be_given_up(sent: Project, server: Server) -> None:
    server.polls_to_complete = 100
    first, _ = server.batches
    assert "is not lost" in sent.run(f"batch_status.py --resolve {first} lost", expect=1)
    server.end(first, "completed")
    assert "collect its answers" in sent.run("batch_status.py --resolve 1 lost", expect=1)


def test_only_its_own_batch_settles_a_submission(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", f"{HOUSEHOLDS} 0", f"{HOUSEHOLDS} 1")
    server.listed = lambda batch: False
    server.before_response = lambda request, reply: (
        Reply(504, b"") if request.method == "POST" and len(server.batches) == 2 else reply
    )
    project.run(RUN, expect=3)
    server.before_response = lambda request, reply: reply
    first, second = server.batches
    for wrong in (first, "batch_typo"):
        project.run(f"batch_status.py --resolve 2 sent:{wrong}", expect=1)
    assert "list has no batch with the input file" in project.run("batch_status.py --resolve 2 sent", expect=1)
    server.listed = lambda batch: True
    assert second in project.run("batch_status.py --resolve 2 sent")
    project.run(f"{GET} --wait")
    assert pages(project) == ["answered"] * 2 and set(server.seen.values()) == {1}


def test_a_waiting_command_does_not_send_what_was_cancelled_meanwhile(project: Project, server: Server) -> None:
    server.polls_to_complete = 10**6
    project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(3)))
    waiting = killable.start(f"{RUN} --wait", project.folder / "config.yaml", project.folder / "log.txt")
    wait_until(lambda: server.requests.count(("GET", f"/v1/batches/{next(iter(server.batches), None)}")) > 1)
    project.clock = SYSTEM_CLOCK  # two processes compete for the lock in real time
    for number in (2, 3):
        project.run(f"batch_status.py --cancel {number}")
    server.end(next(iter(server.batches)), "completed")
    waiting.join(30)
    assert waiting.exitcode == 0, (project.folder / "log.txt").read_text()
    assert pages(project) == ["answered", "pending", "pending"] and server.seen.total() == 1
    project.run(f"{RUN} --dry-run")
