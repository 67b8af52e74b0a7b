"""Replies with the status 200 that are not what was asked for, and servers that are silent."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import server_faults
from conftest import Project
from server import Reply, Request, Server
from test_providers import is_create, replies

from pipeline.notice import noticed
from pipeline.providers.openai import list_batches

RUN = "run_batch.py --process extraction"
GET = "retrieve_results.py --process extraction"
PAGE = "We use the Korvian Household Survey."


@pytest.fixture
def three(project: Project, server: Server) -> Project:
    """Three pages, each in a batch of its own, that have ended."""
    server.polls_to_complete = 0
    project.configure(MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", *(f"{PAGE} {number}" for number in range(3)))
    return project


def statuses(project: Project) -> list[str]:
    return list(project.document("extraction", "a")["page_status"].values())


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"error": {"message": "No.", "type": "invalid_request_error", "code": None, "param": None}}),
        Reply(200, {"error": {"message": "No.", "code": 400}}),
        Reply(200, {"error": {"message": "No.", "code": "invalid_api_key"}}),
    ],
)
def test_a_refusal_with_status_200_is_a_refusal(project: Project, server: Server, reply: Reply) -> None:
    replies(server, is_create, reply)
    project.paper("a.pdf", PAGE)
    printed = project.run(RUN, expect=1)
    assert "--resolve" not in printed and ("No." in printed or "refused the key" in printed)
    project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered"] and set(server.seen.values()) == {1}


@pytest.mark.parametrize(
    "body",
    [{"id": None}, {"id": ""}, {"object": "batch"}, {}, {"id": 7}, {"error": None}, {"error": "?"}, [], "ok", None],
)
def test_a_create_without_an_id_can_be_settled(three: Project, server: Server, body: object) -> None:
    """No batch was created. The other batches are collected, and one --resolve is enough."""
    three.run(f"{RUN} --pages 1")
    text = Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
    replies(server, is_create, text)
    assert "--resolve 2 lost" in three.run(RUN, expect=3)
    assert "1 ok" in three.run(GET, expect=3), "the first batch is not held up"
    three.run(GET, expect=3)
    assert statuses(three).count("answered") == 2, "nor is the third"
    assert "--resolve 2" in three.run("batch_status.py", expect=3)
    three.run("batch_status.py --resolve 2 lost")
    three.run("run_batch.py --process all")
    assert statuses(three) == ["answered"] * 3 and set(server.seen.values()) == {1}


def test_states_that_older_versions_left_can_be_settled(three: Project, server: Server) -> None:
    three.run(RUN)
    three.run(GET)
    three.paper("b.pdf", f"{PAGE} 4", f"{PAGE} 5")
    server.before_request = lambda request: Reply(500, b"", cut=0) if is_create(request) else None
    three.run(RUN, expect=3)
    with sqlite3.connect(three.output / "ledger.sqlite") as ledger:
        ledger.execute("UPDATE batch SET state = 'submitted', batch_id = NULL, status = 'none' WHERE id = 4")
        ledger.execute("UPDATE batch SET state = 'uploaded', file_id = 'None' WHERE id = 5")
        ledger.execute("PRAGMA user_version=5")
    ledger.close()
    server.behave()
    assert "--resolve 4" in three.run(RUN, expect=3)
    three.run("batch_status.py --resolve 4 lost")
    three.run(f"{RUN} --wait")
    assert [*three.document("extraction", "b")["page_status"].values()] == ["answered"] * 2
    assert set(server.seen.values()) == {1}


def test_one_batch_without_a_status_does_not_hold_up_the_others(three: Project, server: Server) -> None:
    three.run(RUN)
    first = next(iter(server.batches))
    html = Reply(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    server.before_request = lambda request: html if request.path.endswith(first) else None
    assert "no reply" in three.run("batch_status.py", expect=4)
    printed = three.run(GET, expect=3)
    assert "2 ok" in printed and "does not reply like the OpenAI API" in printed
    server.behave()
    three.run(GET)
    assert statuses(three) == ["answered"] * 3


def broken_download(server: Server, change: object) -> None:
    server_faults._change_downloads(server, 10**6, change)  # type: ignore[arg-type]


def test_an_incomplete_download_is_never_paid_again(three: Project, server: Server) -> None:
    """Whatever command is run, the answers are not asked again. Later stages do not run on nothing."""
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    three.run(RUN)
    server_faults.half_a_download(server, times=10**6)
    for _ in range(3):
        assert "are incomplete" in three.run(GET, expect=1)
    printed = three.run("run_batch.py --process all", expect=1)
    assert "are incomplete" in printed and "--resolve 1 lost" in printed
    assert sum(server.attempts.values()) == 3 and not (three.output / "judge").exists()
    server.behave()
    three.run(f"{GET} --wait")
    assert statuses(three) == ["answered"] * 3 and set(server.attempts.values()) == {1}


def test_a_half_written_file_on_disk_is_downloaded_again(three: Project, server: Server) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    three.run(RUN)
    (batch_id,) = server.batches
    path = three.output / "batches" / "extraction" / f"{batch_id}.output.jsonl"
    content = server.files[server.batches[batch_id].info["output_file_id"]][1]
    path.write_bytes(content[: len(content) // 3])
    assert "3 ok" in three.run(GET)
    assert path.read_bytes() == content and set(server.attempts.values()) == {1}


def test_what_can_be_read_of_incomplete_results_is_kept(three: Project, server: Server) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    three.run(RUN)
    server_faults.half_a_download_without_length(server, times=10**6)
    three.run(GET, expect=1)
    assert "answers that can be read were collected" in three.run("batch_status.py --resolve 1 lost")
    server.behave()
    three.run(f"{RUN} --wait")
    assert statuses(three) == ["answered"] * 3
    assert sorted(server.attempts.values()) == [1, 1, 1, 1, 1], "the two that could not be read were asked again"


def test_complete_results_cannot_be_given_up(three: Project, server: Server) -> None:
    three.run(RUN)
    assert "is not lost" in three.run("batch_status.py --resolve 1 lost", expect=1)


def test_a_list_that_never_ends_is_read_once(three: Project, server: Server, client: object) -> None:
    three.run(RUN)
    server_faults.endless_list(server)
    assert [one["id"] for one in list_batches(client)] == [*server.batches][::-1]  # type: ignore[arg-type]


def test_a_silent_server_is_given_up(project: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two silences, not after eight. The user is shown what is waited for."""
    monkeypatch.setattr("pipeline.providers.openai.SILENCE", 0.2)
    monkeypatch.setattr("pipeline.providers.openai.NOTICE_AFTER", 0.1)
    project.paper("a.pdf", PAGE)
    project.run(RUN)

    def mute(request: Request) -> Reply | None:
        time.sleep(0.6)
        return None

    server.before_request = mute
    before = len(server.requests)
    printed = project.run(GET, expect=1)
    assert f"Still waiting for {server.url}: the status of batch_" in printed
    assert f"Cannot reach {server.url}" in printed
    assert len(server.requests) - before == 2


