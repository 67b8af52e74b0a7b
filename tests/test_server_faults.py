"""Each fault of the test server does what its name says, as the official client sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch
from server import Server
from server_faults import (
    BREAKS,
    FAULTS,
    big_output,
    create_times_out_after_creating,
    file_not_found_for_a_while,
    rate_limited,
)
from server_spec import Json
from test_server import ask, content_of, polled, row, submit

IDS = [f"r-{n}" for n in range(6)]
FILE = b"".join(map(row, IDS))


def ended(client: OpenAI, **more: Any) -> Batch:
    """A new batch of six requests, after it has ended."""
    return polled(client, submit(client, FILE, **more))


def lines_of(client: OpenAI, file_id: str | None) -> list[bytes] | None:
    return client.files.content(file_id).content.split(b"\n")[:-1] if file_id else None


def line_counts(client: OpenAI, batch: Batch) -> tuple[int | None, int | None]:
    """The number of lines of the output and of the error file; None if the file does not exist."""
    output, error = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
    return None if output is None else len(output), None if error is None else len(error)


def result_rows(client: OpenAI, batch: Batch) -> list[Json]:
    files = [lines_of(client, file_id) or [] for file_id in (batch.output_file_id, batch.error_file_id)]
    return [json.loads(line) for lines in files for line in lines]


def tried(call: Callable[[], object]) -> str:
    """The result of a call: ok, or the name of its error."""
    try:
        call()
    except openai.OpenAIError as error:
        return type(error).__name__
    return "ok"


# Result files


@pytest.mark.parametrize(
    ("name", "status", "first", "second"),
    [
        ("duplicated_rows", "completed", (12, None), (12, None)),
        ("unknown_custom_ids", "completed", (10, None), (10, None)),
        ("missing_rows", "completed", (4, None), (6, None)),
        ("error_null_status_400", "completed", (4, 2), (6, None)),
        ("completed_without_output_file", "completed", (None, 6), (6, None)),
        ("empty_error_file", "completed", (6, 0), (6, 0)),
        ("expired_rest_in_neither_file", "expired", (3, None), (6, None)),
        ("expired_rest_in_error_file", "expired", (3, 3), (6, None)),
        ("cancelled_half_way", "cancelled", (3, 3), (6, None)),
    ],
)
def test_rows_in_the_result_files(
    server: Server, client: OpenAI, name: str, status: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    FAULTS[name](server)
    batches = [ended(client), ended(client)]
    assert [batch.status for batch in batches] == [status, "completed"]
    assert [line_counts(client, batch) for batch in batches] == [first, second]
    assert server.attempts == server.seen == dict.fromkeys(IDS, 2)


def test_unknown_and_invalid_lines(server: Server, client: OpenAI) -> None:
    FAULTS["unknown_custom_ids"](server)
    first, *rows, last = lines_of(client, ended(client).output_file_id) or []
    with pytest.raises(ValueError):
        json.loads(first)
    assert json.loads(last) == ["not", "an object"]
    ids = [json.loads(line)["custom_id"] for line in rows]
    assert ids[:2] == ["unknown-id", f"extraction-{'0123456789abcdef' * 2}-0-1"]
    assert sorted(ids[2:]) == IDS


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("error_null_status_400", 400, "invalid_request_error"),
        ("completed_without_output_file", 500, "server_error"),
    ],
)
def test_rows_that_failed(server: Server, client: OpenAI, name: str, status: int, kind: str) -> None:
    FAULTS[name](server)
    batch = ended(client)
    bad = [each for each in result_rows(client, batch) if each["response"]["status_code"] != 200]
    assert {(each["error"], each["response"]["status_code"]) for each in bad} == {(None, status)}
    assert {each["response"]["body"]["error"]["type"] for each in bad} == {kind}
    assert batch.request_counts and batch.request_counts.failed == len(bad)


@pytest.mark.parametrize("name", ["expired_rest_in_neither_file", "expired_rest_in_error_file", "cancelled_half_way"])
def test_lines_that_were_not_run_are_not_counted(server: Server, client: OpenAI, name: str) -> None:
    FAULTS[name](server)
    batch = ended(client)
    assert batch.request_counts and batch.request_counts.to_dict() == {"total": 6, "completed": 3, "failed": 0}
    codes = {each["error"]["code"] for each in result_rows(client, batch) if each["error"]}
    assert codes == (set() if "neither" in name else {f"batch_{batch.status}"})


def test_string_bodies(server: Server, client: OpenAI) -> None:
    FAULTS["error_null_status_400"](server)
    FAULTS["string_bodies"](server)
    bodies = [json.loads(each["response"]["body"]) for each in result_rows(client, ended(client))]
    assert sorted("error" in body for body in bodies) == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("form", "datasets"),
    [("dataset_extraction", None), ("dataset_reasoning", ["A Survey", "B Survey"])],
)
def test_raw_line_separators(server: Server, client: OpenAI, form: str, datasets: list[str] | None) -> None:
    FAULTS["raw_line_separators"](server)
    batch = polled(client, submit(client, row("a", ask(name=form, datasets=datasets))))
    (line,) = lines_of(client, batch.output_file_id) or []
    assert all(mark.encode() in line for mark in BREAKS) and len(line.decode().splitlines()) > 3
    assert all(mark in json.dumps(content_of(json.loads(line)), ensure_ascii=False) for mark in BREAKS)


def test_big_output(server: Server, client: OpenAI) -> None:
    big_output(server, size=1_000_000)
    batch = ended(client)
    assert batch.output_file_id and 1_000_000 <= client.files.retrieve(batch.output_file_id).bytes < 1_050_000
    rows = result_rows(client, batch)
    assert sorted(each["custom_id"] for each in rows) == IDS
    assert all(content_of(each)["data_mentions"] for each in rows)


# The statuses of a batch, and how it is shown


def test_validation_failure(server: Server, client: OpenAI) -> None:
    FAULTS["validation_failure"](server)
    failed, whole = ended(client), ended(client)
    assert (failed.status, failed.output_file_id, whole.status) == ("failed", None, "completed")
    assert (
        failed.errors
        and failed.errors.data
        and failed.errors.data[0].to_dict().items()
        >= {
            ("code", "invalid_request"),
            ("line", 1),
        }
    )
    assert (server.attempts, server.seen) == (dict.fromkeys(IDS, 1), dict.fromkeys(IDS, 2))


def test_small_queue(server: Server, client: OpenAI) -> None:
    FAULTS["small_queue"](server)
    whole = submit(client, FILE)
    assert whole.status == "validating"
    whole = client.batches.retrieve(whole.id)
    assert whole.status == "failed" and whole.errors and whole.errors.data
    assert whole.errors.data[0].code == "token_limit_exceeded"
    assert f"Limit: {server.queue_limit} enqueued tokens" in (whole.errors.data[0].message or "")
    assert not server.attempts
    parts = [submit(client, *map(row, IDS[at : at + 2])) for at in (0, 2, 4)]
    assert [polled(client, part).status for part in parts] == ["completed", "failed", "failed"]
    assert polled(client, submit(client, row("r-9"))).status == "completed"
    assert server.attempts == {"r-0": 1, "r-1": 1, "r-9": 1} and server.seen["r-5"] == 2


def test_the_queue_is_counted_per_model_until_a_batch_has_ended(server: Server, client: OpenAI) -> None:
    server.queue_limit = sum(len(message["content"]) for message in ask()["messages"]) // 4
    first = submit(client, row("a"))
    second, other = submit(client, row("b")), submit(client, row("c", ask(model="gpt-5-mini")))
    assert [polled(client, each).status for each in (second, other, first)] == ["failed", "completed", "completed"]
    assert polled(client, submit(client, row("b"))).status == "completed"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("null_counts", "request_counts"), ("metadata_dropped", "metadata")],
)
def test_fields_that_are_null(server: Server, client: OpenAI, name: str, shown: str) -> None:
    FAULTS[name](server)
    batch = submit(client, FILE, metadata={"process": "extraction"})
    both = [batch, client.batches.retrieve(batch.id), *client.batches.list()]
    assert [getattr(each, shown) for each in both] == [None] * 3
    assert server.batches[batch.id].info[shown]
    server.behave()
    assert getattr(client.batches.retrieve(batch.id), shown)


def test_strange_statuses(server: Server, client: OpenAI) -> None:
    FAULTS["strange_statuses"](server)
    batch = submit(client, FILE)
    polls = [client.batches.retrieve(batch.id).status for _ in range(3)]
    assert [batch.status, *polls] == ["VALIDATING", "IN_PROGRESS", "PROGRESS", "COMPLETED"]
    assert [each.status for each in client.batches.list()] == ["COMPLETED"]


def test_output_file_late(server: Server, client: OpenAI) -> None:
    FAULTS["output_file_late"](server)
    batch = ended(client)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert line_counts(client, client.batches.retrieve(batch.id)) == (6, None)


def test_uuid_ids(server: Server, client: OpenAI) -> None:
    FAULTS["numbers_of_batches_with_uuid_ids"](server)
    batch = ended(client)
    assert [len(each or "") for each in (batch.id, batch.input_file_id, batch.output_file_id)] == [36] * 3


# Requests and replies


def create(client: OpenAI, file_id: str, **more: Any) -> Batch:
    return client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def test_file_not_found_for_a_while(server: Server, client: OpenAI) -> None:
    file_not_found_for_a_while(server, refusals=2)
    file = client.files.create(file=("a.jsonl", FILE), purpose="batch")
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match="Cannot find file"):
            create(client, file.id)
    assert not server.batches
    assert create(client, file.id).status == "validating"


def test_connection_resets(server: Server, client: OpenAI) -> None:
    def upload() -> object:
        return client.files.create(file=("a.jsonl", FILE), purpose="batch")

    FAULTS["connection_resets"](server)
    assert [tried(upload) for _ in range(4)] == ["APIConnectionError", "ok", "ok", "APIConnectionError"]
    assert len(server.files) == 3  # the last was handled
    file_id = next(iter(server.files))
    assert [tried(lambda: create(client, file_id)) for _ in range(2)] == ["APIConnectionError", "ok"]
    assert len(server.batches) == 2  # the reply to the first was cut off
    batch_id = next(iter(server.batches))
    assert [tried(lambda: client.batches.retrieve(batch_id)) for _ in range(2)] == ["APIConnectionError", "ok"]
    assert [tried(lambda: client.files.content(file_id)) for _ in range(2)] == ["APIConnectionError", "ok"]


def test_rate_limited(server: Server, client: OpenAI) -> None:
    rate_limited(server, seconds=0.01)
    client.models.list()
    with pytest.raises(openai.RateLimitError) as caught:
        submit(client, FILE)
    assert caught.value.response.headers["retry-after"] == "0.01" and not server.files
    patient = client.with_options(max_retries=1)
    assert line_counts(patient, ended(patient)) == (6, None)


def test_create_times_out_after_creating(server: Server, client: OpenAI) -> None:
    create_times_out_after_creating(server, seconds=0.4)
    file = client.files.create(file=("a.jsonl", FILE), purpose="batch")
    assert tried(lambda: create(client, file.id, timeout=0.2)) == "APITimeoutError"
    assert [batch.id for batch in client.batches.list()] == list(server.batches)
    assert tried(lambda: create(client, file.id)) == "ok"


def test_create_times_out_with_a_reset(server: Server, client: OpenAI) -> None:
    create_times_out_after_creating(server, seconds=0)
    assert tried(lambda: submit(client, FILE)) == "APIConnectionError"
    assert len(server.batches) == 1


def test_create_gateway_error_after_creating(server: Server, client: OpenAI) -> None:
    FAULTS["create_gateway_error_after_creating"](server)
    with pytest.raises(openai.InternalServerError) as caught:
        submit(client, FILE)
    assert caught.value.status_code == 504
    assert [batch.id for batch in client.batches.list()] == list(server.batches)
    assert tried(lambda: submit(client, FILE)) == "ok"


def test_list_lags(server: Server, client: OpenAI) -> None:
    FAULTS["list_lags"](server)
    assert tried(lambda: submit(client, FILE)) == "InternalServerError"
    assert [len(client.batches.list().data) for _ in range(3)] == [0, 0, 1]


def test_another_key(server: Server, client: OpenAI) -> None:
    batch = ended(client)
    FAULTS["another_key"](server)
    calls: list[Callable[[], object]] = [
        lambda: client.batches.retrieve(batch.id),
        lambda: client.files.retrieve(batch.input_file_id),
        lambda: client.files.content(batch.output_file_id or ""),
    ]
    assert [tried(call) for call in calls] == ["NotFoundError"] * 3
    assert client.batches.list().data == []
    server.behave()
    assert [tried(call) for call in calls] == ["ok"] * 3


@pytest.mark.parametrize("name", FAULTS)
def test_behave_removes_a_fault(server: Server, client: OpenAI, name: str) -> None:
    FAULTS[name](server)
    server.behave()
    batch = ended(client)
    assert (batch.status, line_counts(client, batch)) == ("completed", (6, None))
    assert FAULTS[name].__doc__


def test_faults_can_be_combined(server: Server, client: OpenAI) -> None:
    for name in ("duplicated_rows", "missing_rows", "string_bodies", "empty_error_file", "null_counts"):
        FAULTS[name](server)
    batch = ended(client)
    assert (batch.request_counts, line_counts(client, batch)) == (None, (8, 0))
    assert all(isinstance(each["response"]["body"], str) for each in result_rows(client, batch))
