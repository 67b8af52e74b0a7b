"""After a change, only the questions that it affects are asked again, and paid answers only with --yes."""

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

EXTRACTION = "run_batch.py --process extraction"
ALL = "run_batch.py --process all"


@pytest.fixture
def done(project: Project, server: Server) -> Project:
    """Three papers of two pages that went through all stages."""
    server.polls_to_complete = 0
    for number, name in enumerate(("a", "b", "reports/c")):
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {number}", f"{NOTHING} {number}")
    project.run("run_batch.py --process all")
    return project


def sent_by(project: Project, server: Server, *commands: str) -> Counter[str]:
    """The number of requests that these commands send, by stage."""
    before = server.seen.copy()
    for command in commands:
        project.run(command)
    return Counter(name.partition("-")[0] for name in (server.seen - before).elements())


def test_unchanged_input_sends_nothing(done: Project, server: Server) -> None:
    assert not sent_by(done, server, ALL, f"{EXTRACTION} --limit 1", f"{EXTRACTION} --pages 2")


def test_changed_model_or_parameter_affects_its_stages_only(done: Project, server: Server) -> None:
    done.configure(MODEL={"extraction": "gpt-4o-mini", "judge": "gpt-4.1-mini", "reasoning": "gpt-4o-mini"})
    refused = done.run("run_batch.py --process judge", expect=1)
    assert "3 requests for pages that were asked before (another model)" in refused
    assert (
        "asking them again costs about $" in refused and "3 questions of judge would be asked (and paid for)" in refused
    )
    assert sent_by(done, server, f"{ALL} --yes") == {"judge": 3}
    done.configure(REQUEST_PARAMS={"*": {"temperature": 0, "seed": 7}})
    assert "the parameters changed" in done.run(f"{EXTRACTION} --dry-run")
    assert sent_by(done, server, f"{EXTRACTION} --yes --documents a") == {"extraction": 2}


def test_reverting_a_change_restores_the_old_answers(done: Project, server: Server) -> None:
    (done.folder / "mine.md").write_text("Find datasets.")
    done.configure(PROMPTS={"extraction": "mine.md"})
    assert sent_by(done, server, f"{EXTRACTION} --yes --wait") == {"extraction": 6}
    done.configure()
    assert not sent_by(done, server, ALL)
    assert check_document(done, "a") == 1


def test_changed_paper_is_asked_again(done: Project, server: Server) -> None:
    (done.input / "a.pdf").unlink()
    done.paper("a.pdf", f"{HOUSEHOLDS} changed", f"{NOTHING} 0")
    again = "1 request for pages that were asked before"
    assert f"{again} (the text changed)\n" in done.run(f"{EXTRACTION} --dry-run")
    assert sent_by(done, server, f"{EXTRACTION} --yes --wait") == {"extraction": 1}
    assert f"{again} (the page or its datasets changed)\n" in done.run("run_batch.py --process judge --dry-run")
    assert sent_by(done, server, f"{ALL} --yes") == {"judge": 1, "reasoning": 1}


def test_added_paper_is_asked(done: Project, server: Server) -> None:
    done.paper("d.pdf", CENSUS)
    assert sent_by(done, server, ALL) == {"extraction": 1, "judge": 1, "reasoning": 1}


def test_renamed_paper_is_not_asked_again(done: Project, server: Server) -> None:
    before = done.document("reasoning", "a")
    shutil.move(done.input / "a.pdf", done.input / "z.pdf")
    assert not sent_by(done, server, ALL)
    assert done.document("reasoning", "z") == {**before, "source": "z"}


def test_removed_paper_is_in_no_total_and_no_training_data(done: Project, server: Server) -> None:
    (done.input / "a.pdf").unlink()
    assert not sent_by(done, server, ALL)
    assert " of 2 documents: " in done.run("retrieve_results.py --process reasoning")
    assert re.search(r"^extraction +2 +4 +4 +0 +0 +0$", done.run("batch_status.py"), re.MULTILINE)
    assert not sent_by(done, server, "run_batch.py --process judge --again --yes --documents reports/*") - Counter(
        judge=1
    )
    done.run("generate_finetune_data.py")
    rows = "".join(file.read_text() for file in (done.output / "finetune").glob("*.jsonl"))
    assert json.dumps(f"{HOUSEHOLDS} 1")[1:-1] in rows.replace("\\\\n", " ").replace("\\n", " ")
    assert f"{HOUSEHOLDS} 0" not in rows.replace("\\\\n", " ").replace("\\n", " ")


