"""Faults of real batch servers. Each function of `FAULTS` installs one on a running server.

They can be combined. Of those that end the first batch, the one installed last decides. `Server.behave` removes all.
A client that repeats its requests gets all answers in the end, or a permanent error to report.

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

BREAKS = "\u2028", "\u2029", "\u0085"  # splitlines() splits at them, and JSON allows them unescaped
CREATE = ("POST", "/v1/batches")
UPLOAD = ("POST", "/v1/files")

Fault = TypeVar("Fault", bound=Callable[..., None])


def _fault(install: Fault) -> Fault:
    FAULTS[install.__name__] = install
    return install


# How a fault is added to what the server already does


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
    """A function that tells whether a batch is the first one that it was called with."""
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
    """Every row of the result files occurs twice."""
    _change_rows(server, lambda batch, rows: {name: those * 2 for name, those in rows.items()})


@_fault
def unknown_custom_ids(server: Server) -> None:
    """The output file has rows with unknown ids, a line that is not JSON, and one that is not an object."""

    def add(files: dict[str, bytes]) -> dict[str, bytes]:
        if not files.get("output"):
            return files
        row = json.loads(files["output"].partition(b"\n")[0])
        ids = ["unknown-id", f"extraction-{'0123456789abcdef' * 2}-0-1"]
        strange = json_lines(row | {"custom_id": custom_id} for custom_id in ids)
        return files | {"output": b"this is not JSON\n" + strange + files["output"] + b'["not", "an object"]\n'}

    _change_files(server, add)


@_fault
def missing_rows(server: Server) -> None:
    """In the first batch that ends, every third row is in neither file."""
    is_first = _only_first()

    def drop(batch: Batch, rows: Rows) -> Rows:
        kept = {name: [row for n, row in enumerate(those) if n % 3] for name, those in rows.items()}
        return kept if is_first(batch) else rows

    _change_rows(server, drop)


def _fail_rows_of_first(server: Server, every: int, reply: Reply) -> None:
    """In the first batch that ends, one of `every` lines is answered with `reply`."""
    is_first, numbers, usual = _only_first(), itertools.count(), server.run_line

    def run(batch: Batch, custom_id: str, body: Json) -> Json:
        row = usual(batch, custom_id, body)
        if is_first(batch) and next(numbers) % every == 0:
            row["response"] |= {"status_code": reply.status, "body": reply.body}
        return row

    server.run_line = run


@_fault
def error_null_status_400(server: Server) -> None:
    """In the first batch that ends, every third line fails with `error: null` and the status 400."""
    _fail_rows_of_first(server, 3, _error(400, "The request could not be processed.", "invalid_request_error"))


@_fault
def completed_without_output_file(server: Server) -> None:
    """The first batch that ends is completed with all lines in the error file, with the status 500."""
    _fail_rows_of_first(server, 1, _error(500, "The server had an error.", "server_error", "server_error"))


@_fault
def string_bodies(server: Server) -> None:
    """`response.body` is JSON in a string, in answers and errors."""

    def pack(batch: Batch, rows: Rows) -> Rows:
        return {name: [_with_string_body(row) for row in those] for name, those in rows.items()}

    _change_rows(server, pack)


def _with_string_body(row: Json) -> Json:
    if not row["response"]:
        return row
    return row | {"response": row["response"] | {"body": json.dumps(row["response"]["body"])}}


@_fault
def empty_error_file(server: Server) -> None:
    """There is an error file of 0 bytes besides the output file."""
    _change_files(server, lambda files: {"error": b"", **files} if "output" in files else files)


@_fault
def raw_line_separators(server: Server) -> None:
    """The free text of answers has unescaped U+2028, U+2029 and U+0085."""
    usual = server.answer

    def answer(body: Json) -> tuple[int, Json]:
        status, said = usual(body)
        for message in [choice["message"] for choice in said.get("choices", ())]:
            if (message["content"] or "").endswith("}"):  # otherwise it was cut off, or is a refusal
                message["content"] = json.dumps(_with_breaks(json.loads(message["content"])), ensure_ascii=False)
        return status, said

    server.answer = answer


def _with_breaks(value: Json) -> Json:
    """The answer, with line separators in the free text of its datasets and verdicts."""
    broken = "one{}two{}three{}four".format(*BREAKS)
    for mention in value.get("data_mentions", ()):
        for dataset in mention["datasets"]:
            dataset["data_type"] = broken
    for verdict in value.get("verdicts", ()):
        verdict |= {field: broken for field in ("analysis", "reason") if verdict.get(field)}
    return value


@_fault
def big_output(server: Server, size: int = 300_000_000) -> None:
    """An output file has about `size` bytes, in an extra key of each `response.body`."""

    def pad(files: dict[str, bytes]) -> dict[str, bytes]:
        output = files.get("output", b"")
        padding = b"x" * (size // max(1, output.count(b"\n")))
        # It occurs once in a row, because a quotation mark inside a JSON string is escaped.
        padded = output.replace(b'"body": {', b'"body": {"padding": "' + padding + b'", ')
        return files | {"output": padded} if output else files

    _change_files(server, pad)


# The life of a batch


def _end_first(server: Server, status: str) -> None:
    is_first, usual = _only_first(), server.finish
    server.finish = lambda batch: (status, len(batch.lines) // 2) if is_first(batch) else usual(batch)


@_fault
def expired_rest_in_neither_file(server: Server) -> None:
    """The first batch that ends expires half-way. Lines that were not run are in no file and are not counted."""
    _end_first(server, "expired")

    def forget(batch: Batch, rows: Rows) -> Rows:
        return rows | {"error": [row for row in rows["error"] if row["response"]]}

    _change_rows(server, forget)


@_fault
def expired_rest_in_error_file(server: Server) -> None:
    """The first batch that ends expires half-way. Lines that were not run are in the error file."""
    _end_first(server, "expired")


@_fault
def cancelled_half_way(server: Server) -> None:
    """The first batch that ends was cancelled half-way. Lines that were not run are in the error file."""
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
    """The queue has room for this share of the first batch that is created. Batches that need more room fail."""
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
    """The metadata of a batch is null."""
    _change_shown(server, lambda batch, info: info | {"metadata": None})


@_fault
def strange_statuses(server: Server) -> None:
    """Statuses are in upper case: IN_PROGRESS, PROGRESS (which OpenAI does not have), COMPLETED."""
    server.polls_to_complete = max(3, server.polls_to_complete)

    def rename(batch: Batch, info: Json) -> Json:
        running = info["status"] in ("in_progress", "finalizing")
        status = "PROGRESS" if running and batch.polls > 1 else info["status"].upper()
        return info | {"status": status}

    _change_shown(server, rename)


@_fault
def output_file_late(server: Server) -> None:
    """The `output_file_id` of a batch is missing in the first poll after its end."""
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
def file_not_found_for_a_while(server: Server, refusals: int = 3) -> None:
    """So many attempts to create a batch from a file fail, as if the uploaded file were not known everywhere yet."""
    refused: Counter[str] = Counter()

    def refuse(request: Request) -> Reply | None:
        file_id = json.loads(request.body).get("input_file_id") if _is(request, CREATE) else None
        if file_id is None or refused[file_id] >= refusals:
            return None
        refused[file_id] += 1
        return _error(400, f"Cannot find file {file_id}.", "invalid_request_error")

    _change_request(server, refuse)


@_fault
def connection_resets(server: Server) -> None:
    """Of each kind of request the first, fourth, ... is reset: in turn before, after, and during its reply.

    Before means that the request is not handled. What is asked about a model is only for a warning, and is left alone.
    """
    asked: Counter[tuple[str, ...]] = Counter()
    resets, fates = itertools.count(), dict[int, int]()

    def before(request: Request) -> Reply | None:
        kind = (request.method, *[part for part in request.path.split("/") if part.isalpha()])
        kind = (*kind, str(request.path.count("/")))
        if "models" in kind:
            return None
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
    """Every second request gets a 429 and is not handled. `seconds`: the value of `Retry-After`."""
    numbers = itertools.count(1)

    def refuse(request: Request) -> Reply | None:
        if next(numbers) % 2:
            return None
        reply = _error(429, "Rate limit reached. Please try again.", "requests", "rate_limit_exceeded")
        return replace(reply, headers={"Retry-After": str(seconds)})

    _change_request(server, refuse)


def _lose_creates(server: Server, times: int, lose: Callable[[], Reply]) -> None:
    """The first creates are handled, but get the reply of `lose`."""
    numbers = itertools.count()

    def change(request: Request, reply: Reply) -> Reply:
        handled = _is(request, CREATE) and reply.status == 200
        return lose() if handled and next(numbers) < times else reply

    _change_reply(server, change)


@_fault
def create_times_out_after_creating(server: Server, seconds: float = 2, times: int = 1) -> None:
    """The first create is handled. Its reply is delayed by so many seconds, then the connection is reset."""

    def lose() -> Reply:
        time.sleep(seconds)
        return Reply(500, b"", cut=0)

    _lose_creates(server, times, lose)


@_fault
def create_gateway_error_after_creating(server: Server, times: int = 1) -> None:
    """The first create is handled, but gets a gateway's 504."""
    _lose_creates(
        server, times, lambda: Reply(504, b"<html>504 Gateway Time-out</html>", {"Content-Type": "text/html"})
    )


