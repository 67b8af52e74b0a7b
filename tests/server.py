"""A local HTTP server with OpenAI's API for files, batches, chat completions and models. The tests send requests to it.

It answers from the page in the request, so all stages can be tested without a key. It checks every request and every
line of a batch file against the official specification (`openai_spec.json`) and against documented rules that are in
no schema. An invalid request is refused as the real API does, and recorded in `violations`.

    python tests/server.py --port 8000 --polls 3
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import random
import re
import socket
import struct
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema.exceptions import best_match
from server_answers import answer_from_page, completion
from server_batches import (
    ENDED,
    MONTH,
    Batch,
    Rows,
    batch_info,
    batch_usage,
    input_tokens,
    row_id,
    set_status,
    token_limit_error,
    unfinished,
    write_files,
)
from server_spec import (
    SPEC,
    ApiError,
    Breach,
    Json,
    check_chat,
    check_spec,
    load_json,
    read_form,
    read_query,
    validator,
)

MODELS = ("gpt-4o-mini", "gpt-4.1-mini", "gpt-5-mini", "gpt-5-nano", "gpt-5.4-nano", "gpt-6-luna")
CHAT = "/v1/chat/completions"
BLOCK = 65_536  # bytes written at a time, so that a download is a stream

_ROUTES = {
    ("POST", "/files"): "create_file",
    ("GET", "/files"): "list_files",
    ("GET", "/files/{file_id}"): "get_file",
    ("DELETE", "/files/{file_id}"): "delete_file",
    ("GET", "/files/{file_id}/content"): "get_content",
    ("POST", "/batches"): "create_batch",
    ("GET", "/batches"): "list_batches",
    ("GET", "/batches/{batch_id}"): "get_batch",
    ("POST", "/batches/{batch_id}/cancel"): "cancel_batch",
    ("POST", "/chat/completions"): "chat",
    ("GET", "/models"): "list_models",
    ("GET", "/models/{model}"): "get_model",
}


@dataclass
class Request:
    """One request. `data`: the parsed query, body or form. `upload`: the content of the file in the form."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    id: str = ""
    data: Json = field(default_factory=dict)
    upload: bytes = b""