def test_unsent_requests_can_be_replaced_without_consent(project: Project, server: Server) -> None:
    """One batch is submitted and two wait for the queue when the prompt changes: only the first was paid for."""
    server.polls_to_complete = 100
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(6)))
    assert "2 batches not sent yet, because the queue is full" in project.run(EXTRACTION)
    assert project.run("batch_status.py").count("not sent") == 2
    assert server.attempts.total() == 2
    (project.folder / "mine.md").write_text("Find datasets.")
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500, PROMPTS={"extraction": "mine.md"})
    refused = project.run(EXTRACTION, expect=1)
    assert "2 questions of extraction would be asked (and paid for) again" in refused
    server.polls_to_complete = 2
    project.run(f"{EXTRACTION} --yes --wait")
    assert server.attempts.total() == 2 + 6
    assert set(project.document("extraction", "a")["page_status"].values()) == {"answered"}


def test_smaller_run_keeps_waiting_requests(project: Project, server: Server) -> None:
    """A run with --limit does not withdraw what an earlier run left waiting."""
    project.configure(MAX_REQUESTS_PER_BATCH=2, MAX_ENQUEUED_TOKENS=2500)
    for name in "abc":
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {name}1", f"{HOUSEHOLDS} {name}2")
    project.run(EXTRACTION)
    project.run(f"{EXTRACTION} --limit 1")
    project.run("retrieve_results.py --process extraction --wait")
    assert set(server.attempts.values()) == {1} and server.attempts.total() == 6


def test_waiting_files_are_split_under_smaller_limits(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=4, MAX_ENQUEUED_TOKENS=4000)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(12)))
    project.run(EXTRACTION)
    project.configure(MAX_REQUESTS_PER_BATCH=3)
    project.run(f"{EXTRACTION} --wait")
    assert [len(batch.lines) for batch in server.batches.values()] == [4, 3, 1, 3, 1]
    assert set(server.seen.values()) == {1}


def test_again_replaces_earlier_answers(done: Project, server: Server) -> None:
    cost = done.document("judge", "a")["usage"]["judge"]["cost_usd"]
    again = "run_batch.py --process judge --again"
    assert sent_by(done, server, f"{again} --documents a") == {"judge": 1}
    assert done.document("judge", "a")["page_status"]["1"] == "pending"
    assert sent_by(done, server, again) == {"judge": 2}  # the one in progress is not sent twice
    done.run("retrieve_results.py --process judge --wait")
    assert set(server.seen.values()) == {1}
    report = json.loads(done.run("retrieve_results.py --process judge --json").splitlines()[0])
    assert report["usage"]["judge"]["cost_usd"] == pytest.approx(2 * 3 * cost, rel=0.1)
    assert not sent_by(done, server, ALL)


def recipe(**changes: object) -> Recipe:
    base = {
        "process": "judge", "provider": "openai", "base_url": "u", "model": "m", "prompt_sha256": "p",
        "schema_sha256": "s", "params": {},
    }  # fmt: skip
    return Recipe.model_validate({**base, **changes})