def test_the_notice_is_printed_once_and_only_if_it_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    with noticed("waiting", 5):
        pass
    with noticed("still waiting", 0.01):
        time.sleep(0.2)
    assert capsys.readouterr().err == "still waiting\n"


@pytest.mark.parametrize("error", [{"param": "riots", "code": "odd"}, {"param": None, "code": None}])
def test_a_page_that_is_refused_does_not_stop_the_others(
    project: Project, server: Server, error: dict[str, str | None], tmp_path: Path
) -> None:
    """Evidence decides, not words: other pages were answered."""
    usual = server.answer
    server.answer = lambda body: (
        (400, {"error": {"message": "not this", "type": "x", **error}}) if "riots" in str(body) else usual(body)
    )
    project.paper("a.pdf", PAGE, f"{PAGE} On riots.", f"{PAGE} 3")
    printed = project.run("run_batch.py --process all", expect=3)
    assert statuses(project) == ["answered", "failed:api_error", "answered"]
    assert "Fix REQUEST_PARAMS" not in printed and (project.output / "reasoning" / "a.json").exists()
    # Alone in a batch, it is refused like "all" requests of it. The model has answered others, so it is the page.
    assert "Fix REQUEST_PARAMS" not in project.run(f"{RUN} --again failed --wait", expect=3)


