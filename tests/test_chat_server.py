"""LOCAL_BASE_URL: what servers of the user's own reply, their keys, their parameters, and proxies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FastClock, Project
from filelock import FileLock
from server import Reply, Request, Server
from server_answers import completion
from test_pipeline import HOUSEHOLDS

from pipeline.errors import ConfigError, ProviderError
from pipeline.providers.chat_server import chat_completer, is_here
from pipeline.providers.openai_format import outcome_of

KEY = "local-marker-71c0"
CHAT = "/v1/chat/completions"
RUN = "run_batch.py --process extraction --wait"


@pytest.fixture
def chat_server() -> Iterator[Server]:
    with Server(key="none") as running:
        running.models.add("mine")
        yield running


@pytest.fixture
def local(project: Project, chat_server: Server) -> Project:
    project.configure(PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine")
    project.paper("a.pdf", HOUSEHOLDS)
    return project


def answered(project: Project) -> int:
    """How many pages of a.pdf the extraction has answered."""
    return list(project.document("extraction", "a")["page_status"].values()).count("answered")


def reply_always(server: Server, reply: Reply) -> None:
    server.before_request = lambda request: reply


# Replies

HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html><body>Sign in</body></html>", HTML),
        Reply(200, b"null"),
        Reply(200, b"[]"),
        Reply(200, b'"ok"'),
        Reply(200, b"17"),
        Reply(200, b'{"choices": [{"message"'),
        Reply(200, b"{}"),
        Reply(200, b'{"model": "mine", "message": {"content": "{}"}, "done": true}'),
        Reply(200, b'data: {"choices": []}\n\ndata: [DONE]\n', {"Content-Type": "text/event-stream"}),
        Reply(200, b"\xff\xfe\xfa"),
        Reply(200, b"[" * 100_000),
        Reply(204, b""),
    ],
)
def test_a_reply_that_is_not_from_a_chat_server(local: Project, chat_server: Server, reply: Reply) -> None:
    reply_always(chat_server, reply)
    printed = local.run(RUN, expect=1)
    (error,) = [line for line in printed.splitlines() if line.startswith("error:")]
    assert f"{chat_server.url} does not reply like a chat server" in error and "check LOCAL_BASE_URL" in error
    chat_server.behave()
    local.run(RUN)
    assert answered(local) == 1


def test_such_a_reply_in_the_middle(local: Project, chat_server: Server) -> None:
    """Answers from before it are kept."""
    local.paper("a.pdf", HOUSEHOLDS, f"{HOUSEHOLDS} 2", f"{HOUSEHOLDS} 3")
    replies = iter([None, None])  # the probe and the first page
    chat_server.before_request = lambda request: next(replies, Reply(200, b"<html>", HTML))
    assert "does not reply like a chat server" in local.run(RUN, expect=1)
    chat_server.behave()
    chat_server.requests.clear()
    local.run(RUN)
    assert len(chat_server.requests) == 2
    assert answered(local) == 3


BLOCKED = Reply(200, b"<html>blocked by the firewall</html>", HTML)


def block(server: Server, *pages: str, reply: Reply = BLOCKED) -> None:
    """Requests with one of these texts get this reply."""
    server.before_request = lambda request: reply if any(page.encode() in request.body for page in pages) else None


@pytest.mark.parametrize("reply", [BLOCKED, Reply(403, b"<html>blocked</html>", HTML)])
@pytest.mark.parametrize("blocked", ["page 0", "page 1", "page 3"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_page_without_a_usable_reply_stops_no_other(
    local: Project, chat_server: Server, reply: Reply, blocked: str, concurrency: int
) -> None:
    local.paper("a.pdf", *(f"{HOUSEHOLDS} page {n}" for n in range(4)))
    local.configure(PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine", LOCAL_CONCURRENCY=concurrency)
    block(chat_server, blocked, reply=reply)
    printed = local.run(RUN, expect=3)
    assert answered(local) == 3 and "failed:api_error" in printed
    chat_server.behave()
    local.run(f"{RUN} --again failed")
    assert answered(local) == 4


def test_several_pages_in_a_row_without_a_usable_reply_stop_the_run(local: Project, chat_server: Server) -> None:
    """Each run records some of them, so that they are no obstacle forever."""
    local.paper("a.pdf", *(f"{HOUSEHOLDS} page {n}" for n in range(5)))
    block(chat_server, "page 1", "page 2", "page 3")
    assert "does not reply like a chat server" in local.run(RUN, expect=1)
    local.run(RUN, expect=3)
    assert answered(local) == 2


def test_a_local_batch_that_nobody_answers_can_be_cancelled(local: Project, chat_server: Server) -> None:
    local.paper("a.pdf", HOUSEHOLDS, f"{HOUSEHOLDS} 2", f"{HOUSEHOLDS} 3")
    replies = iter([None, None])  # the probe and the first page
    chat_server.before_request = lambda request: next(replies, BLOCKED)
    local.run(RUN, expect=1)
    (requests,) = (local.output / "batches" / "extraction").glob("part-*.jsonl")
    lock = FileLock(requests.with_name("local-extraction-1.partial.lock"))
    with lock:
        assert "is being answered on this machine" in local.run("batch_status.py --cancel 1", expect=1)
    printed = local.run("batch_status.py --cancel 1")
    assert "local-extraction-1 is cancelled. Its answers so far can be used" in printed
    assert "1 ok" in local.run("retrieve_results.py --process extraction")
    assert answered(local) == 1
    chat_server.behave()
    local.run(RUN)
    assert answered(local) == 3


NESTED = json.loads("[" * 400 + "]" * 400)


@pytest.mark.parametrize(
    "usage",
    ["12", "many", [1], 7, {"completion_tokens": "12"}, {"completion_tokens": None}, {"x": NESTED}, "[" * 9_000],
)
def test_any_usage(local: Project, chat_server: Server, usage: object) -> None:
    usual = chat_server.answer

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reply = usual(body)
        return status, reply | {"usage": usage}

    chat_server.answer = answer
    assert "1 ok" in local.run(RUN)


@pytest.mark.parametrize("depth", [500, 900, 950, 980, 990, 2_000, 100_000])
def test_a_reply_that_is_nested_deeply(local: Project, chat_server: Server, depth: int) -> None:
    local.paper("a.pdf", HOUSEHOLDS, f"{HOUSEHOLDS} page 2")
    nested = '{"choices": [], "error": ' + '{"a":' * depth + "1" + "}" * depth + "}"
    block(chat_server, "page 2", reply=Reply(200, nested.encode()))
    local.run(RUN, expect=3)
    assert answered(local) == 1


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/json; charset=utf-8"])
def test_the_content_type_does_not_matter(local: Project, chat_server: Server, kind: str) -> None:
    def change(request: Request, reply: Reply) -> Reply:
        assert not isinstance(reply.body, bytes)
        return Reply(200, b"\xef\xbb\xbf" + json.dumps(reply.body).encode(), {"Content-Type": kind})

    chat_server.before_response = change
    local.run(RUN)
    assert answered(local) == 1


BUSY: list[Any] = [
    {"error": {"message": "rate limited upstream", "code": 429}, "choices": None},
    {"error": {"message": "rate limited upstream", "code": "429"}},
    {"error": {"message": "bad gateway", "code": 502}, "choices": []},
    {"error": {"message": "busy", "status": 503}},
    {"error": {"message": "busy", "type": "overloaded_error", "code": None}},
    {"object": "error", "message": "busy", "code": 500},
    {"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "busy"}}]},
]


@pytest.mark.parametrize("body", BUSY)
def test_a_busy_server_with_status_200_is_asked_again(local: Project, chat_server: Server, body: Any) -> None:
    usual, replies = chat_server.answer, iter([None, (200, body), (200, body)])
    chat_server.answer = lambda request: next(replies, None) or usual(request)
    assert "1 ok" in local.run(RUN)
    assert chat_server.requests.count(("POST", CHAT)) == 4
    assert local.clock.sleeps == [0.5, 1.0]


def test_retry_after_is_respected(local: Project, chat_server: Server) -> None:
    busy = Reply(200, json.dumps(BUSY[0]).encode(), {"Retry-After": "7"})
    replies = iter([None, busy])
    chat_server.before_request = lambda request: next(replies, None)
    assert "1 ok" in local.run(RUN)
    assert local.clock.sleeps == [7.0]


def test_a_server_that_stays_busy(local: Project, chat_server: Server) -> None:
    """As after a real 429: the page stays pending until MAX_ATTEMPTS."""
    usual, replies = chat_server.answer, iter([None])
    chat_server.answer = lambda request: (200, BUSY[0]) if next(replies, True) else usual(request)
    assert "failed:api_error" in local.run(RUN, expect=3)
    chat_server.behave()
    assert "1 answered" in local.run("run_batch.py --process extraction --again failed --wait")


@pytest.mark.parametrize("code", [429, "429", 503])
def test_a_busy_server_in_a_batch(project: Project, server: Server, code: object) -> None:
    """Rows of OpenAI batches with such a reply are asked again as well."""
    usual, replies = server.answer, iter([None, (200, {"error": {"message": "busy", "code": code}})])
    server.answer = lambda request: next(replies, None) or usual(request)
    project.paper("a.pdf", HOUSEHOLDS)
    assert "1 api_error, 1 ok" in project.run(RUN)
    assert answered(project) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [({"code": 429}, "429"), ({"code": "503"}, "503"), ({"code": 400}, "400"), ({"type": "x", "code": None}, "x"),
     ({"code": "rate_limit_exceeded"}, "rate_limit_exceeded"), ("boom", "unknown"), ({"code": 7}, "7")],
)  # fmt: skip
def test_the_code_of_an_error_with_status_200(error: Any, code: str) -> None:
    outcome = outcome_of({"response": {"status_code": 200, "body": {"error": error}}})
    assert (outcome.kind, outcome.code) == ("api_error", code)


@pytest.mark.parametrize(
    "reply", [Reply(400, b"[" * 9_000), Reply(422, b'{"error": ' + b"[" * 700 + b"]" * 700 + b"}")]
)
def test_errors_that_are_no_errors_of_the_api(local: Project, chat_server: Server, reply: Reply) -> None:
    reply_always(chat_server, reply)
    assert "refused the request" in local.run(RUN, expect=1)


@pytest.mark.parametrize("status", [200, 400, 404, 501])
def test_a_refusal_is_reported_before_anything_is_sent(local: Project, chat_server: Server, status: int) -> None:
    reply_always(chat_server, Reply(status, {"error": {"message": "no such thing", "code": None}}))
    printed = local.run(RUN, expect=1)
    assert "refused the request: check LOCAL_MODEL" in printed and "no such thing" in printed
    assert ("LOCAL_BASE_URL" in printed) == (status == 404)
    assert local.clock.sleeps == []


def test_an_answer_only_in_thoughts_is_none(local: Project, chat_server: Server) -> None:
    draft = {"content": None, "reasoning_content": 'A draft: {"data_mentions": []}. But is it complete?'}

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        reply = completion(body | {"max_tokens": 1000}, "x")
        reply["choices"][0]["message"] = draft
        return 200, reply

    chat_server.answer = answer
    assert "failed:invalid_json" in local.run(RUN, expect=3)


# Keys


def seen_headers(server: Server) -> list[str]:
    seen: list[str] = []
    server.before_request = lambda request: seen.append(request.headers.get("authorization", ""))  # type: ignore[func-returns-value]
    return seen


def test_the_key_is_sent_and_no_other(local: Project, chat_server: Server) -> None:
    (local.folder / ".env").write_text(f"LOCAL_API_KEY={KEY}\n")
    chat_server.key = KEY
    seen = seen_headers(chat_server)
    printed = local.run(RUN)
    assert answered(local) == 1
    assert set(seen) == {f"Bearer {KEY}"}
    assert KEY not in printed and files_with_key(local.folder) == []


def test_without_a_key_openais_is_not_sent(local: Project, chat_server: Server) -> None:
    seen = seen_headers(chat_server)
    local.run(RUN)
    assert set(seen) == {"Bearer none"}


def files_with_key(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".env")
    return [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "error", ["Unauthorized", {"message": "no key"}, {"detail": f"wrong: Bearer {KEY}"}, None, [7]]
)
def test_a_refused_key(
    local: Project, chat_server: Server, monkeypatch: pytest.MonkeyPatch, status: int, error: Any
) -> None:
    reply_always(chat_server, Reply(status, {"error": error}))
    assert "needs a key: set LOCAL_API_KEY in .env" in local.run(RUN, expect=1)
    monkeypatch.setenv("LOCAL_API_KEY", KEY)
    printed = local.run(RUN, expect=1)
    assert "refused the key: check LOCAL_API_KEY in .env" in printed
    assert KEY not in printed and files_with_key(local.folder) == []


@pytest.mark.parametrize("status", [200, 400, 422, 429, 500])
def test_a_key_in_an_error_is_hidden(
    local: Project, chat_server: Server, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", KEY)
    chat_server.key = KEY
    replies = iter([None])  # to the probe
    said = {"error": {"message": f"no {KEY}", "code": KEY, "more": [{"header": f"Bearer {KEY}"}]}}
    chat_server.before_request = lambda request: next(replies, Reply(status, said))
    printed = local.run(RUN, expect=3)
    assert KEY not in printed and files_with_key(local.folder) == []


def test_a_very_short_key_does_not_garble_messages(
    local: Project, chat_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", "e")
    reply_always(chat_server, Reply(400, {"error": {"message": "The response_format is not supported here"}}))
    assert "The response_format is not supported here" in local.run(RUN, expect=1)


def test_a_key_in_the_settings_is_refused(local: Project) -> None:
    config = local.folder / "config.yaml"
    config.write_text(config.read_text() + f"LOCAL_API_KEY: {KEY}\n")
    printed = local.run(RUN, expect=1)
    assert "LOCAL_API_KEY is a secret" in printed and "move it to .env" in printed and KEY not in printed


def test_a_key_that_cannot_be_sent(local: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_API_KEY", f"{KEY}é")
    printed = local.run(RUN, expect=1)
    assert "of LOCAL_API_KEY (from environment) is invalid" in printed and KEY not in printed


# Parameters


def seen_bodies(server: Server) -> list[dict[str, Any]]:
    """The requests. Parameters that OpenAI does not have are taken out before they are checked."""
    seen: list[dict[str, Any]] = []

    def before(request: Request) -> Reply:
        seen.append(json.loads(request.body))
        known = {name: value for name, value in seen[-1].items() if name not in ("chat_template_kwargs", "top_k")}
        return Reply(*server.answer(known | {"max_tokens": 10_000}))

    server.before_request = before
    return seen


def test_request_params_are_sent(local: Project, chat_server: Server) -> None:
    params = {"mine*": {"chat_template_kwargs": {"enable_thinking": False}, "temperature": 0.5, "top_k": 1}}
    local.configure(PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine-8b", REQUEST_PARAMS=params)
    seen = seen_bodies(chat_server)
    local.run(RUN)
    assert [body["max_tokens"] for body in seen] == [1, 1024]
    assert all(params["mine*"].items() <= body.items() for body in seen)
    provenance = local.document("extraction", "a")["provenance"][0]
    assert provenance["params"] == {**params["mine*"], "max_tokens": 1024}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_only_one_limit_of_tokens_is_sent(local: Project, chat_server: Server, name: str) -> None:
    local.configure(
        PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine", REQUEST_PARAMS={"*": {name: 300}}
    )
    seen = seen_bodies(chat_server)
    local.run(RUN)
    limits = [{key: value for key, value in body.items() if key.startswith("max_")} for body in seen]
    assert limits == [{name: 1}, {name: 300}]


def test_another_answer_format(local: Project, chat_server: Server) -> None:
    """The judge's format is made for each request, unless another one is set."""
    usual = chat_server.answer
    formats: dict[str, Any] = {}

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return usual(body | {"response_format": formats["sent"], "max_tokens": 10_000})

    def before(request: Request) -> Reply | None:
        body = json.loads(request.body)
        if body["response_format"] == {"type": "json_object"}:
            return Reply(*answer(body))
        return None

    local.run(RUN)
    schema = json.loads((Path(__file__).parents[1] / "pipeline" / "stages" / "schemas" / "judge.json").read_text())
    formats["sent"] = {"type": "json_schema", "json_schema": {"name": "dataset_judgement", "schema": schema}}
    chat_server.before_request = before
    local.configure(
        PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine",
        REQUEST_PARAMS={"*": {"response_format": {"type": "json_object"}}},
    )  # fmt: skip
    assert "1 ok" in local.run("run_batch.py --process judge --wait")