@pytest.mark.parametrize(
    ("changes", "input_changed", "reason"),
    [
        ({"provider": "local"}, False, "another provider"),
        ({"base_url": "v"}, False, "another provider"),
        ({"model": "n"}, False, "another model"),
        ({"prompt_sha256": "q"}, False, "the prompt changed"),
        ({"schema_sha256": "t"}, False, "the answer format changed"),
        ({"params": {"seed": 1}}, False, "the parameters changed"),
        ({"max_page_tokens": 100}, False, "MAX_PAGE_TOKENS or PAGE_CONTEXT_CHARS changed"),
        # Chunks with other limits are another input, but that is not the cause.
        ({"page_context_chars": 50}, True, "MAX_PAGE_TOKENS or PAGE_CONTEXT_CHARS changed"),
        ({"schema_sha256": "t", "params": {"seed": 1}}, False, "the answer format changed, the parameters changed"),
        (
            {"model": "n", "prompt_sha256": "q"},
            True,
            "another model, the prompt changed, the page or its datasets changed",
        ),
        ({}, True, "the page or its datasets changed"),
        ({"process": "extraction"}, True, "the text changed"),
        ({}, False, "the endpoint or the wording of the question changed"),
    ],
)
def test_reason_why_a_page_is_asked_again(changes: dict[str, object], input_changed: bool, reason: str) -> None:
    assert what_changed(recipe(), recipe(**changes), input_changed) == reason


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"MODEL": "gpt-4.1-mini"}, "another model"),
        ({"PROMPTS": {"extraction": "mine.md"}}, "the prompt changed"),
        ({"REQUEST_PARAMS": {"*": {"seed": 7}}}, "the parameters changed"),
        ({"MODEL": "gpt-4.1-mini", "PROMPTS": {"extraction": "mine.md"}}, "another model, the prompt changed"),
        ({"PAGE_CONTEXT_CHARS": 100}, "MAX_PAGE_TOKENS or PAGE_CONTEXT_CHARS changed"),
        ({"BATCH_ENDPOINT": "/v1/other"}, "the endpoint or the wording of the question changed"),
    ],
)
def test_dry_run_says_why_pages_are_asked_again(done: Project, settings: dict[str, object], reason: str) -> None:
    (done.folder / "mine.md").write_text("Find datasets.")
    done.configure(**settings)
    assert f"6 requests for pages that were asked before ({reason})\n" in done.run(f"{EXTRACTION} --dry-run")


def test_judge_waits_for_the_extraction_of_a_changed_page(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.paper("b.pdf", f"{HOUSEHOLDS} b")
    project.run(f"{EXTRACTION} --wait")
    (project.input / "a.pdf").unlink()
    project.paper("a.pdf", CENSUS)
    assert sent_by(project, server, "run_batch.py --process judge --wait") == {"judge": 1}
    assert project.document("extraction", "a")["page_status"] == {"1": "not_sent"}
    assert project.document("judge", "a")["page_status"] == {"1": "not_sent"}


def test_waiting_requests_of_removed_papers_are_not_sent(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    for name in "abc":
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {name}")
    project.run(EXTRACTION)
    (project.input / "b.pdf").unlink()
    (project.input / "c.pdf").unlink()
    project.paper("c.pdf", f"{HOUSEHOLDS} changed")
    project.run(f"{EXTRACTION} --wait")
    assert server.seen.total() == 2


def test_lower_max_attempts_gives_up_pending_pages(project: Project, server: Server) -> None:
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


def test_interrupted_again_is_continued(done: Project, server: Server) -> None:
    """One of its batches has been collected. Its requests are not sent a third time."""
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


def test_again_for_one_of_two_duplicates_keeps_the_answers_of_the_other(project: Project, server: Server) -> None:
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


def test_refused_plan_leaves_no_files(done: Project, server: Server) -> None:
    before = done.files()
    (done.folder / "mine.md").write_text("Find datasets.")
    done.configure(PROMPTS={"extraction": "mine.md"})
    done.run(EXTRACTION, expect=1)
    done.configure()
    assert done.files() == before


def test_changed_paper_is_not_in_the_training_data_until_it_is_asked_again(project: Project, server: Server) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey here.")
    project.run("run_batch.py --process all")
    project.paper("a.pdf", "This text is about the weather, and nothing else.")
    project.run("run_batch.py --check")
    printed = project.run("generate_finetune_data.py", expect=1)
    assert "1 page: the paper has changed since" in printed
    assert not (project.output / "finetune" / "train.jsonl").exists()
    project.run("retrieve_results.py --process reasoning")
    for process in ("extraction", "judge", "reasoning"):
        assert project.document(process, "a")["page_status"] == {"1": "not_sent"}
        assert project.document(process, "a")["pages"] == []
