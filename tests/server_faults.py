"""Misbehaviours seen on real batch servers: each of `FAULTS` installs one on a running server.

They can be combined, but for those that end the first batch: the one installed last decides. `Server.behave`
takes them all back. A patient client gets through in the end, or has a final failure to tell.

    small_queue(server)
    FAULTS["rate_limited"](server)
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from server import Reply, Request, Server
from server_batches import ENDED, Batch, Rows, input_tokens, json_lines
from server_spec import Json

FAULTS: dict[str, Callable[[Server], None]] = {}

BREAKS = "\u2028", "\u2029", "\u0085"  # what splitlines() splits at, and JSON takes unescaped
CREATE = ("POST", "/v1/batches")
UPLOAD = ("POST", "/v1/files")

Fault = TypeVar("Fault", bound=Callable[..., None])


def _fault(install: Fault) -> Fault:
    FAULTS[install.__name__] = install
    return install


# How a fault is put before or behind whatever the server does already


def _change_rows(server: Server, change: Callable[[Batch, Rows], Rows]) -> None:
    usual = server.result_files
    server.result_files = lambda batch, rows: usual(batch, change(batch, rows))


def _change_files(server: Server, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    usual = server.result_files
    server.result_files = lambda batch, rows: change(usual(batch, rows))


def _change_shown(server: Server, change: Callable[[Batch, Json], Json]) -> None:
    usual = server.show
    server.show = lambda batch: change(batch, usual(batch))


def _change_request(server: Server, answer: Callable[[Request], Reply | None]) -> None:
    usual = server.before_request
    server.before_request = lambda request: answer(request) or usual(request)


def _change_reply(server: Server, change: Callable[[Request, Reply], Reply]) -> None:
    usual = server.before_response
    server.before_response = lambda request, reply: change(request, usual(request, reply))


def _only_first() -> Callable[[Batch], bool]:
    """Whether a batch is the first one that this is asked about."""
    met: list[Batch] = []

    def is_first(batch: Batch) -> bool:
        if not met:
            met.append(batch)
        return met[0] is batch

    return is_first


def _is(request: Request, route: tuple[str, str]) -> bool:
    return (request.method, request.path) == route


def _error(status: int, message: str, kind: str, code: str | None = None) -> Reply:
    return Reply(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})


# Result files


@_fault
def duplicated_rows(server: Server) -> None:
    """Every row of the result files is there twice."""
    _change_rows(server, lambda batch, rows: {name: those * 2 for name, those in rows.items()})


@_fault
def unknown_custom_ids(server: Server) -> None:
    """The output file has rows for ids that nobody sent, a line that is no JSON, and one that is no object."""

    def add(files: dict[str, bytes]) -> dict[str, bytes]:
        if not files.get("output"):
            return files
        row = json.loads(files["output"].partition(b"\n")[0])
        ids = ["nobody-sent-this", f"extraction-{'0123456789abcdef' * 2}-0-1"]
        strange = json_lines(row | {"custom_id": custom_id} for custom_id in ids)
        return files | {"output": b"this is no JSON\n" + strange + files["output"] + b'["no", "object"]\n'}

    _change_files(server, add)


@_fault
def missing_rows(server: Server) -> None:
    """Of the first batch that ends, every third row is in neither file."""
    is_first = _only_first()

    def drop(batch: Batch, rows: Rows) -> Rows:
        kept = {name: [row for n, row in enumerate(those) if n % 3] for name, those in rows.items()}
        return kept if is_first(batch) else rows

    _change_rows(server, drop)


def _fail_rows_of_first(server: Server, every: int, reply: Reply) -> None:
    """Answer every so-manieth line of the first batch that ends with `reply`."""
    is_first, numbers, usual = _only_first(), itertools.count(), server.run_line

    def run(batch: Batch, custom_id: str, body: Json) -> Json:
        row = usual(batch, custom_id, body)
        if is_first(batch) and next(numbers) % every == 0:
            row["response"] |= {"status_code": reply.status, "body": reply.body}
        return row

    server.run_line = run


@_fault
def error_null_status_400(server: Server) -> None:
    """Every third line of the first batch that ends fails with `error: null` and the status 400."""
    _fail_rows_of_first(server, 3, _error(400, "The request could not be processed.", "invalid_request_error"))


@_fault
def completed_without_output_file(server: Server) -> None:
    """The first batch that ends is completed with all of its lines in the error file, as status 500."""
    _fail_rows_of_first(server, 1, _error(500, "The server had an error.", "server_error", "server_error"))


@_fault
def string_bodies(server: Server) -> None:
    """`response.body` is JSON in a string, for answers and errors alike."""

    def pack(batch: Batch, rows: Rows) -> Rows:
        return {name: [_with_string_body(row) for row in those] for name, those in rows.items()}

    _change_rows(server, pack)


def _with_string_body(row: Json) -> Json:
    if not row["response"]:
        return row
    return row | {"response": row["response"] | {"body": json.dumps(row["response"]["body"])}}


@_fault
def empty_error_file(server: Server) -> None:
    """There is an error file of 0 bytes beside an output file."""
    _change_files(server, lambda files: {"error": b"", **files} if "output" in files else files)


@_fault
def raw_line_separators(server: Server) -> None:
    """The answers have unescaped U+2028, U+2029 and U+0085 in their free text."""
    usual = server.answer

    def answer(body: Json) -> tuple[int, Json]:
        status, said = usual(body)
        for message in [choice["message"] for choice in said.get("choices", ())]:
            if (message["content"] or "").endswith("}"):  # else cut off at its budget, or a refusal
                message["content"] = json.dumps(_broken_up(json.loads(message["content"])), ensure_ascii=False)
        return status, said

    server.answer = answer


def _broken_up(value: Json) -> Json:
    """An answer with other free text in its datasets and verdicts."""
    broken = "one{}two{}three{}four".format(*BREAKS)
    for mention in value.get("data_mentions", ()):
        for dataset in mention["datasets"]:
            dataset["data_type"] = broken
    for verdict in value.get("verdicts", ()):
        verdict |= {field: broken for field in ("analysis", "invalid_reason") if verdict.get(field)}
    return value


@_fault
def big_output(server: Server, size: int = 300_000_000) -> None:
    """An output file has about `size` bytes, in an extra key of each `response.body`."""

    def pad(files: dict[str, bytes]) -> dict[str, bytes]:
        output = files.get("output", b"")
        padding = b"x" * (size // max(1, output.count(b"\n")))
        # Once in a row: a quotation mark inside of a JSON string is escaped.
        padded = output.replace(b'"body": {', b'"body": {"padding": "' + padding + b'", ')
        return files | {"output": padded} if output else files

    _change_files(server, pad)


# The life of a batch


def _end_first(server: Server, status: str) -> None:
    is_first, usual = _only_first(), server.finish
    server.finish = lambda batch: (status, len(batch.lines) // 2) if is_first(batch) else usual(batch)


@_fault
def expired_rest_in_neither_file(server: Server) -> None:
    """The first batch that ends expires half-way; what was not run is in no file, and not counted."""
    _end_first(server, "expired")

    def forget(batch: Batch, rows: Rows) -> Rows:
        return rows | {"error": [row for row in rows["error"] if row["response"]]}

    _change_rows(server, forget)


@_fault
def expired_rest_in_error_file(server: Server) -> None:
    """The first batch that ends expires half-way; what was not run is in the error file."""
    _end_first(server, "expired")


@_fault
def cancelled_half_way(server: Server) -> None:
    """The first batch that ends was cancelled half-way by somebody; what was not run is in the error file."""
    _end_first(server, "cancelled")


@_fault
def validation_failure(server: Server) -> None:
    """The first batch that is created fails because of its first line."""
    is_first, usual = _only_first(), server.refuse
    message = "The request on this line could not be read."
    problem = {"code": "invalid_request", "message": message, "line": 1, "param": None}
    server.refuse = lambda batch: [problem] if is_first(batch) else usual(batch)


@_fault
def small_queue(server: Server, share: float = 0.45) -> None:
    """The queue has room for this share of the first batch that is created, which fails with all that need more."""
    is_first, usual = _only_first(), server.refuse

    def refuse(batch: Batch) -> list[Json]:
        if is_first(batch):
            server.queue_limit = int(share * input_tokens(batch.lines))
        return usual(batch)

    server.refuse = refuse


# What is shown of a batch


@_fault
def null_counts(server: Server) -> None:
    """The counts of a batch are null."""
    _change_shown(server, lambda batch, info: info | {"request_counts": None})


@_fault
def metadata_dropped(server: Server) -> None:
    """The metadata of a batch are forgotten."""
    _change_shown(server, lambda batch, info: info | {"metadata": None})


@_fault
def strange_statuses(server: Server) -> None:
    """Statuses are in capitals: IN_PROGRESS, PROGRESS (which OpenAI doesn't have), COMPLETED."""
    server.polls_to_complete = max(3, server.polls_to_complete)

    def rename(batch: Batch, info: Json) -> Json:
        running = info["status"] in ("in_progress", "finalizing")
        status = "PROGRESS" if running and batch.polls > 1 else info["status"].upper()
        return info | {"status": status}

    _change_shown(server, rename)


@_fault
def output_file_late(server: Server) -> None:
    """A batch has ended for one poll before it has its `output_file_id`."""
    ended: dict[str, int] = {}

    def hide(batch: Batch, info: Json) -> Json:
        if batch.info["status"] not in ENDED or batch.polls > ended.setdefault(info["id"], batch.polls):
            return info
        return info | {"output_file_id": None}

    _change_shown(server, hide)


@_fault
def numbers_of_batches_with_uuid_ids(server: Server) -> None:
    """The ids of batches and files are bare UUIDs."""
    server.new_id = lambda prefix: str(uuid.uuid4())


# Requests and replies


@_fault
def file_not_found_for_a_while(server: Server, seconds: float = 3) -> None:
    """A batch cannot be created until so many seconds after the upload of its file."""
    uploaded: dict[str, float] = {}

    def note(request: Request, reply: Reply) -> Reply:
        if _is(request, UPLOAD) and isinstance(reply.body, dict) and reply.status == 200:
            uploaded[reply.body["id"]] = time.monotonic()
        return reply

    def refuse(request: Request) -> Reply | None:
        file_id = json.loads(request.body).get("input_file_id") if _is(request, CREATE) else None
        if file_id not in uploaded or time.monotonic() >= uploaded[file_id] + seconds:
            return None
        return _error(400, f"Cannot find file {file_id}.", "invalid_request_error")

    _change_reply(server, note)
    _change_request(server, refuse)


@_fault
def connection_resets(server: Server) -> None:
    """Of each kind of request the first, fourth, ... is reset: in turn unhandled, unanswered, amid its answer."""
    asked: Counter[tuple[str, ...]] = Counter()
    resets, fates = itertools.count(), dict[int, int]()

    def before(request: Request) -> Reply | None:
        kind = (request.method, *[part for part in request.path.split("/") if part.isalpha()])
        kind = (*kind, str(request.path.count("/")))
        asked[kind] += 1
        if asked[kind] % 3 == 1:
            fates[id(request)] = next(resets) % 3
        return Reply(500, b"", cut=0) if fates.get(id(request)) == 0 else None

    def after(request: Request, reply: Reply) -> Reply:
        fate = fates.pop(id(request), None)
        size = len(reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body))
        cut = {None: reply.cut, 0: 0, 1: 0, 2: max(1, size // 2)}[fate]
        return replace(reply, cut=cut)

    _change_request(server, before)
    _change_reply(server, after)


@_fault
def rate_limited(server: Server, seconds: float = 1) -> None:
    """Every second request is answered 429 and not handled; `Retry-After` says so many seconds."""
    numbers = itertools.count(1)

    def refuse(request: Request) -> Reply | None:
        if next(numbers) % 2:
            return None
        reply = _error(429, "Rate limit reached. Please try again.", "requests", "rate_limit_exceeded")
        return replace(reply, headers={"Retry-After": str(seconds)})

    _change_request(server, refuse)


def _lose_creates(server: Server, times: int, lose: Callable[[], Reply]) -> None:
    """The first so many creates are handled, and then answered with what `lose` makes."""
    numbers = itertools.count()

    def change(request: Request, reply: Reply) -> Reply:
        handled = _is(request, CREATE) and reply.status == 200
        return lose() if handled and next(numbers) < times else reply

    _change_reply(server, change)


@_fault
def create_times_out_after_making(server: Server, seconds: float = 2, times: int = 1) -> None:
    """The first create is handled; its answer is held back for so long, and then the connection is reset."""

    def lose() -> Reply:
        time.sleep(seconds)
        return Reply(500, b"", cut=0)

    _lose_creates(server, times, lose)


@_fault
def create_gateway_error_after_making(server: Server, times: int = 1) -> None:
    """The first create is handled, but answered with a gateway's 504."""
    _lose_creates(
        server, times, lambda: Reply(504, b"<html>504 Gateway Time-out</html>", {"Content-Type": "text/html"})
    )


@_fault
def list_lags(server: Server, calls: int = 2) -> None:
    """A batch is not in the list for so many calls; the first create is answered 504, so that it is looked for."""
    asked: Counter[str] = Counter()
    usual = server.listed

    def listed(batch: Batch) -> bool:
        asked[batch.info["id"]] += 1
        return asked[batch.info["id"]] > calls and usual(batch)

    server.listed = listed
    create_gateway_error_after_making(server)


@_fault
def another_key(server: Server) -> None:
    """Every batch and file is another key's: it cannot be got, and no batch is listed, until `Server.behave`."""

    def hide(request: Request) -> Reply | None:
        kind, _, name = request.path.removeprefix("/v1/").partition("/")
        if kind not in ("batches", "files") or not name:
            return None
        return _error(404, f"No {kind} found with id '{name}'.", "invalid_request_error")

    _change_request(server, hide)
    server.listed = lambda batch: False
