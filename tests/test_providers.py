"""Requests to the provider: what is repeated and after which wait, and that no batch is ever created twice."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from conftest import Project, wait_until
from server import Reply, Request, Server
from server_faults import list_lags
from test_server import row, submit

import retrieve_results
from pipeline.config import load_config
from pipeline.network import LONGEST_WAIT
from pipeline.providers.openai import PROBE_TOKENS, RETRY_WAITS, list_batches, make_client

PAGE = "We use the Korvian Household Survey (KHS) here."
RUN = "run_batch.py --process extraction"
GET = "retrieve_results.py --process extraction"
HTML = {"Content-Type": "text/html"}
QUOTA = "insufficient_quota"

IsWanted = Callable[[Request], bool]


def creates(server: Server) -> int:
    return server.requests.count(("POST", "/v1/batches"))


def is_create(request: Request) -> bool:
    return (request.method, request.path) == ("POST", "/v1/batches")


def is_status(request: Request) -> bool:
    return request.method == "GET" and request.path.startswith("/v1/batches/")


def is_list(request: Request) -> bool:
    return (request.method, request.path) == ("GET", "/v1/batches")


def is_download(request: Request) -> bool:
    return request.path.endswith("/content")


def error(status: int, code: str | None = None, **headers: str) -> Reply:
    details = {"message": "not possible", "type": "x", "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": details}, named)


def replies(server: Server, wanted: IsWanted, *first: Reply, then: Reply | None = None) -> list[Request]:
    """Send `first` to the first wanted requests, `then` to the others (None: as usual). Returns the requests."""
    seen: list[Request] = []

    def reply(request: Request) -> Reply | None:
        if not wanted(request):
            return None
        seen.append(request)
        return first[len(seen) - 1] if len(seen) <= len(first) else then

    server.before_request = reply
    return seen


@pytest.fixture
def sent(project: Project, server: Server) -> Project:
    """One page in one batch that has ended."""
    server.polls_to_complete = 0
    project.paper("a.pdf", PAGE)
    project.run(RUN)
    project.clock.sleeps.clear()
    return project


def page_status(project: Project) -> str:
    return str(project.document("extraction", "a")["page_status"]["1"])


# Calls that may be repeated


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_temporary_errors_are_repeated(sent: Project, server: Server, status: int) -> None:
    asked = replies(server, is_status, error(status), Reply(status, b"<html>gateway</html>", HTML))
    sent.run(GET)
    assert page_status(sent) == "answered"
    assert len(asked) == 3 and sent.clock.sleeps == [0.5, 1.0]


@pytest.mark.parametrize("wanted", [is_status, is_download])
@pytest.mark.parametrize("cut", [0, 20])
def test_broken_connections_are_repeated(sent: Project, server: Server, wanted: IsWanted, cut: int) -> None:
    asked = replies(server, wanted, *[Reply(200, {"id": "x" * 100}, cut=cut)] * 2)
    sent.run(GET)
    assert page_status(sent) == "answered"
    assert len(asked) == 3 and sent.clock.sleeps == [0.5, 1.0]
    (output,) = (sent.output / "batches" / "extraction").glob("*output.jsonl")
    assert output.read_bytes() in [content for info, content in server.files.values() if info["purpose"] != "batch"]
    assert not list(sent.output.rglob(".new-*"))


@pytest.mark.parametrize(
    ("status", "code"), [(400, None), (401, None), (403, None), (404, None), (422, None), (429, QUOTA)]
)
def test_permanent_errors_are_not_repeated(sent: Project, server: Server, status: int, code: str | None) -> None:
    asked = replies(server, is_status, then=error(status, code))
    exit_status, printed = sent.command(GET)
    assert exit_status == (3 if status == 404 else 1)
    assert ("does not know batch" in printed) == (status == 404)
    assert len(asked) == 1 and sent.clock.sleeps == []


def test_the_waits_grow_and_then_the_command_ends(sent: Project, server: Server) -> None:
    asked = replies(server, is_status, then=error(500))
    printed = sent.run(GET, expect=1)
    assert f"error: {server.url} failed (not possible): run the same command again later." in printed
    assert len(asked) == 9 and sent.clock.sleeps == [0.5, 1, 2, 4, 8, 16, 16, 16] == list(RETRY_WAITS)


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [
        ("7", 7), ("1.5", 1.5), ("0.2", 0.5), ("0", 0.5), ("120", 120), ("3600", LONGEST_WAIT),
        ("Fri, 31 Dec 2027 23:59:59 GMT", 0.5), ("-5", 0.5), ("nan", 0.5), ("1.2.3", 0.5), ("\u00b2", 0.5), ("", 0.5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wanted", [is_status, is_create])
def test_the_server_may_ask_for_a_longer_wait(
    project: Project, server: Server, wanted: IsWanted, asked_for: str, waited: float
) -> None:
    server.polls_to_complete = 0
    replies(server, wanted, error(429, retry_after=asked_for))
    project.paper("a.pdf", PAGE)
    project.run(RUN)
    project.run(GET)
    assert page_status(project) == "answered"
    assert project.clock.sleeps == [waited] and LONGEST_WAIT == 120


@pytest.mark.parametrize("failures", [3, 4])
def test_a_probe_that_fails_for_now_does_not_stop_the_command(project: Project, server: Server, failures: int) -> None:
    asked = replies(server, lambda request: request.path == "/v1/chat/completions", *[error(503)] * failures)
    project.paper("a.pdf", PAGE)
    project.run(RUN)
    assert len(asked) == 4 and project.clock.sleeps == [0.5, 1.0, 2.0] and len(server.batches) == 1


def test_an_account_without_credit_is_reported_before_anything_is_uploaded(project: Project, server: Server) -> None:
    asked = replies(server, lambda request: request.path == "/v1/chat/completions", then=error(429, QUOTA))
    project.paper("a.pdf", PAGE)
    assert "has no credit left" in project.run(RUN, expect=1)
    assert len(asked) == 1 and not server.files


# Creating a batch


@pytest.mark.parametrize("status", [429, 503])
def test_a_create_that_is_refused_for_now_is_repeated(project: Project, server: Server, status: int) -> None:
    replies(server, is_create, error(status), error(status))
    project.paper("a.pdf", PAGE)
    project.run(RUN)
    assert creates(server) == 3 and len(server.batches) == 1
    assert project.clock.sleeps == [0.5, 1.0]


def test_a_create_that_is_always_refused_for_now_ends(project: Project, server: Server) -> None:
    replies(server, is_create, then=error(429))
    project.paper("a.pdf", PAGE)
    assert "run the same command again later" in project.run(RUN, expect=1)
    assert creates(server) == 8 and project.clock.sleeps == list(RETRY_WAITS)
    server.behave()
    project.run(f"{RUN} --wait")
    assert page_status(project) == "answered" and set(server.seen.values()) == {1}


@pytest.mark.parametrize(("status", "code"), [(400, None), (401, None), (403, None), (422, None), (429, QUOTA)])
def test_a_create_that_is_refused_is_not_repeated(
    project: Project, server: Server, status: int, code: str | None
) -> None:
    replies(server, is_create, then=error(status, code))
    project.paper("a.pdf", PAGE)
    assert "--resolve" not in project.run(RUN, expect=1)
    assert creates(server) == 1 and project.clock.sleeps == []


@pytest.mark.parametrize("cut", [0, 20])
def test_a_create_whose_reply_was_lost_is_not_repeated(project: Project, server: Server, cut: int) -> None:
    def lose_the_answer(request: Request, reply: Reply) -> Reply:
        return Reply(reply.status, reply.body, reply.headers, cut=cut) if is_create(request) else reply

    server.before_response = lose_the_answer
    project.paper("a.pdf", PAGE)
    project.run(f"{RUN} --wait")
    assert creates(server) == 1 and set(server.attempts.values()) == {1}
    assert page_status(project) == "answered"


def test_the_list_is_searched_until_it_shows_the_batch(project: Project, server: Server) -> None:
    list_lags(server, calls=2)
    project.paper("a.pdf", PAGE)
    project.run(RUN)
    assert creates(server) == 1 and project.clock.sleeps == [0.5, 1.0, 2.0]


def test_a_doubt_that_the_list_does_not_settle_is_left_to_the_user(project: Project, server: Server) -> None:
    replies(server, is_create, then=error(502))
    project.paper("a.pdf", PAGE)
    printed = project.run(RUN, expect=3)
    assert "batch_status.py --resolve 1 lost" in printed
    assert creates(server) == 1 and project.clock.sleeps == [0.5, 1.0, 2.0, 4.0]
    server.behave()
    # Running the command again does not send it either.
    assert "--resolve 1" in project.run(RUN, expect=3)
    assert not server.batches
    assert "--resolve 1" in project.run("batch_status.py", expect=3)
    assert "error:" in project.run("batch_status.py --resolve 1 perhaps", expect=1)
    project.run("batch_status.py --resolve 1 lost")
    project.run(f"{RUN} --wait")
    assert set(server.attempts.values()) == {1}
    assert page_status(project) == "answered"


@pytest.mark.parametrize(
    "answer", [error(500), Reply(200, b"<html>", HTML), Reply(200, {"data": None}), Reply(200, b"")]
)
def test_a_list_that_is_not_available_settles_nothing(project: Project, server: Server, answer: Reply) -> None:
    """The batch was created, its reply was lost, and the list cannot be read either."""
    server.before_request = lambda request: answer if is_list(request) else None
    server.before_response = lambda request, reply: Reply(504, b"") if is_create(request) else reply
    project.paper("a.pdf", PAGE)
    assert "--resolve 1" in project.run(RUN, expect=3)
    assert "Traceback" not in project.run(RUN, expect=3)
    server.behave()
    project.run(f"{RUN} --wait")
    assert creates(server) == 1 and set(server.seen.values()) == {1}
    assert page_status(project) == "answered"


def test_the_user_can_give_the_id_of_a_batch(project: Project, server: Server) -> None:
    server.listed = lambda batch: False
    server.before_response = lambda request, reply: Reply(502, b"") if is_create(request) else reply
    project.paper("a.pdf", PAGE)
    project.run(RUN, expect=3)
    (batch_id,) = server.batches
    server.before_response = lambda request, reply: reply
    project.run(f"batch_status.py --resolve 1 sent:{batch_id}")
    project.run(f"{GET} --wait")
    assert page_status(project) == "answered"


GATEWAY = b"<html>gateway</html>"


@pytest.mark.parametrize(
    "gateway",
    [
        *(Reply(status, GATEWAY, HTML) for status in (200, 408, 409, 500, 502, 503, 504, 520, 522, 524)),
        Reply(200, b'{"id": "batch_', {"Content-Type": "application/json"}),
        Reply(200, b""),
    ],
    ids=lambda reply: f"{reply.status} {reply.body[:5]!r}",
)
def test_whatever_a_gateway_replies_a_batch_is_created_once(project: Project, server: Server, gateway: Reply) -> None:
    """The batch is created, but a gateway replies in its place."""
    server.before_response = lambda request, reply: gateway if is_create(request) else reply
    project.paper("a.pdf", PAGE)
    project.run(f"{RUN} --wait")
    assert creates(server) == 1 and set(server.seen.values()) == {1}
    assert page_status(project) == "answered"


def test_waiting_locks_no_other_command_out(project: Project, server: Server) -> None:
    server.polls_to_complete = 1_000_000
    project.paper("a.pdf", PAGE)
    project.run(RUN)
    waiting = threading.Thread(target=lambda: project.run(f"{GET} --wait"))
    waiting.start()
    wait_until(lambda: server.requests.count(("GET", f"/v1/batches/{next(iter(server.batches))}")) > 2)
    config = str(project.folder / "config.yaml")
    assert retrieve_results.main(["--process", "extraction", "--config", config]) == 0
    server.polls_to_complete = 0
    waiting.join(timeout=20)
    assert not waiting.is_alive()


# The list of batches


@pytest.fixture
def in_doubt(project: Project, server: Server, client: openai.OpenAI) -> Project:
    """A batch whose reply was lost, and which is on the second page of the list."""
    server.listed = lambda batch: False
    server.before_response = lambda request, reply: Reply(504, b"") if is_create(request) else reply
    project.paper("a.pdf", PAGE)
    project.run(RUN, expect=3)
    server.behave()
    server.page_size = 2
    for _ in range(3):
        submit(client, row("other"))
    project.clock.sleeps.clear()
    return project


def is_second_page(request: Request) -> bool:
    return is_list(request) and "after" in request.query


def test_a_batch_is_found_on_the_second_page(in_doubt: Project, server: Server) -> None:
    pages = replies(server, is_list)
    assert f"is batch {next(iter(server.batches))}" in in_doubt.run("batch_status.py --resolve 1 sent")
    assert len(pages) == 2


@pytest.mark.parametrize("failure", [error(500), Reply(200, b"", cut=0), Reply(200, {"data": []}, cut=5)])
def test_an_error_on_the_second_page_is_not_the_end_of_the_list(
    in_doubt: Project, server: Server, failure: Reply
) -> None:
    pages = replies(server, is_second_page, failure, failure)
    assert f"is batch {next(iter(server.batches))}" in in_doubt.run("batch_status.py --resolve 1 sent")
    assert len(pages) == 3 and in_doubt.clock.sleeps == [0.5, 1.0]


@pytest.mark.parametrize("wanted", [is_list, is_second_page])
@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (error(401), "refused the key"),
        (error(403), "does not allow this key to do that"),
        (error(500), "run the same command again later"),
        (Reply(200, b"", cut=0), "Cannot reach"),
        (Reply(200, b"<html>please log in</html>", HTML), "does not reply like the OpenAI API"),
        (Reply(200, {"data": None, "has_more": False}), "does not reply like the OpenAI API"),
        (Reply(200, {"data": ["text"], "has_more": False}), "does not reply like the OpenAI API"),
        (Reply(200, b'{"data": [', {"Content-Type": "application/json"}), "does not reply like the OpenAI API"),
    ],
)
def test_an_error_in_the_list_is_one_sentence(
    in_doubt: Project, server: Server, wanted: IsWanted, failure: Reply, sentence: str
) -> None:
    replies(server, wanted, then=failure)
    printed = in_doubt.run("batch_status.py --resolve 1 sent", expect=1)
    assert sum(line.startswith("error: ") for line in printed.splitlines()) == 1 and sentence in printed
    assert "list has no batch" not in printed
    server.behave()
    assert "is batch" in in_doubt.run("batch_status.py --resolve 1 sent")


def test_a_notebook_can_list_all_batches(sent: Project, server: Server, client: openai.OpenAI) -> None:
    ours = (sent.output / "extraction_batches.txt").read_text().split()
    for _ in range(110):
        submit(client, row("other"))
    with make_client(load_config(sent.folder / "config.yaml")) as notebook:
        rows = list_batches(notebook)
    assert [one["id"] for one in rows] == list(reversed(server.batches))
    assert [rows[-1]["id"]] == ours and isinstance(rows[-1]["created"], int)
    assert rows[-1].items() >= {("status", "completed"), ("total", 1), ("done", 1), ("failed", 0)}


# Replies that are not the API's


def test_a_login_page_instead_of_the_api(project: Project, server: Server) -> None:
    server.before_request = lambda request: Reply(200, b"<html>please log in</html>", HTML)
    project.paper("a.pdf", PAGE)
    assert "it usually ends in /v1" in project.run(RUN, expect=1)
    server.before_request = lambda request: None
    project.run(RUN)
    for answer in (Reply(200, b"<html>", HTML), Reply(200, b'{"id": "batch', {"Content-Type": "application/json"})):
        server.before_request = lambda request, answer=answer: answer  # type: ignore[misc]
        assert "does not reply like the OpenAI API" in project.run(GET, expect=1)
        assert "does not reply like the OpenAI API" in project.run("batch_status.py", expect=1)
    server.before_request = lambda request: None
    project.run(f"{GET} --wait")
    assert page_status(project) == "answered"


def test_odd_fields_of_a_batch(project: Project, server: Server) -> None:
    """Times and counts as text, numbers too large for a database, half a surrogate pair in a message."""
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
    project.run(RUN)
    project.run("batch_status.py")
    project.run(f"{GET} --wait", expect=3)
    assert page_status(project) == "failed:api_error"


@pytest.mark.slow
def test_against_a_server_of_others_that_fails_half_the_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """llmock answers batches with prose. What counts here: everything is sent once and collected."""
    pytest.importorskip("llmock")
    port = free_port()
    llmock = [Path(sys.executable).with_name("llmock"), "serve", "--port", str(port)]
    errors = ["--error-rate", "429=0.3", "--error-rate", "503=0.2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*llmock, *errors], **quiet) as process:
        try:
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
            wait_until(lambda: accepts_connections(port))
            project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ATTEMPTS=1)
            project.paper("a.pdf", *(f"{PAGE} {n}" for n in range(6)))
            repeat(project, RUN, 0)
            repeat(project, f"{GET} --wait", 3)
            ids = (project.output / "extraction_batches.txt").read_text().split()
            assert len(ids) == len(set(ids)) == 6
            statuses = project.document("extraction", "a")["page_status"].values()
            assert len(statuses) == 6 and set(statuses) <= {"answered", "failed:invalid_json", "failed:api_error"}
        finally:
            process.terminate()


def repeat(project: Project, line: str, expect: int) -> None:
    """Repeat a command while the server fails more often than the command repeats its requests."""
    status, printed = next(done for done in (project.command(line) for _ in range(9)) if done[0] != 1)
    assert status == expect, printed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