def test_the_same_refusal_of_all_requests_stops_the_run(three: Project, server: Server) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    server.answer = lambda body: (400, {"error": {"message": "never", "type": "x", "param": None, "code": None}})
    printed = three.run("run_batch.py --process all", expect=3)
    assert "3 requests were refused: never" in printed and not (three.output / "judge").exists()


def test_an_endless_answer_is_not_sent_to_the_judge(project: Project, server: Server) -> None:
    usual = server.answer

    def answer(body: dict[str, object]) -> tuple[int, dict[str, object]]:
        status, said = usual(body)
        if said["choices"][0]["finish_reason"] == "length":  # the test request
            return status, said
        content = json.loads(said["choices"][0]["message"]["content"])
        if "data_mentions" in content and "zebras" in str(body):
            content["data_mentions"] *= 150
        if "data_mentions" in content and "giraffes" in str(body):
            content["data_mentions"][0]["mentioned_in"] *= 100_000
        said["choices"][0]["message"]["content"] = json.dumps(content)
        return status, said

    server.answer = answer
    project.paper("a.pdf", PAGE, f"{PAGE} On zebras.", f"{PAGE} On giraffes.")
    printed = project.run("run_batch.py --process all", expect=3)
    assert statuses(project) == ["answered", "failed:too_long", "failed:too_long"]
    assert "2 pages of extraction failed" in printed
    failures = (project.output / "failures" / "extraction.jsonl").read_text()
    assert "150 mentions, more than MAX_MENTIONS_PER_PAGE allows" in failures


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(404, {"error": {"code": "DeploymentNotFound", "message": "This deployment takes batches only."}}),
        Reply(404, {"error": {"code": "model_not_found", "message": "Not for chat."}}),
        Reply(400, {"error": {"code": "OperationNotSupported", "message": "Chat does not work with this model."}}),
        Reply(400, {"error": {"code": "invalid_value", "param": "max_completion_tokens", "message": "At least 256."}}),
        Reply(403, {"error": {"code": None, "message": "No synchronous requests with this key."}}),
        Reply(400, {"error": {"message": "Could not finish the message: the output limit was reached."}}),
    ],
)
def test_a_test_request_does_not_stop_what_a_batch_takes(project: Project, server: Server, refusal: Reply) -> None:
    server.before_request = lambda request: refusal if request.path.endswith("/chat/completions") else None
    project.paper("a.pdf", PAGE)
    printed = project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered"]
    is_silent = (refusal.status == 404 and "Deployment" in str(refusal.body)) or "output limit" in str(refusal.body)
    assert ("A test request was refused" in printed) != is_silent


def test_a_test_request_never_asks_for_a_complete_answer(project: Project, server: Server) -> None:
    limits: list[object] = []
    usual = server.answer

    def answer(body: dict[str, object]) -> tuple[int, dict[str, object]]:
        limits.append(body.get("max_completion_tokens"))
        return usual(body)

    server.answer = answer
    project.configure(REQUEST_PARAMS={})
    project.paper("a.pdf", PAGE)
    project.run(f"{RUN} --wait")
    assert limits == [16, None]


