"""batch_status.py: where everything stands, and what can be done about it by hand."""

from __future__ import annotations

import re
import shutil
import threading
import time

import killable
import pytest
from conftest import Project
from server import Reply, Server
from test_pipeline import HOUSEHOLDS

RUN = "run_batch.py --process extraction"
GET = "retrieve_results.py --process extraction"


@pytest.fixture
def sent(project: Project) -> Project:
    """Two batches of two pages, on their way."""
    project.configure(MAX_REQUESTS_PER_BATCH=2)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    project.run(RUN)
    return project


def pages(project: Project) -> list[str]:
    return list(project.document("extraction", "a")["page_status"].values())


def test_the_table_says_how_each_batch_is_doing(sent: Project, server: Server) -> None:
    server.polls_to_complete = 10
    first, second = server.batches
    server.end(first, "expired", done=1)
    printed = sent.run("batch_status.py", expect=4)
    row = next(line for line in printed.splitlines() if first in line).split()
    assert row[2] == "expired" and "1/2" in row and row[-1] == "retrieve_results.py"
    row = next(line for line in printed.splitlines() if second in line).split()
    assert "0/2" in row and row[-1] == "wait" and re.fullmatch(r"~\d+", row[7])
    assert re.search(r"^extraction +1 +0 +4 +0 +0$", printed, re.MULTILINE)
    sent.run(GET)
    printed = sent.run("batch_status.py")
    assert re.search(rf"{first} .*expired .*1/2 .*\$0\.\d+ .*retrieved", printed)
    assert re.search(r"^extraction +1 +1 +3 +0 +0$", printed, re.MULTILINE)


