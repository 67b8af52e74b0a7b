"""The client's manners: nothing is made twice, and doubt is told."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from conftest import Project
from server import Reply, Request, Server

from pipeline.config import load_config
from pipeline.providers.openai import PROBE_TOKENS, list_batches, make_client

PAGE = "We use the Korvian Household Survey (KHS) here."


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.providers.openai.WAITS", (0.01,) * 6)


def creates(server: Server) -> int:
    return server.requests.count(("POST", "/v1/batches"))


def is_create(request: Request) -> bool:
    return (request.method, request.path) == ("POST", "/v1/batches")


def test_a_notebook_can_list_the_batches(project: Project) -> None:
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction --wait")
    client = make_client(load_config(project.folder / "config.yaml"))
    (row,) = list_batches(client)
    assert row["status"] == "completed" and (row["total"], row["done"], row["failed"]) == (1, 1, 0)
    assert isinstance(row["created"], int)
    assert [row["id"]] == Path(project.output / "extraction_batches.txt").read_text().split()


@pytest.mark.parametrize("status", [429, 503])
def test_not_now_is_tried_again(project: Project, server: Server, status: int) -> None:
    refusals = iter([True, True, False, False])

    def not_now(request: Request) -> Reply | None:
        if is_create(request) and next(refusals):
            return Reply(status, {"error": {"message": "later", "type": "server_error", "param": None, "code": None}})
        return None

    server.before_request = not_now
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    assert creates(server) == 3 and len(server.batches) == 1


@pytest.mark.parametrize("cut", [0, 20])
def test_a_create_whose_answer_was_lost_is_found_and_not_repeated(project: Project, server: Server, cut: int) -> None:
    def lose_the_answer(request: Request, reply: Reply) -> Reply:
        return Reply(reply.status, reply.body, reply.headers, cut=cut) if is_create(request) else reply

    server.before_response = lose_the_answer
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction --wait")
    assert creates(server) == 1 and set(server.attempts.values()) == {1}
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_doubt_that_the_list_cannot_settle_is_left_to_the_user(project: Project, server: Server) -> None:
    def swallow(request: Request) -> Reply | None:
        return (
            Reply(502, {"error": {"message": "gateway", "type": "x", "param": None, "code": None}})
            if is_create(request)
            else None
        )

    server.before_request = swallow
    project.paper("a.pdf", PAGE)
    told = project.run("run_batch.py --process extraction", expect=1)
    assert "batch_status.py --resolve 1 lost" in told
    server.before_request = lambda request: None
    # asking again does not send it, either
    assert "--resolve 1" in project.run("run_batch.py --process extraction", expect=1)
    assert not server.batches
    assert "--resolve 1" in project.run("batch_status.py", expect=3)
    assert "error:" in project.run("batch_status.py --resolve 1 perhaps", expect=1)
    project.run("batch_status.py --resolve 1 lost")
    project.run("run_batch.py --process extraction --wait")
    assert set(server.attempts.values()) == {1}
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_a_lost_batch_can_be_named_by_hand(project: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.providers.openai.OpenAIProvider.find", lambda self, file_id: None)
    server.before_response = lambda request, reply: Reply(502, b"") if is_create(request) else reply
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction", expect=1)
    (batch_id,) = server.batches
    server.before_response = lambda request, reply: reply
    project.run(f"batch_status.py --resolve 1 sent:{batch_id}")
    project.run("retrieve_results.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_waiting_does_not_lock_others_out(project: Project, server: Server) -> None:
    server.polls_to_complete = 1_000_000
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    runner = threading.Thread(target=lambda: project.run("retrieve_results.py --process extraction --wait"))
    runner.start()
    time.sleep(0.3)
    from retrieve_results import main

    assert main(["--process", "extraction", "--config", str(project.folder / "config.yaml")]) == 0
    server.polls_to_complete = 0
    runner.join(timeout=20)
    assert not runner.is_alive()


HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 522, 524])
def test_whatever_a_gateway_says_a_batch_is_made_once(project: Project, server: Server, status: int) -> None:
    """The batch is made, and something on the way back answers in its place."""
    lost = iter([True])

    def lose(request: Request, reply: Reply) -> Reply:
        return Reply(status, b"<html>gateway</html>", HTML) if is_create(request) and next(lost, False) else reply

    server.before_response = lose
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction --wait")
    assert creates(server) == 1 and set(server.seen.values()) == {1}
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_a_login_page_in_place_of_the_api(project: Project, server: Server) -> None:
    server.before_request = lambda request: Reply(200, b"<html>please log in</html>", HTML)
    project.paper("a.pdf", PAGE)
    assert "does it end in /v1?" in project.run("run_batch.py --process extraction", expect=1)
    server.before_request = lambda request: None
    project.run("run_batch.py --process extraction")
    for answer in (Reply(200, b"<html>", HTML), Reply(200, b'{"id": "batch', {"Content-Type": "application/json"})):
        server.before_request = lambda request, answer=answer: answer  # type: ignore[misc]
        assert "does not answer as the API does" in project.run("retrieve_results.py --process extraction", expect=1)
        assert "does not answer as the API does" in project.run("batch_status.py", expect=1)
    server.before_request = lambda request: None
    project.run("retrieve_results.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_odd_fields_of_a_batch(project: Project, server: Server) -> None:
    """Moments as text, counts as text, numbers that no database holds, half a surrogate pair in a message."""
    usual, answer = server.show, server.answer
    odd: dict[str, object] = {"created_at": "2026-11-24T19:00:00Z", "expires_at": 10**30, "in_progress_at": -5}
    server.show = lambda batch: {
        **usual(batch),
        **odd,
        "request_counts": {"total": "1", "completed": None, "failed": 0},
    }

    def half(body: dict) -> tuple[int, dict]:
        if body["max_completion_tokens"] <= PROBE_TOKENS:
            return answer(body)
        return 400, {"error": {"message": "bad HALF", "code": "HALF", "type": "x", "param": None}}

    server.answer = half
    files = server.result_files
    server.result_files = lambda batch, rows: {
        name: content.replace(b"HALF", rb"\ud83d") for name, content in files(batch, rows).items()
    }
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    project.run("batch_status.py")
    project.run("retrieve_results.py --process extraction --wait", expect=3)
    assert project.document("extraction", "a")["page_status"] == {"1": "failed:api_error"}


LLMOCK_ERRORS = ["--error-rate", "429=0.3", "--error-rate", "503=0.2"]


def test_against_a_server_of_others_that_fails_half_the_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """llmock answers batches with prose: what counts here is that everything is sent once and comes back."""
    pytest.importorskip("llmock")
    from subprocess import DEVNULL, Popen
    from sys import executable

    port = free_port()
    monkeypatch.setattr("pipeline.providers.openai.WAITS", (0.05,) * 40)
    monkeypatch.setattr("pipeline.providers.openai.RETRIES", 40)
    monkeypatch.setattr("openai._constants.INITIAL_RETRY_DELAY", 0.01)
    llmock = Path(executable).with_name("llmock")
    with Popen([llmock, "serve", "--port", str(port), *LLMOCK_ERRORS], stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
            wait_for(port)
            project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ATTEMPTS=1)
            project.paper("a.pdf", *(f"{PAGE} {n}" for n in range(6)))
            assert "6 sent now in 6 batches" in project.run("run_batch.py --process extraction")
            printed = project.run("retrieve_results.py --process extraction --wait", expect=3)
            assert "6 batches collected" in printed
            statuses = project.document("extraction", "a")["page_status"].values()
            assert len(statuses) == 6 and set(statuses) <= {"answered", "failed:invalid_json", "failed:api_error"}
        finally:
            process.terminate()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    import socket

    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(port)