@_fault
def create_gets_another_reply(server: Server, times: int = 3) -> None:
    """The first creates are handled. The replies, with the status 200: an error, a page of HTML, a list of batches."""
    error = {"error": {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}}
    html = Reply(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    replies = itertools.cycle([Reply(200, error), html, Reply(302, b"", {"Location": "/v1/batches"})])
    _lose_creates(server, times, lambda: next(replies))


@_fault
def create_is_refused_with_status_200(server: Server, times: int = 2) -> None:
    """The first creates are not handled. Their reply is an error with the status 200."""
    numbers = itertools.count()
    reply = _error(200, "Rate limit reached. Please try again.", "requests", "rate_limit_exceeded")
    _change_request(server, lambda request: reply if _is(request, CREATE) and next(numbers) < times else None)


@_fault
def upload_without_an_id(server: Server, times: int = 1) -> None:
    """The first uploads are handled, but their replies have no id."""
    numbers = itertools.count()

    def change(request: Request, reply: Reply) -> Reply:
        is_meant = _is(request, UPLOAD) and reply.status == 200 and next(numbers) < times
        return Reply(200, {"object": "file"}) if is_meant else reply

    _change_reply(server, change)


def _change_downloads(server: Server, times: int, change: Callable[[bytes], Reply]) -> None:
    """The first downloads of each result file get another reply."""
    asked: Counter[str] = Counter()

    def changed(request: Request, reply: Reply) -> Reply:
        if not request.path.endswith("/content") or reply.status != 200 or not isinstance(reply.body, bytes):
            return reply
        asked[request.path] += 1
        return change(reply.body) if asked[request.path] <= times else reply

    _change_reply(server, changed)


@_fault
def page_instead_of_a_file(server: Server, times: int = 2) -> None:
    """The first downloads of a file get a page of HTML, with the status 200."""
    _change_downloads(
        server, times, lambda body: Reply(200, b"<html>\n<p>Sign in</p></html>\n", {"Content-Type": "text/html"})
    )


@_fault
def empty_download(server: Server, times: int = 2) -> None:
    """The first downloads of a file are empty."""
    _change_downloads(server, times, lambda body: Reply(200, b""))


@_fault
def half_a_download(server: Server, times: int = 2) -> None:
    """The first downloads of a file end in the middle of it, with a Content-Length that agrees."""
    _change_downloads(server, times, lambda body: Reply(200, body[: len(body) // 2]))


@_fault
def half_a_download_without_length(server: Server, times: int = 2) -> None:
    """The first downloads of a file end after some of its lines, without Content-Length."""

    def half(body: bytes) -> Reply:
        lines = body.splitlines(keepends=True)
        return Reply(200, b"".join(lines[: len(lines) // 2]), {"Content-Length": ""})

    _change_downloads(server, times, half)


@_fault
def half_a_download_of_unknown_size(server: Server, times: int = 2) -> None:
    """The same, and the server does not know the sizes of files."""

    def hide(request: Request, reply: Reply) -> Reply:
        is_file = request.method == "GET" and request.path.startswith("/v1/files/") and isinstance(reply.body, dict)
        return replace(reply, body=reply.body | {"bytes": 0}) if is_file and isinstance(reply.body, dict) else reply

    _change_reply(server, hide)
    half_a_download_without_length(server, times)


@_fault
def endless_list(server: Server) -> None:
    """The list of batches always says that there is more, and then gives the same page. Some creates get a 504."""

    def change(request: Request, reply: Reply) -> Reply:
        is_list = request.method == "GET" and request.path == "/v1/batches" and isinstance(reply.body, dict)
        return (
            replace(reply, body=reply.body | {"has_more": True}) if is_list and isinstance(reply.body, dict) else reply
        )

    def first_page(request: Request) -> Reply | None:
        if request.method == "GET" and request.path == "/v1/batches":
            request.query.pop("after", None)
        return None

    _change_request(server, first_page)
    _change_reply(server, change)
    create_gateway_error_after_creating(server, times=2)


@_fault
def status_is_no_batch(server: Server, times: int = 2) -> None:
    """The first times that a batch is asked for, the reply is a page of HTML, null, or another batch."""
    asked: Counter[str] = Counter()
    html = Reply(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})
    replies = itertools.cycle(
        [html, Reply(200, b"null", {"Content-Type": "application/json"}), Reply(200, {"id": "batch_x"})]
    )

    def change(request: Request, reply: Reply) -> Reply:
        if request.method != "GET" or not request.path.startswith("/v1/batches/"):
            return reply
        asked[request.path] += 1
        return next(replies) if asked[request.path] <= times else reply

    _change_reply(server, change)


@_fault
def mute_for_a_while(server: Server, seconds: float = 90, times: int = 1) -> None:
    """The first requests of each kind are handled, but their replies come too late."""
    asked: Counter[tuple[str, int]] = Counter()

    def late(request: Request, reply: Reply) -> Reply:
        kind = request.method, request.path.count("/")
        asked[kind] += 1
        if asked[kind] <= times:
            time.sleep(seconds)
        return reply

    _change_reply(server, late)


@_fault
def list_lags(server: Server, calls: int = 2) -> None:
    """A batch is missing in the list for so many calls. The first create gets a 504, so that it is searched for."""
    asked: Counter[str] = Counter()
    usual = server.listed

    def listed(batch: Batch) -> bool:
        asked[batch.info["id"]] += 1
        return asked[batch.info["id"]] > calls and usual(batch)

    server.listed = listed
    create_gateway_error_after_creating(server)


@_fault
def another_key(server: Server) -> None:
    """All batches and files belong to another key: none is found and none is listed, until `Server.behave`."""

    def hide(request: Request) -> Reply | None:
        kind, _, name = request.path.removeprefix("/v1/").partition("/")
        if kind not in ("batches", "files") or not name:
            return None
        return _error(404, f"No {kind} found with id '{name}'.", "invalid_request_error")

    _change_request(server, hide)
    server.listed = lambda batch: False