# Proxies

PROXIES = [
    {"HTTP_PROXY": "http://127.0.0.1:9"}, {"http_proxy": "http://127.0.0.1:9"}, {"https_proxy": "http://127.0.0.1:9"},
    {"ALL_PROXY": "socks5://127.0.0.1:9"}, {"all_proxy": "socks5h://127.0.0.1:9"}, {"all_proxy": "nonsense://x"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("proxies", "host"),
    [*((proxies, "127.0.0.1") for proxies in PROXIES), *((PROXIES[3], host) for host in ("localhost", "0.0.0.0"))],
)
def test_this_machine_is_asked_without_a_proxy(
    local: Project, chat_server: Server, monkeypatch: pytest.MonkeyPatch, proxies: dict[str, str], host: str
) -> None:
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    url = chat_server.url.replace("127.0.0.1", host)
    local.configure(PROVIDER="local", LOCAL_BASE_URL=url, LOCAL_MODEL="mine")
    local.run(RUN)
    assert answered(local) == 1


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://localhost:8000/v1", True), ("http://LOCALHOST./v1", True), ("http://a.localhost/v1", True),
     ("http://127.8.8.8/v1", True), ("https://[::1]:80/v1", True), ("http://[::ffff:127.0.0.1]/v1", True),
     ("http://192.168.0.1/v1", False), ("http://localhost.example.org/v1", False), ("http://127.example.org", False),
     ("http://[::2]/v1", False), ("nonsense", False)],
)  # fmt: skip
def test_which_urls_are_here(url: str, here: bool) -> None:
    assert is_here(url) == here


def complete(url: str, key: str | None = None) -> tuple[int, dict[str, Any]]:
    with chat_completer(url, key, FastClock()) as completer:
        return completer({"model": "mine"})


def test_an_unreachable_server_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ProviderError, match="NO_PROXY"):
        complete("http://chat.invalid/v1")
    with pytest.raises(ProviderError) as raised:
        complete("http://127.0.0.1:9/v1")
    assert "PROXY" not in str(raised.value) and "check that the server runs" in str(raised.value)


def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:9")
    with pytest.raises(ConfigError, match="ALL_PROXY"):
        complete("http://chat.invalid/v1")


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://localhost/v1", "http://", "http://localhost:x/v1", "x"])
def test_a_url_that_is_none(local: Project, url: str) -> None:
    local.configure(PROVIDER="local", LOCAL_BASE_URL=url, LOCAL_MODEL="mine")
    assert "of LOCAL_BASE_URL (from config.yaml) is invalid" in local.run(RUN, expect=1)