def test_without_sizes_and_counts_several_downloads_decide(three: Project, server: Server) -> None:
    """Rows that are missing in every download are missing. Those that a later download has are not asked again."""
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    server_faults.null_counts(server)
    server_faults.half_a_download_of_unknown_size(server)
    three.run(RUN)
    three.run(f"{GET} --wait")
    assert statuses(three) == ["answered"] * 3 and set(server.attempts.values()) == {1}
    three.paper("b.pdf", *(f"{PAGE} {number}" for number in range(3, 9)))
    server.behave()
    server_faults.null_counts(server)
    server_faults.missing_rows(server)
    server_faults.half_a_download_of_unknown_size(server, times=0)
    three.configure(MAX_REQUESTS_PER_BATCH=6)
    three.run(f"{RUN} --wait")
    assert [*three.document("extraction", "b")["page_status"].values()] == ["answered"] * 6


@pytest.mark.parametrize("kind", ["timeout", "upstream_error", "bad_gateway", "overloaded_error", None])
def test_an_unclear_error_of_a_create_is_no_refusal(three: Project, server: Server, kind: str | None) -> None:
    """The batch was created. The reply, with the status 200, does not say that it was not."""
    said = Reply(200, {"error": {"message": "Something happened.", "type": kind, "code": kind}})
    server.before_response = lambda request, reply: said if is_create(request) else reply
    three.run(RUN)
    server.behave()
    three.run(f"{RUN} --wait")
    assert statuses(three) == ["answered"] * 3 and set(server.attempts.values()) == {1}


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
@pytest.mark.parametrize("counts", [None, {"total": 3, "completed": 0, "failed": 0}])
def test_files_that_are_named_late_are_waited_for(
    three: Project, server: Server, status: str, counts: dict[str, int] | None
) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    server.finish = lambda batch: (status, None)
    usual = server.show
    late = {"output_file_id": None, "error_file_id": None, "request_counts": counts}
    server.show = lambda batch: usual(batch) | (late if batch.polls < 2 else {})
    three.run(RUN)
    three.run(f"{GET} --wait")
    assert statuses(three) == ["answered"] * 3 and set(server.attempts.values()) == {1}


@pytest.mark.parametrize("refusal", [403, 405, 501, 500])
def test_without_information_about_files_answers_are_collected(three: Project, server: Server, refusal: int) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    server_faults.missing_rows(server)
    error = Reply(refusal, {"error": {"message": "No.", "type": "x", "code": None, "param": None}})
    is_info = lambda one: one.path.startswith("/v1/files/") and not one.path.endswith("/content")  # noqa: E731
    server.before_request = lambda request: error if request.method == "GET" and is_info(request) else None
    three.run(RUN)
    assert "of 3 rows arrived" in three.run(GET, expect=1)
    three.run("batch_status.py --resolve 1 lost")
    three.run(f"{RUN} --wait")
    assert statuses(three) == ["answered"] * 3


def test_an_error_file_that_is_gone_does_not_take_the_answers_with_it(three: Project, server: Server) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    usual, first = server.run_line, []

    def run(batch: Any, custom_id: str, body: Any) -> Any:
        row = usual(batch, custom_id, body)
        if not first:
            first.append(custom_id)
            row["response"] |= {"status_code": 500, "body": {"error": {"message": "oh", "code": "server_error"}}}
        return row

    server.run_line = run
    three.run(RUN)
    del server.files[next(iter(server.batches.values())).info["error_file_id"]]
    assert "does not have its errors file any more" in three.run(GET, expect=1)
    assert "answers that can be read were collected" in three.run("batch_status.py --resolve 1 lost")
    three.run(f"{RUN} --wait")
    assert statuses(three) == ["answered"] * 3 and sum(server.attempts.values()) == 4


def test_an_incomplete_copy_is_kept_until_there_is_a_better_one(three: Project, server: Server) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    three.run(RUN)
    server_faults.half_a_download_without_length(server, times=10**6)
    three.run(GET, expect=1)
    (batch,) = server.batches.values()
    del server.files[batch.info["output_file_id"]]
    three.run(GET, expect=3)
    assert "answers that can be read were collected" in three.run("batch_status.py --resolve 1 lost")
    server.behave()
    three.run(f"{RUN} --wait")
    assert statuses(three) == ["answered"] * 3 and sum(server.attempts.values()) == 5


