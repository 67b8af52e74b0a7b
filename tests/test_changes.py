"""Exactly the questions that a change concerns are asked again, and only with a yes where an answer was paid for."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING, check_document

from pipeline.batches.plan import what_changed
from pipeline.providers.openai import PROBE_TOKENS
from pipeline.records import Recipe
from pipeline.stages.base import Answer

EXTRACTION = "run_batch.py --process extraction"


@pytest.fixture
def done(project: Project, server: Server) -> Project:
    """Three papers of two pages, through all stages."""
    server.polls_to_complete = 0
    for number, name in enumerate(("a", "b", "reports/c")):
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {number}", f"{NOTHING} {number}")
    project.run("run_batch.py --process all")
    return project


def sent_by(project: Project, server: Server, *commands: str) -> Counter[str]:
    """What these commands send, by stage."""
    before = server.seen.copy()
    for command in commands:
        project.run(command)
    return Counter(name.partition("-")[0] for name in (server.seen - before).elements())


def everything(yes: str = "") -> str:
    return f"run_batch.py --process all{yes}"


def test_nothing_changed(done: Project, server: Server) -> None:
    assert not sent_by(done, server, everything(), f"{EXTRACTION} --limit 1", f"{EXTRACTION} --pages 2")


def test_one_parameter(done: Project, server: Server) -> None:
    done.configure(MODEL={"extraction": "gpt-4o-mini", "judge": "gpt-4.1-mini", "reasoning": "gpt-4o-mini"})
    told = done.run("run_batch.py --process judge", expect=1)
    assert (
        "3 of these requests are about pages that were asked before: another model" in told
        and "asking them anew costs" in told
    )
    assert sent_by(done, server, everything(" --yes")) == {"judge": 3}
    done.configure(REQUEST_PARAMS={"*": {"temperature": 0, "seed": 7}})
    assert "the parameters changed" in done.run(f"{EXTRACTION} --dry-run")
    assert sent_by(done, server, f"{EXTRACTION} --yes --documents a") == {"extraction": 2}


def test_the_old_answers_are_there_when_a_change_is_taken_back(done: Project, server: Server) -> None:
    (done.folder / "mine.md").write_text("Find datasets.")
    done.configure(PROMPTS={"extraction": "mine.md"})
    assert sent_by(done, server, f"{EXTRACTION} --yes --wait") == {"extraction": 6}
    done.configure()
    assert not sent_by(done, server, everything())
    assert check_document(done, "a") == 1


def test_one_pdf(done: Project, server: Server) -> None:
    (done.input / "a.pdf").unlink()
    done.paper("a.pdf", f"{HOUSEHOLDS} changed", f"{NOTHING} 0")
    assert sent_by(done, server, everything(" --yes")) == {"extraction": 1, "judge": 1, "reasoning": 1}


def test_a_pdf_added(done: Project, server: Server) -> None:
    done.paper("d.pdf", CENSUS)
    assert sent_by(done, server, everything()) == {"extraction": 1, "judge": 1, "reasoning": 1}


def test_a_pdf_renamed(done: Project, server: Server) -> None:
    before = done.document("reasoning", "a")
    shutil.move(done.input / "a.pdf", done.input / "z.pdf")
    assert not sent_by(done, server, everything())
    assert done.document("reasoning", "z") == {**before, "source": "z"}


def test_a_pdf_removed_is_in_no_total_no_stage_and_no_training_data(done: Project, server: Server) -> None:
    (done.input / "a.pdf").unlink()
    assert not sent_by(done, server, everything())
    assert "2 documents" in done.run("retrieve_results.py --process reasoning")
    assert re.search(r"^extraction +2 +4 +0 +0 +0$", done.run("batch_status.py"), re.MULTILINE)
    assert not sent_by(done, server, "run_batch.py --process judge --again --yes --documents reports/*") - Counter(
        judge=1
    )
    done.run("generate_finetune_data.py")
    rows = "".join(file.read_text() for file in (done.output / "finetune").glob("*.jsonl"))
    assert json.dumps(f"{HOUSEHOLDS} 1")[1:-1] in rows.replace("\\\\n", " ").replace("\\n", " ")
    assert f"{HOUSEHOLDS} 0" not in rows.replace("\\\\n", " ").replace("\\n", " ")


def test_an_upgrade_of_pydantic(done: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"title": "Other", "description": "derived anew", "type": "object", "properties": {}}
    monkeypatch.setattr(Answer, "model_json_schema", classmethod(lambda cls, **_: other))
    assert not sent_by(done, server, everything())


def test_what_waits_unsent_costs_nothing_to_change(project: Project, server: Server) -> None:
    """One batch is out, two wait for room; the prompt is edited: only the one that is out was paid for."""
    server.polls_to_complete = 100
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(6)))
    assert "2 batches wait for room in the queue" in project.run(EXTRACTION)
    assert "not sent (written)" in project.run("batch_status.py")
    assert server.attempts.total() == 2
    (project.folder / "mine.md").write_text("Find datasets.")
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500, PROMPTS={"extraction": "mine.md"})
    told = project.run(EXTRACTION, expect=1)
    assert "2 pages of extraction that were asked before" in told
    server.polls_to_complete = 2
    project.run(f"{EXTRACTION} --yes --wait")
    assert server.attempts.total() == 2 + 6
    assert set(project.document("extraction", "a")["page_status"].values()) == {"answered"}


def test_waiting_requests_outlive_a_smaller_run(project: Project, server: Server) -> None:
    """--limit after a full run takes nothing back that waits."""
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500)
    for name in "abc":
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {name}1", f"{HOUSEHOLDS} {name}2")
    project.run(EXTRACTION)
    project.run(f"{EXTRACTION} --limit 1")
    project.run("retrieve_results.py --process extraction --wait")
    assert set(server.attempts.values()) == {1} and server.attempts.total() == 6


def test_waiting_files_follow_smaller_caps(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=4, MAX_ENQUEUED_TOKENS=4000)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(12)))
    project.run(EXTRACTION)
    project.configure(MAX_REQUESTS_PER_BATCH=3)
    project.run(f"{EXTRACTION} --wait")
    assert [len(batch.lines) for batch in server.batches.values()] == [4, 3, 1, 3, 1]
    assert set(server.seen.values()) == {1}


def test_again_sets_the_old_answers_aside(done: Project, server: Server) -> None:
    cost = done.document("judge", "a")["usage"]["judge"]["cost_usd"]
    again = "run_batch.py --process judge --again"
    assert sent_by(done, server, f"{again} --documents a") == {"judge": 1}
    assert done.document("judge", "a")["page_status"]["1"] == "pending"
    assert sent_by(done, server, again) == {"judge": 2}  # the one on its way is not asked twice
    done.run("retrieve_results.py --process judge --wait")
    assert set(server.seen.values()) == {1}
    total = done.run("retrieve_results.py --process judge").partition(" + judge $")[2]
    assert float(total.split()[0]) == pytest.approx(2 * 3 * cost, rel=0.1)
    assert not sent_by(done, server, everything())


def recipe(**changes: object) -> Recipe:
    base = {
        "process": "judge", "provider": "openai", "base_url": "u", "model": "m", "prompt_sha256": "p",
        "schema_sha256": "s", "params": {},
    }  # fmt: skip
    return Recipe.model_validate({**base, **changes})


@pytest.mark.parametrize(
    ("changes", "text", "reason"),
    [
        ({"model": "n"}, False, "another model"),
        ({"provider": "local"}, False, "another provider"),
        ({"schema_sha256": "t", "params": {"seed": 1}}, False, "the answer format changed, the parameters changed"),
        ({}, True, "what it asks about changed"),
        ({"process": "extraction"}, True, "the text changed"),
        ({}, False, "the endpoint changed"),
    ],
)
def test_reasons(changes: dict[str, object], text: bool, reason: str) -> None:
    assert what_changed(recipe(), recipe(**changes), text) == reason


def test_the_judge_is_not_asked_about_a_page_that_changed(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.paper("b.pdf", f"{HOUSEHOLDS} b")
    project.run(f"{EXTRACTION} --wait")
    (project.input / "a.pdf").unlink()
    project.paper("a.pdf", CENSUS)
    assert sent_by(project, server, "run_batch.py --process judge --wait") == {"judge": 1}
    assert project.document("extraction", "a")["page_status"] == {"1": "not_sent"}
    assert project.document("judge", "a")["page_status"] == {"1": "not_sent"}


def test_what_waits_for_a_removed_paper_is_not_sent(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    for name in "abc":
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {name}")
    project.run(EXTRACTION)
    (project.input / "b.pdf").unlink()
    (project.input / "c.pdf").unlink()
    project.paper("c.pdf", f"{HOUSEHOLDS} changed")
    project.run(f"{EXTRACTION} --wait")
    assert server.seen.total() == 2


def test_fewer_attempts_give_up_what_waited_for_one_more(project: Project, server: Server) -> None:
    fails = {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}}
    usual = server.answer
    server.answer = lambda body: usual(body) if body["max_completion_tokens"] <= PROBE_TOKENS else (500, fails)
    project.paper("a.pdf", HOUSEHOLDS)
    project.run(EXTRACTION)
    project.run("retrieve_results.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"] == {"1": "pending"}
    project.configure(MAX_ATTEMPTS=1)
    project.run(EXTRACTION, expect=3)
    assert project.document("extraction", "a")["page_status"] == {"1": "failed:api_error"}
    assert "busy" in (project.output / "failures" / "extraction.jsonl").read_text()


def test_again_that_was_interrupted_goes_on(done: Project, server: Server) -> None:
    """One of its batches has come back: that one is not asked a third time."""
    done.configure(MAX_REQUESTS_PER_BATCH=2)
    server.polls_to_complete = 10**6
    before = set(server.batches)
    assert sent_by(done, server, f"{EXTRACTION} --again") == {"extraction": 6}
    server.end(next(name for name in server.batches if name not in before), "completed")
    done.run("retrieve_results.py --process extraction")
    assert not sent_by(done, server, f"{EXTRACTION} --again")
    server.polls_to_complete = 0
    done.run("retrieve_results.py --process extraction --wait")
    assert sent_by(done, server, f"{EXTRACTION} --again --wait") == {"extraction": 6}


def test_again_for_one_of_two_equal_papers_leaves_the_other_alone(project: Project, server: Server) -> None:
    shutil.copy(project.paper("a.pdf", HOUSEHOLDS), project.input / "b.pdf")
    project.run(f"{EXTRACTION} --wait")
    usual = server.answer
    no = {"error": {"message": "no", "type": "x", "param": None, "code": None}}
    server.answer = lambda body: usual(body) if body["max_completion_tokens"] <= PROBE_TOKENS else (400, no)
    project.run(f"{EXTRACTION} --again --documents a --wait", expect=3)
    server.answer = usual
    project.run(f"{EXTRACTION} --wait", expect=3)
    assert project.document("extraction", "a")["page_status"] == {"1": "failed:api_error"}
    assert project.document("extraction", "b")["page_status"] == {"1": "answered"}


def test_a_plan_that_was_not_agreed_to_leaves_no_files(done: Project, server: Server) -> None:
    before = done.files()
    (done.folder / "mine.md").write_text("Find datasets.")
    done.configure(PROMPTS={"extraction": "mine.md"})
    done.run(EXTRACTION, expect=1)
    done.configure()
    assert done.files() == before


def test_a_paper_that_has_changed_teaches_nothing_until_it_is_asked_again(project: Project, server: Server) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey here.")
    project.run("run_batch.py --process all")
    project.paper("a.pdf", "This text is about the weather, and nothing else.")
    project.run("run_batch.py --check")
    printed = project.run("generate_finetune_data.py")
    assert "1 pages: the paper has changed since" in printed
    assert "Korvian" not in (project.output / "finetune" / "train.jsonl").read_text()
    project.run("retrieve_results.py --process reasoning")
    for process in ("extraction", "judge", "reasoning"):
        assert project.document(process, "a")["page_status"] == {"1": "not_sent"}
        assert project.document(process, "a")["pages"] == []