@dataclass
class Reply:
    """One reply. `cut`: reset the connection after so many bytes of the body; 0: before sending anything."""

    status: int
    body: Json | bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Server:
    """The server: `with Server() as server: OpenAI(base_url=server.url, api_key=server.key)`.

    To make it misbehave, assign to one of the attributes that `behave` sets, or install one of `server_faults.FAULTS`.
    Tests look at `requests`, `violations`, `batches`, `files`, `attempts` (how often each custom id was in an accepted
    batch, which is what a provider bills) and `seen` (how often it was in any batch, rejected ones included).
    """

    def __init__(
        self,
        *,
        key: str = "sk-test",
        port: int = 0,
        polls_to_complete: int = 2,
        max_lines: int = 50_000,
        max_bytes: int = 200_000_000,
        seed: int = 0,
    ) -> None:
        self.key, self.models, self.polls_to_complete = key, set(MODELS), polls_to_complete
        self.max_lines, self.max_bytes = max_lines, max_bytes
        self.requests: list[tuple[str, str]] = []
        self.violations: list[str] = []
        self.attempts: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, tuple[Json, bytes]] = {}
        self.page_size: int | None = None  # the most batches on a page of the list, whatever the client asks for
        self.closed = False
        self.behave()
        self._random, self._lock = random.Random(seed), threading.RLock()
        self._http = _Http(port, self)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self._http.shutdown()
        self._http.server_close()

    def behave(self) -> None:
        """Set all hooks to the usual behaviour."""
        # The model's answer to a chat request: status and body.
        self.answer: Callable[[Json], tuple[int, Json]] = self.model_answer
        # If it returns a reply, that is sent, and the request is not handled.
        self.before_request: Callable[[Request], Reply | None] = lambda request: None
        # Changes, delays or cuts the reply to a request that was handled.
        self.before_response: Callable[[Request, Reply], Reply] = lambda request, reply: reply
        # Input tokens that may be queued for a model. A batch that exceeds it fails.
        self.queue_limit: int | None = None
        # Problems because of which a batch with a valid file fails nevertheless.
        self.refuse: Callable[[Batch], list[Json]] = self.over_queue
        # How a batch ends after its last poll: the status, and how many of its lines are run (None: all).
        self.finish: Callable[[Batch], tuple[str, int | None]] = lambda batch: ("completed", None)
        # The result row of one line. It decides the file and the counts.
        self.run_line: Callable[[Batch, str, Json], Json] = self.result_row
        # The result files by name (output, error), from their rows. The counts are not affected.
        self.result_files: Callable[[Batch, Rows], dict[str, bytes]] = write_files
        # How a batch is shown, and whether it is in the list.
        self.show: Callable[[Batch], Json] = lambda batch: batch.info
        self.listed: Callable[[Batch], bool] = lambda batch: True
        # A new id of a batch or a file, from its usual prefix.
        self.new_id: Callable[[str], str] = lambda prefix: f"{prefix}{uuid.uuid4().hex}"

    def handle(self, request: Request) -> Reply:
        """Handle a request."""
        return self._guarded(f"{request.method} {request.path}", lambda: self._route(request))

    def _guarded(self, where: str, work: Callable[[], Reply]) -> Reply:
        try:
            return work()
        except ApiError as error:
            self._note(where, error)
            return Reply(error.status, {"error": {"type": "invalid_request_error", **error.details}})

    def _note(self, where: str, error: ApiError) -> None:
        if isinstance(error, Breach):
            self.violations.append(f"{where}: {error}")

    def _route(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            raise ApiError("Incorrect API key provided.", "invalid_api_key", status=401)
        for (method, template), name in _ROUTES.items():
            match = re.fullmatch("/v1" + re.sub(r"{\w+}", "([^/]+)", template), request.path)
            if match and method == request.method:
                request.id = unquote("".join(match.groups()))
                self._read(request, SPEC["paths"].get(template, {}).get(method.lower(), {}))
                with contextlib.nullcontext() if name == "chat" else self._lock:
                    result: Reply | Json | bytes = getattr(self, name)(request)
                    return result if isinstance(result, Reply) else Reply(200, copy.deepcopy(result))
        raise Breach(f"Invalid URL ({request.method} {request.path})", "unknown_url", status=404)

    def _read(self, request: Request, operation: Json) -> None:
        """Parse the query and the body, and check them against the specification of the route."""
        request.data = read_query(operation, request.query)
        media = operation.get("requestBody", {}).get("content", {})
        kind = request.headers.get("content-type", "")
        if media and kind.partition(";")[0] not in media:
            raise Breach(f"Content-Type {kind!r} is invalid here")
        for name, content in media.items():
            try:
                if name == "multipart/form-data":
                    request.data, request.upload = read_form(kind, request.body)
                else:
                    request.data = load_json(request.body)
            except ValueError as error:
                raise Breach(f"We could not parse the body of your request: {error}") from error
            if request.path != CHAT:  # it has a faster check of its own
                check_spec(content["schema"]["$ref"].rpartition("/")[2], request.data)

    # Models and chat

    def list_models(self, request: Request) -> Json:
        return {"object": "list", "data": [self._model(name) for name in sorted(self.models)]}

    def get_model(self, request: Request) -> Json:
        return self._model(request.id)

    def _model(self, name: str) -> Json:
        if name not in self.models:
            raise ApiError(f"The model `{name}` does not exist.", "model_not_found", "model", 404)
        return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"}

    def chat(self, request: Request) -> Reply:
        return self._complete(request.data)

    def _complete(self, body: Json) -> Reply:
        check_chat(body)
        self._model(body["model"])
        return Reply(*self.answer(body))

    def model_answer(self, body: Json) -> tuple[int, Json]:
        """The default `answer`: made from the page, and checked against the schema in the request."""
        form = (body.get("response_format") or {}).get("json_schema")
        if not form:
            return 200, completion(body, "This server answers questions about datasets in pages.")
        content = answer_from_page(body)
        problem = best_match(validator(json.dumps(form.get("schema", {}))).iter_errors(content))
        if problem:
            self.violations.append(f"the answer does not match {form['name']!r}: {problem.message[:300]}")
        return 200, completion(body, json.dumps(content, ensure_ascii=False))

    # Files

    def create_file(self, request: Request) -> Json:
        name, purpose = request.data["file"], request.data["purpose"]
        if purpose == "batch" and not name.endswith(".jsonl"):
            raise Breach("Invalid file format for Batch API. Must be .jsonl", None, "file")
        seconds = request.data.get("expires_after", {}).get("seconds")
        return self._store(name, purpose, request.upload, seconds)

    def _store(self, filename: str, purpose: str, content: bytes, seconds: int | None) -> Json:
        now = int(time.time())
        info = {
            "id": self.new_id("file-"),
            "object": "file",
            "bytes": len(content),
            "created_at": now,
            "expires_at": now + seconds if seconds else None,
            "filename": filename,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
        }
        self.files[str(info["id"])] = info, content
        return info

    def _file(self, request: Request) -> tuple[Json, bytes]:
        if request.id not in self.files:
            raise ApiError(f"No such File object: {request.id}", None, "id", 404)
        return self.files[request.id]

    def get_file(self, request: Request) -> Json:
        return self._file(request)[0]

    def get_content(self, request: Request) -> bytes:
        return self._file(request)[1]

    def delete_file(self, request: Request) -> Json:
        del self.files[self._file(request)[0]["id"]]
        return {"id": request.id, "object": "file", "deleted": True}

    def list_files(self, request: Request) -> Json:
        wanted = request.data.get("purpose")
        infos = [info for info, _ in self.files.values() if wanted in (None, info["purpose"])]
        ordered = infos if request.data.get("order") == "asc" else infos[::-1]
        return {"first_id": None, "last_id": None, **_page(ordered, request.data, 10_000, 10_000)}

    # Batches

    def create_batch(self, request: Request) -> Json:
        wish = request.data
        info, content = self.files.get(wish["input_file_id"], ({}, b""))
        if info.get("purpose") != "batch":
            raise ApiError(f"No such batch file: {wish['input_file_id']}", None, "input_file_id")
        if wish["endpoint"] != CHAT:
            raise ApiError(f"{wish['endpoint']} is not supported", None, "endpoint")
        pairs = wish.get("metadata") or {}
        if len(pairs) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in pairs.items()):
            raise Breach("At most 16 pairs, keys of 64 and values of 512 characters", None, "metadata")
        batch = Batch(batch_info(self.new_id("batch_"), wish), *self.read_batch_file(content))
        batch.problems = batch.problems or self.refuse(batch)
        batch.lines = [] if batch.problems else batch.lines
        batch.keep_results = (wish.get("output_expires_after") or {}).get("seconds", MONTH)
        self.batches[batch.info["id"]] = batch
        self.attempts.update(custom_id for custom_id, _ in batch.lines)
        if self.polls_to_complete == 0:
            self._advance(batch)
        return self.show(batch)

    def over_queue(self, batch: Batch) -> list[Json]:
        """The default `refuse`: the problem of a new batch that would exceed `queue_limit`."""
        if self.queue_limit is None or not batch.lines:
            return []
        model = batch.lines[0][1]["model"]
        others = [each for each in self.batches.values() if each.lines and each.info["status"] not in ENDED]
        queued = sum(input_tokens(each.lines) for each in others if each.lines[0][1]["model"] == model)
        if queued + input_tokens(batch.lines) <= self.queue_limit:
            return []
        return [token_limit_error(model, self.queue_limit)]

    def read_batch_file(self, content: bytes) -> tuple[list[tuple[str, Json]], list[Json]]:
        """The (custom_id, body) of each line, and the problems. With problems there are no lines; the batch fails."""
        rows = content.removesuffix(b"\n").split(b"\n") if content else []
        lines: dict[str, Json] = {}
        problems: list[Json] = []
        for number, raw in enumerate([b"", *rows]):
            try:
                if number == 0:
                    self._check_file(len(rows), len(content))
                else:
                    custom_id, body = self._line(raw, lines)
                    lines[custom_id] = body
            except ApiError as error:
                self._note(f"line {number} of a batch file", error)
                problems.append({**error.details, "line": number or None})
        return ([] if problems else list(lines.items())), problems

    def _check_file(self, rows: int, size: int) -> None:
        if not rows:
            raise Breach("The batch file is empty.", "empty_file")
        if rows > self.max_lines:
            raise Breach(f"{rows} requests, where a batch takes {self.max_lines}.", "too_many_tasks")
        if size > self.max_bytes:
            raise Breach(f"{size} bytes, where a batch file may have {self.max_bytes}.", "file_too_large")

    def _line(self, raw: bytes, before: dict[str, Json]) -> tuple[str, Json]:
        try:
            row = load_json(raw)
        except ValueError as error:
            raise Breach(f"This line is not parseable as valid JSON: {error}", "invalid_json_line") from error
        check_spec("BatchRequestInput", row)
        self.seen[row["custom_id"]] += 1
        custom_id, body, model = row["custom_id"], row["body"], row["body"].get("model")
        if not custom_id or custom_id in before:
            raise Breach(f"The custom_id {custom_id!r} is empty or not unique.", "duplicate_custom_id")
        if row["url"] != CHAT:
            raise Breach(f"The url {row['url']!r} is not the batch's endpoint.", "url_mismatch", "url")
        if not isinstance(model, str) or model != next(iter(before.values()), body)["model"]:
            raise Breach("All requests of a batch must be for one model.", "model_mismatch", "body.model")
        if model not in self.models:
            raise ApiError(f"The model {model!r} does not exist.", "model_not_found", "body.model")
        return custom_id, body

    def list_batches(self, request: Request) -> Json:
        shown = [self.show(batch) for batch in self.batches.values() if self.listed(batch)]
        query = request.data
        if self.page_size:
            query = query | {"limit": min(query.get("limit", self.page_size), self.page_size)}
        return _page(shown[::-1], query, 20, 100)

    def get_batch(self, request: Request) -> Json:
        batch = self._batch(request.id)
        self._advance(batch)
        return self.show(batch)

    def cancel_batch(self, request: Request) -> Json:
        batch = self._batch(request.id)
        if batch.info["status"] in ENDED:
            raise ApiError(f"Cannot cancel a batch with status '{batch.info['status']}'.", status=409)
        set_status(batch, "cancelling")
        return self.show(batch)

    def _batch(self, batch_id: str) -> Batch:
        if batch_id not in self.batches:
            raise ApiError(f"No batch found with id '{batch_id}'.", status=404)
        return self.batches[batch_id]

    def _advance(self, batch: Batch) -> None:
        """Move a batch to its next status. Every poll is a step."""
        batch.polls += 1
        if batch.info["status"] in ENDED:
            return
        if batch.info["status"] == "cancelling":
            self.end(batch.info["id"], "cancelled", done=len(batch.lines) // 2)
        elif batch.problems:
            batch.info["errors"] = {"object": "list", "data": batch.problems}
            set_status(batch, "failed")
        elif batch.polls >= self.polls_to_complete:
            self.end(batch.info["id"], *self.finish(batch))
        else:
            late = 1 < batch.polls == self.polls_to_complete - 1
            set_status(batch, "finalizing" if late else "in_progress")

    def end(self, batch_id: str, status: str, done: int | None = None) -> None:
        """Run a batch, or `done` of its lines, and make it `completed`, `expired` or `cancelled`."""
        batch = self._batch(batch_id)
        order = self._random.sample(batch.lines, len(batch.lines))
        ran = [self.run_line(batch, custom_id, body) for custom_id, body in order[:done]]
        good = [row for row in ran if row["response"]["status_code"] == 200]
        bad = [row for row in ran if row["response"]["status_code"] != 200]
        late = [unfinished(custom_id, status) for custom_id, _ in order[len(ran) :]]
        batch.info["usage"] = batch_usage([row["response"]["body"].get("usage") or {} for row in good])
        batch.info["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        for name, content in self.result_files(batch, {"output": good, "error": bad + late}).items():
            file = self._store(f"{batch_id}_{name}.jsonl", "batch_output", content, batch.keep_results)
            batch.info[f"{name}_file_id"] = file["id"]
        set_status(batch, status)

    def result_row(self, batch: Batch, custom_id: str, body: Json) -> Json:
        """The default `run_line`: the reply that the request would get if it were sent alone."""
        reply = self._guarded(custom_id, lambda: self._complete(body))
        response = {"status_code": reply.status, "request_id": uuid.uuid4().hex, "body": reply.body}
        return {"id": row_id(), "custom_id": custom_id, "response": response, "error": None}


def _page(items: list[Json], query: Json, usual: int, most: int) -> Json:
    """One page of a list. The query has `after` and `limit`."""
    limit, after, ids = query.get("limit", usual), query.get("after"), [item["id"] for item in items]
    if not 1 <= limit <= most:
        raise Breach(f"limit is from 1 to {most}", "invalid_value", "limit")
    if after is not None and after not in ids:
        raise ApiError(f"No such object: {after}", None, "after")
    start = ids.index(after) + 1 if after is not None else 0
    page = items[start : start + limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    return {"object": "list", "data": page, **ends, "has_more": start + limit < len(items)}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, owner: Server) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may close the connection at any time. Any other error is a mistake in this server."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.owner.violations.append(f"the server itself failed: {error!r}")
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def do_GET(self) -> None:
        """Read one request of any method, log it and reply."""
        owner, url = self.server.owner, urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if owner.closed or len(body) < size:  # the connection outlived the server, or the client has died
            self.close_connection = True
            return
        owner.requests.append((self.command, url.path))
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        request = Request(self.command, url.path, query, headers, body)
        self._send(owner.before_response(request, owner.before_request(request) or owner.handle(request)))

    do_POST = do_DELETE = do_GET

    def _send(self, reply: Reply) -> None:
        raw = isinstance(reply.body, bytes)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"Content-Type": "application/octet-stream" if raw else "application/json"}
        headers |= {"Content-Length": str(len(content)), "x-request-id": uuid.uuid4().hex, **reply.headers}
        if not headers["Content-Length"]:  # the end of the connection is the end of the reply
            del headers["Content-Length"]
            self.close_connection = True
        if reply.cut != 0:
            self.send_response(reply.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
        sent = memoryview(content)[: reply.cut]
        for start in range(0, len(sent), BLOCK):
            self.wfile.write(sent[start : start + BLOCK])
        if reply.cut is not None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: `Server.requests` is the log."""


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server that answers from the page.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--polls", type=int, default=2, help="polls until a batch is completed (default: 2)")
    options = parser.parse_args(argv)
    with Server(port=options.port, polls_to_complete=options.polls) as server:
        print(f"OPENAI_BASE_URL={server.url} OPENAI_API_KEY={server.key}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