def test_a_batch_can_always_be_given_up(three: Project, server: Server) -> None:
    three.configure(MAX_REQUESTS_PER_BATCH=3)
    three.run(RUN)
    never = Reply(503, {"error": {"message": "later", "type": "x", "code": None, "param": None}})
    server.before_request = lambda request: never if request.path.endswith("/content") else None
    three.run(GET, expect=1)
    assert "--resolve 1 abandon" in three.run("batch_status.py --resolve 1 lost", expect=1)
    three.run("batch_status.py --resolve 1 abandon")
    server.behave()
    three.run(f"{RUN} --wait")
    assert statuses(three) == ["answered"] * 3


def test_one_batch_does_not_hold_up_cancelling_and_cleaning(three: Project, server: Server) -> None:
    server.polls_to_complete = 10**6
    three.run(RUN)
    first = next(iter(server.batches))
    html = Reply(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    server.before_request = lambda request: html if first in request.path else None
    printed = three.run("batch_status.py --cancel all", expect=1)
    assert printed.count(" is cancelling") == 2 and "1 batch was not cancelled" in printed
    server.behave()
    server.polls_to_complete = 0
    three.run(f"{RUN} --wait")
    kept = Reply(200, {"id": "x", "object": "file", "deleted": False})
    server.before_request = lambda request: kept if request.method == "DELETE" else None
    printed = three.run("batch_status.py --clean-remote")
    assert "was not deleted" in printed and "Deleted the files of 0 batches" in printed


def test_refusals_are_judged_when_all_batches_are_known(three: Project, server: Server) -> None:
    """The first of three batches has one request, which is refused. The others are answered."""
    usual = server.answer
    refused = {"error": {"message": "not this", "type": "x", "param": "odd", "code": None}}
    server.answer = lambda body: (400, refused) if f"{PAGE} 0" in str(body) else usual(body)
    printed = three.run("run_batch.py --process all", expect=3)
    assert statuses(three) == ["failed:api_error", "answered", "answered"]
    assert "Fix REQUEST_PARAMS" not in printed and (three.output / "judge" / "a.json").exists()


def test_a_batch_is_not_recorded_twice(three: Project, server: Server) -> None:
    """A server that gives every batch the same id."""
    first: list[Reply] = []

    def same(request: Request, reply: Reply) -> Reply:
        if is_create(request) and isinstance(reply.body, dict):
            first.append(Reply(200, reply.body | {"input_file_id": None}))
            return first[0]
        return reply

    server.before_response = same
    assert "is another batch of yours" in three.run(RUN, expect=3)


def test_what_is_spent_is_known_without_usage(three: Project, server: Server) -> None:
    usual = server.answer

    def answer(body: Any) -> tuple[int, Any]:
        status, said = usual(body)
        return status, {name: value for name, value in said.items() if name != "usage"}

    server.answer = answer
    three.run(f"{RUN} --wait")
    usage = three.document("extraction", "a")["usage"]["extraction"]
    assert usage["prompt_tokens"] > 1000 and usage["cost_usd"] > 0


def test_no_key_in_what_a_server_says_about_batches(three: Project, server: Server) -> None:
    server.answer = lambda body: (400, {"error": {"message": f"bad {server.key}", "type": "x", "code": "odd"}})
    printed = three.run(f"{RUN} --wait", expect=3)
    problem = {"code": "invalid", "message": f"who is {server.key}", "line": 1, "param": None}
    server.refuse = lambda batch: [problem]
    three.paper("b.pdf", f"{PAGE} 9")
    printed += three.run(f"{RUN} --wait", expect=3)
    assert "bad ***" in printed and "who is ***" in printed
    saved = b"".join(
        path.read_bytes() for path in three.output.rglob("*") if path.is_file() and "batches" not in path.parts
    )
    assert server.key not in printed and server.key.encode() not in saved