def test_a_status_without_anything_sent(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    assert "no batches" in project.run("batch_status.py")


def test_watching_ends_when_nothing_runs_any_more(sent: Project, server: Server) -> None:
    printed = sent.run("batch_status.py --watch", expect=4)
    assert printed.count("stage ") >= 2 and "in_progress" in printed


def test_cancelling_one_keeps_what_it_has_answered(sent: Project, server: Server) -> None:
    first, second = server.batches
    assert f"{first} is cancelling" in sent.run(f"batch_status.py --cancel {first}")
    sent.run(f"{GET} --wait")
    assert sorted(pages(sent)) == ["answered", "answered", "answered", "pending"]
    assert "no open batch" in sent.run(f"batch_status.py --cancel {second}", expect=1)
    assert "1 sent now" in sent.run(RUN)
    sent.run(f"{GET} --wait")
    assert pages(sent) == ["answered"] * 4 and set(server.seen.values()) == {1}


def test_cancelling_what_has_ended_says_so(sent: Project, server: Server) -> None:
    first, _ = server.batches
    server.end(first, "completed")
    assert f"{first} has ended already (completed)" in sent.run("batch_status.py --cancel 1")


def test_cancelling_all_takes_back_what_waits(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    project.run(RUN)
    printed = project.run("batch_status.py --cancel all")
    assert "is cancelling" in printed and "was not sent yet and is taken back" in printed
    project.run(f"{GET} --wait")
    assert sorted(pages(project)) == ["answered", "pending", "pending", "pending"]
    assert "nothing to cancel" in project.run("batch_status.py --cancel all")
    assert "no open batch 'batch_x'" in project.run("batch_status.py --cancel batch_x", expect=1)
    project.run(f"{RUN} --wait")
    assert pages(project) == ["answered"] * 4 and set(server.attempts.values()) == {1}


def test_a_cancelled_batch_is_not_sent_again_by_the_one_who_waits(sent: Project, server: Server) -> None:
    server.polls_to_complete = 10**6
    waiting = threading.Thread(target=lambda: sent.run(f"{RUN} --wait"))
    waiting.start()
    time.sleep(0.2)
    for batch_id in list(server.batches):
        server.end(batch_id, "cancelled", done=1)
    waiting.join(20)
    assert not waiting.is_alive() and len(server.batches) == 2
    assert sorted(pages(sent)) == ["answered", "answered", "pending", "pending"]


def test_a_batch_whose_results_are_gone_can_be_given_up(sent: Project, server: Server) -> None:
    first, _ = server.batches
    sent.run("batch_status.py")
    server.end(first, "completed")
    del server.files[server.batches[first].info["output_file_id"]]
    told = sent.run(f"{GET} --wait", expect=3)
    assert "--results FILE" in told and "--resolve ID lost" in told
    assert "is given up" in sent.run(f"batch_status.py --resolve {first} lost")
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
    assert "unknown there" in sent.run("batch_status.py")


def test_resolving_what_is_not_open(sent: Project) -> None:
    for which, verdict in (("9", "lost"), ("1", "sent:batch_x"), ("1", "perhaps")):
        assert "error:" in sent.run(f"batch_status.py --resolve {which} {verdict}", expect=1)


def test_clean_remote_deletes_what_is_safe_here_and_nothing_else(sent: Project, server: Server) -> None:
    sent.run("batch_status.py --clean-remote")
    assert len(server.files) == 2  # on their way
    sent.run(f"{GET} --wait")
    outputs = sorted((sent.output / "batches" / "extraction").glob("*.output.jsonl"))
    shutil.move(outputs[0], sent.folder / "away.jsonl")
    assert "stays: there is no whole copy" in sent.run("batch_status.py --clean-remote")
    assert [info["purpose"] for info, _ in server.files.values()] == ["batch_output"]
    shutil.move(sent.folder / "away.jsonl", outputs[0])
    assert "stays" not in sent.run("batch_status.py --clean-remote")
    assert not server.files
    sent.run("batch_status.py --clean-remote")
    assert pages(sent) == ["answered"] * 4


def test_a_batch_that_is_there_is_not_given_up(sent: Project, server: Server) -> None:
    server.polls_to_complete = 100
    first, _ = server.batches
    assert "is not lost" in sent.run(f"batch_status.py --resolve {first} lost", expect=1)
    server.end(first, "completed")
    assert "can be retrieved" in sent.run("batch_status.py --resolve 1 lost", expect=1)


def test_only_its_own_batch_settles_a_submission(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.providers.openai.WAITS", (0.01,) * 4)
    project.configure(MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", f"{HOUSEHOLDS} 0", f"{HOUSEHOLDS} 1")
    server.listed = lambda batch: False
    server.before_response = lambda request, reply: (
        Reply(504, b"") if request.method == "POST" and len(server.batches) == 2 else reply
    )
    project.run(RUN, expect=1)
    server.before_response = lambda request, reply: reply
    first, second = server.batches
    for wrong in (first, "batch_typo"):
        project.run(f"batch_status.py --resolve 2 sent:{wrong}", expect=1)
    assert "is in the provider's list" in project.run("batch_status.py --resolve 2 sent", expect=1)
    server.listed = lambda batch: True
    assert second in project.run("batch_status.py --resolve 2 sent")
    project.run(f"{GET} --wait")
    assert pages(project) == ["answered"] * 2 and set(server.seen.values()) == {1}


def test_what_is_taken_back_while_another_command_waits_stays_so(project: Project, server: Server) -> None:
    server.polls_to_complete = 10**6
    project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(3)))
    waiting = killable.start(f"{RUN} --wait", project.folder / "config.yaml", project.folder / "log.txt")
    while not server.batches:
        time.sleep(0.02)
    time.sleep(0.3)
    for number in (2, 3):
        project.run(f"batch_status.py --cancel {number}")
    server.end(next(iter(server.batches)), "completed")
    waiting.join(30)
    assert waiting.exitcode == 0, (project.folder / "log.txt").read_text()
    assert pages(project) == ["answered", "pending", "pending"] and server.seen.total() == 1
    project.run(f"{RUN} --dry-run")
