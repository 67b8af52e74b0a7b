"""PROVIDER: local: the same files and outcomes, answered on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from conftest import FastClock, InterruptedClock, Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING, check_document

from pipeline.providers.base import Prompt
from pipeline.providers.local import AnswerLimits, LocalRequests


@pytest.fixture
def chat_server() -> Iterator[Server]:
    """A chat server of the user's own. OPENAI_API_KEY is not sent there."""
    with Server(key="none") as running:
        running.models.add("mine")
        yield running
        assert running.violations == []


@pytest.fixture
def local(project: Project, chat_server: Server) -> Project:
    project.configure(PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine")
    return project


def test_all_stages(local: Project, server: Server) -> None:
    local.paper("a.pdf", HOUSEHOLDS, NOTHING, CENSUS)
    local.all_stages()
    assert check_document(local, "a") == 3
    assert local.document("reasoning", "a")["provenance"][0]["provider"] == "local"
    assert local.document("reasoning", "a")["usage"]["judge"]["cost_usd"] == 0
    assert not server.requests  # nothing went to the other provider
    assert (local.output / "judge_batches.txt").read_text().startswith("local-judge-")


def test_several_requests_at_a_time(local: Project, chat_server: Server) -> None:
    local.configure(PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine", LOCAL_CONCURRENCY=4)
    local.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(9)))
    local.run("run_batch.py --process all")
    assert check_document(local, "a") == 9


def interrupt_after(local: Project, chat_server: Server, answers: int) -> None:
    """Interrupt `run_batch.py` after so many answers."""
    answer, numbers = chat_server.answer, itertools.count()

    def busy_later(body: dict) -> tuple[int, dict]:
        is_probe = body["max_tokens"] == 1
        if is_probe or next(numbers) < answers:
            return answer(body)
        return 503, {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}}

    chat_server.answer, local.clock = busy_later, InterruptedClock()
    assert "Nothing is lost" in local.run("run_batch.py --process extraction", expect=130)
    chat_server.answer, local.clock = answer, FastClock()


def test_an_interrupted_run_continues_where_it_stopped(local: Project, chat_server: Server) -> None:
    local.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    interrupt_after(local, chat_server, answers=2)
    partial = local.output / "batches" / "extraction" / "local-extraction-1.partial.jsonl"
    assert partial.read_text().count("\n") == 2
    with partial.open("a") as file:
        file.write('{"custom_id": "half a li')
    assert "1 batch still running" in local.run("retrieve_results.py --process extraction")
    before = chat_server.requests.count(("POST", "/v1/chat/completions"))
    local.run("run_batch.py --process extraction --wait")
    assert chat_server.requests.count(("POST", "/v1/chat/completions")) == before + 2
    assert set(local.document("extraction", "a")["page_status"].values()) == {"answered"}


def test_questions_that_have_changed_are_not_answered(local: Project, chat_server: Server) -> None:
    local.paper("a.pdf", HOUSEHOLDS)
    interrupt_after(local, chat_server, answers=0)
    (local.folder / "mine.md").write_text("Ask something else.")
    local.configure(
        PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine", PROMPTS={"extraction": "mine.md"}
    )
    before = chat_server.requests.count(("POST", "/v1/chat/completions"))
    local.run("run_batch.py --process extraction --wait")
    assert chat_server.requests.count(("POST", "/v1/chat/completions")) == before + 2  # the probe and the page
    assert local.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_demo_first_then_a_key(local: Project, server: Server) -> None:
    """Answers of the local model do not count for the paid one."""
    local.paper("a.pdf", HOUSEHOLDS, NOTHING)
    local.run("run_batch.py --process all")
    local.configure()  # PROVIDER: openai again, same folders
    assert "sent 2 requests in 1 batch" in local.run("run_batch.py --process extraction")
    assert set(local.document("extraction", "a")["page_status"].values()) == {"pending"}
    for process in ("judge", "reasoning"):
        assert set(local.document(process, "a")["page_status"].values()) == {"not_sent"}
    assert "2 pages: not_sent" in local.run("generate_finetune_data.py", expect=1)
    printed = local.run("run_batch.py --process judge", expect=1)
    assert "retrieve_results.py --process extraction" in printed
    local.run("run_batch.py --process all")
    assert server.attempts.total() == 4
    providers = {recipe["provider"] for recipe in local.document("reasoning", "a")["provenance"]}
    assert providers == {"openai"}


def test_a_model_that_is_not_served_is_reported_first(local: Project, chat_server: Server) -> None:
    chat_server.models.clear()
    local.paper("a.pdf", HOUSEHOLDS)
    assert "LOCAL_MODEL" in local.run("run_batch.py --process extraction", expect=1)


def test_lists_and_free_text_get_limits() -> None:
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "kind": {"type": "string", "enum": ["a"]},
            "maybe": {"type": ["string", "null"]},
            "items": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        },
    }
    requests = LocalRequests(
        Prompt("extraction", "", "name", schema), "model", "/v1/chat/completions", {}, AnswerLimits()
    )
    limited = requests.answer_format["json_schema"]["schema"]["properties"]
    assert set(limited["type"]) == {"type", "maxLength"}
    assert set(limited["maybe"]) == {"type", "maxLength"}
    assert limited["kind"] == {"type": "string", "enum": ["a"]}
    assert "maxItems" in limited["items"] and "maxLength" in limited["items"]["items"]["anyOf"][0]


def test_as_many_verdicts_as_there_are_datasets(local: Project, chat_server: Server) -> None:
    bodies = []
    answer = chat_server.answer
    chat_server.answer = lambda body: (bodies.append(body), answer(body))[1]
    local.paper("a.pdf", CENSUS)
    local.run("run_batch.py --process all")
    schemas = [body["response_format"]["json_schema"]["schema"] for body in bodies]
    lists = [schema["properties"]["verdicts"] for schema in schemas if "verdicts" in schema["properties"]]
    assert {(verdicts["minItems"], verdicts["maxItems"]) for verdicts in lists} == {(2, 2)}
