"""The test server behaves as the official API: tested with the official client."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch
from server import Reply, Request, Server
from server_answers import completion, dataset_names, extracted, labels, read_request, verdict
from server_spec import SPEC, Breach, Json, check_spec, load_json, strict_problems

PAGE = (
    "We use the Ghana Living Standards\nSurvey (GLSS) of 2017. The 2010 Population and Housing Census is older.\n"
    "No other data were used"
)
NAMES = ["Ghana Living Standards\nSurvey", "Population and Housing Census"]


def strict(**properties: Json) -> Json:
    """An object schema for the strict mode of structured outputs."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def array(items: Json) -> Json:
    return {"type": "array", "items": items}


TEXT: Json = {"type": "string"}
MAYBE: Json = {"anyOf": [TEXT, {"type": "null"}]}
VERDICT: Json = {"number": {"type": "integer"}, "reason": TEXT, "valid": {"type": "boolean"}}
NAMED = dict.fromkeys(["harmonized_name", "acronym", "producer", "year", "data_type", "geography"], MAYBE)
SCHEMAS = {
    "dataset_extraction": strict(
        data_mentions=array(
            strict(
                mentioned_in=TEXT,
                datasets=array(
                    strict(raw_name=TEXT, **NAMED, context=TEXT, specificity=TEXT, relevance=TEXT),
                ),
            )
        ),
    ),
    "dataset_judgement": strict(
        verdicts=array(
            strict(
                **VERDICT,
                note=MAYBE,
                context=TEXT,
                specificity=TEXT,
                corrections=array(strict(field=TEXT, value=MAYBE)),
            )
        )
    ),
    "dataset_reasoning": strict(
        strategy=TEXT,
        rubric=TEXT,
        verdicts=array(strict(analysis=TEXT, devils_advocate=TEXT, **VERDICT, context=MAYBE, specificity=MAYBE)),
    ),
}


def ask(page: str = PAGE, name: str = "dataset_extraction", datasets: list[str] | None = None, **more: Any) -> Json:
    """A request body about one page, in the pipeline's format."""
    rows = [json.dumps({"number": n, "raw_name": raw}) for n, raw in enumerate(datasets or [], 1)]
    shown = f"<page>\n{page}\n</page>"
    if datasets is not None:
        shown = "<datasets>\n" + "\n".join(rows) + "\n</datasets>\n" + shown
    form = {"name": name, "strict": True, "schema": SCHEMAS.get(name, strict())}
    return {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "Find datasets."}, {"role": "user", "content": shown}],
        "response_format": {"type": "json_schema", "json_schema": form},
        **more,
    }


def row(custom_id: str, body: Json | None = None, **more: Any) -> bytes:
    """One line of a batch file."""
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body or ask()}
    return json.dumps(line | more).encode() + b"\n"


def response_schema(method: str, path: str, status: int) -> str | None:
    """The name of the schema of a reply, or None if the specification has none."""
    for template, methods in SPEC["paths"].items():
        parts, given = template.split("/"), path.removeprefix("/v1").split("/")
        fits = len(parts) == len(given) and all(a == b or a[:1] == "{" for a, b in zip(parts, given, strict=True))
        if fits and method.lower() in methods:
            responses = methods[method.lower()]["responses"]
            content = responses.get(str(status), responses["default"])["content"]
            return content["application/json"]["schema"]["$ref"].rpartition("/")[2] if content else None
    return None


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose own replies are checked against the specification."""
    wrong: list[str] = []

    def checked(request: Request, reply: Reply) -> Reply:
        name = response_schema(request.method, request.path, reply.status)
        try:
            if name:
                check_spec(name, reply.body)
        except Breach as error:
            wrong.append(f"{request.method} {request.path}: {error}")
        return reply

    with Server() as running:
        running.before_response = checked
        yield running
    assert wrong == []


def submit(client: OpenAI, *lines: bytes, **more: Any) -> Batch:
    file = client.files.create(file=("part-00001.jsonl", b"".join(lines)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


def polled(client: OpenAI, batch: Batch) -> Batch:
    """The batch after it has ended."""
    for _ in range(10):
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        batch = client.batches.retrieve(batch.id)
    raise AssertionError(f"still {batch.status}")


def rows_of(client: OpenAI, file_id: str | None) -> dict[str, Json]:
    """The rows of a result file by custom id. Each is checked against the specification."""
    assert file_id
    rows = [json.loads(line) for line in client.files.content(file_id).content.split(b"\n")[:-1]]
    for result in rows:
        check_spec("BatchRequestOutput", result)
        if result["response"] and result["response"]["status_code"] == 200:
            check_spec("CreateChatCompletionResponse", result["response"]["body"])
    return {result["custom_id"]: result for result in rows}


def content_of(result: Json) -> Any:
    return json.loads(result["response"]["body"]["choices"][0]["message"]["content"])


# Files, batches, models


def test_a_batch_from_upload_to_results(server: Server, client: OpenAI) -> None:
    batch = submit(client, *[row(f"r-{n}") for n in range(30)], metadata={"process": "extraction"})
    assert (batch.status, batch.metadata) == ("validating", {"process": "extraction"})
    assert client.batches.retrieve(batch.id).status == "in_progress"
    done = client.batches.retrieve(batch.id)
    assert (done.status, done.error_file_id, done.model) == ("completed", None, "gpt-4o-mini")
    assert done.request_counts and done.request_counts.to_dict() == {
        "total": 30,
        "completed": 30,
        "failed": 0,
    }
    results = rows_of(client, done.output_file_id)
    assert list(results) != sorted(results) and sorted(results) == sorted(server.attempts)
    assert content_of(results["r-7"]) == extracted(PAGE)
    usage = [result["response"]["body"]["usage"] for result in results.values()]
    assert done.usage and done.usage.total_tokens == sum(each["total_tokens"] for each in usage) > 0
    assert server.violations == []
    assert server.requests[:2] == [("POST", "/v1/files"), ("POST", "/v1/batches")]


@pytest.mark.parametrize(
    ("polls", "statuses"),
    [
        (0, ["completed", "completed"]),
        (1, ["validating", "completed"]),
        (4, ["validating", "in_progress", "in_progress", "finalizing", "completed"]),
    ],
)
def test_each_poll_is_a_step(server: Server, client: OpenAI, polls: int, statuses: list[str]) -> None:
    server.polls_to_complete = polls
    batch = submit(client, row("a"))
    seen = [batch.status, *(client.batches.retrieve(batch.id).status for _ in statuses[1:])]
    assert seen == statuses


def test_results_are_shuffled_by_the_seed() -> None:
    orders = []
    for seed in (0, 0, 1):
        server = Server(seed=seed, polls_to_complete=0)
        with server, OpenAI(base_url=server.url, api_key=server.key) as client:
            batch = submit(client, *[row(f"r-{n}") for n in range(30)])
            orders.append(list(rows_of(client, batch.output_file_id)))
    assert orders[0] == orders[1] != orders[2]


def test_lists_are_paged_newest_first(server: Server, client: OpenAI) -> None:
    created = [submit(client, row("a")).id for _ in range(5)]
    first = client.batches.list(limit=2)
    assert ([batch.id for batch in first.data], first.has_more) == (created[:-3:-1], True)
    assert [batch.id for batch in client.batches.list(limit=2)] == created[::-1]
    rest = client.batches.list(after=created[1])
    assert ([batch.id for batch in rest.data], rest.has_more) == ([created[0]], False)
    assert len(client.files.list(purpose="batch", limit=10).data) == 5
    assert client.files.list(purpose="batch_output").data == []
    assert server.violations == []


def test_a_file_is_kept_byte_for_byte_until_deleted(server: Server, client: OpenAI) -> None:
    content = bytes(range(256)) * 1000 + b"\r\n--x\r\n"
    file = client.files.create(
        file=("a.jsonl", content), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (file.bytes, file.filename, file.expires_at) == (len(content), "a.jsonl", file.created_at + 3600)
    assert client.files.content(file.id).content == content
    assert client.files.retrieve(file.id) == file
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert server.violations == []


def test_models(server: Server, client: OpenAI) -> None:
    assert {model.id for model in client.models.list()} == server.models
    assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        client.models.retrieve("gpt-9")


def test_a_cancelled_batch_keeps_its_answers(server: Server, client: OpenAI) -> None:
    batch = submit(client, *[row(f"r-{n}") for n in range(10)])
    assert client.batches.cancel(batch.id).status == "cancelling"
    ended = client.batches.retrieve(batch.id)
    assert ended.status == "cancelled"
    assert len(rows_of(client, ended.output_file_id)) == 5
    late = rows_of(client, ended.error_file_id)
    assert {result["error"]["code"] for result in late.values()} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_an_expired_batch_counts_no_failures(server: Server, client: OpenAI) -> None:
    batch = submit(client, *[row(f"r-{n}") for n in range(10)])
    server.end(batch.id, "expired", done=1)
    ended = client.batches.retrieve(batch.id)
    assert ended.status == "expired" and ended.expired_at
    assert ended.request_counts and ended.request_counts.to_dict() == {
        "total": 10,
        "completed": 1,
        "failed": 0,
    }
    assert len(rows_of(client, ended.output_file_id)) == 1
    assert len(rows_of(client, ended.error_file_id)) == 9


def test_attempts_are_what_is_billed(server: Server, client: OpenAI) -> None:
    submit(client, row("a"), row("b"))
    submit(client, row("b"))
    submit(client, row("c"), row("c"))  # the batch fails, and costs nothing
    assert server.attempts == {"a": 1, "b": 2}


# What is refused


def test_a_wrong_key(server: Server) -> None:
    client = OpenAI(base_url=server.url, api_key="sk-wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert server.violations == []


def test_an_unknown_model(server: Server, client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**ask(model="gpt-9"))
    assert caught.value.code == "model_not_found"
    batch = polled(client, submit(client, row("a", ask(model="gpt-9"))))
    assert batch.status == "failed" and batch.errors and batch.errors.data
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == ("model_not_found", 1)
    assert server.violations == []


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "empty_file", None),
        (row("a") + b"{\n", "invalid_json_line", 2),
        (row("a") + b"\n" + row("b"), "invalid_json_line", 2),
        (b"\xef\xbb\xbf" + row("a"), "invalid_json_line", 1),
        (row("a").replace(b"Find", b"\xff"), "invalid_json_line", 1),
        (row("a").replace(b"Find", b"\\ud83d"), "invalid_json_line", 1),
        (row("a", ask(temperature=float("nan"))), "invalid_json_line", 1),
        (row("a") + row("b") + row("a"), "duplicate_custom_id", 3),
        (row(""), "duplicate_custom_id", 1),
        (row("a") + row("b", ask(model="gpt-5-mini")), "model_mismatch", 2),
        (row("a", url="/v1/responses"), "url_mismatch", 1),
        (row("a", method="GET"), "invalid_request", 1),
        (b'{"custom_id": "a"}\n', "invalid_request", 1),
        (b"".join(row(f"r-{n}") for n in range(7)), "too_many_tasks", None),
        (row("a" * 20_000), "file_too_large", None),
    ],
)
def test_a_bad_file_fails_the_batch(
    server: Server, client: OpenAI, content: bytes, code: str, line: int | None
) -> None:
    server.max_lines, server.max_bytes = 6, 20_000
    batch = polled(client, submit(client, content))
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.errors and batch.errors.data
    assert [(error.code, error.line) for error in batch.errors.data] == [(code, line)]
    assert len(server.violations) == 1
    assert not server.attempts


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"completion_window": "12h"}, "completion_window"),
        ({"endpoint": "/chat"}, "endpoint"),
        ({"metadata": {"n": 1}}, "metadata.n"),
        ({"metadata": {"key": "v" * 513}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "output_expires_after.seconds"),
    ],
)
def test_a_bad_create_is_a_violation(server: Server, client: OpenAI, wish: Json, param: str) -> None:
    file = client.files.create(file=("a.jsonl", row("a")), purpose="batch")
    given: Json = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **wish}
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(input_file_id=file.id, **given)
    assert caught.value.param == param
    assert len(server.violations) == 1 and "POST /v1/batches" in server.violations[0]


def test_other_bad_requests_are_violations(server: Server, client: OpenAI) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.batches.list(limit=101),
        lambda: client.batches.list(extra_query={"status": "completed"}),
        lambda: client.files.create(file=("a.jsonl", b""), purpose="batch-api"),  # type: ignore[arg-type]
        lambda: client.files.create(file=("a.txt", b""), purpose="batch"),
        lambda: client.post("/batches", body=[1], cast_to=object),
        lambda: client.post("/batches", content=b"{", cast_to=object),
        lambda: client.get("/nowhere", cast_to=object),
    ]
    for number, call in enumerate(calls, 1):
        with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
            call()
        assert len(server.violations) == number
    with pytest.raises(openai.BadRequestError):  # a file may have been deleted: the client is not wrong
        client.batches.create(input_file_id="file-gone", endpoint="/v1/chat/completions", completion_window="24h")
    assert len(server.violations) == len(calls)


BROKEN = [
    {"messages": []},
    {"messages": [{"role": "unknown", "content": "x"}]},
    {"temperature": 3},
    {"max_completion_tokens": "100"},
    {"reasoning_effort": "huge"},
    {"respons_format": {}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "no good", "schema": {}}}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {}}}},
    {"messages": ask(page="x")["messages"][1:]},
    {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "no page"}]},
    ask(name="dataset_judgment"),
    ask(name="dataset_judgement"),
    ask(name="dataset_extraction", datasets=["A Survey"]),
]


@pytest.mark.parametrize("change", BROKEN)
def test_a_broken_body_is_a_violation(server: Server, client: OpenAI, change: Json) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", body=ask() | change, cast_to=object)
    assert len(server.violations) == 1
    batch = polled(client, submit(client, row("good"), row("bad", ask() | change)))
    assert list(rows_of(client, batch.output_file_id)) == ["good"]
    assert rows_of(client, batch.error_file_id)["bad"]["response"]["status_code"] == 400
    assert len(server.violations) == 2


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": "gpt-5-mini", "max_tokens": 100}, "max_tokens", "unsupported_parameter"),
        ({"model": "gpt-6-luna", "temperature": 0}, "temperature", "unsupported_value"),
        ({"model": "gpt-4o-mini", "reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter"),
        ({"model": "gpt-4o-mini", "max_completion_tokens": 32_768}, "max_tokens", "invalid_value"),
        ({"stream": True}, "stream", "unsupported_parameter"),
    ],
)
def test_a_refused_parameter_fails_every_row(
    server: Server, client: OpenAI, change: Json, param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=ask() | change, cast_to=object)
    assert (caught.value.param, caught.value.code) == (param, code)
    batch = polled(client, submit(client, row("a", ask() | change), row("b", ask() | change)))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.request_counts and batch.request_counts.failed == 2
    for result in rows_of(client, batch.error_file_id).values():
        assert (result["error"], result["response"]["status_code"]) == (None, 400)
        check_spec("ErrorResponse", result["response"]["body"])
        assert result["response"]["body"]["error"]["code"] == code
    assert server.violations == []


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gpt-5-mini", "temperature": 1, "reasoning_effort": "low", "max_completion_tokens": 16_384},
        {"model": "gpt-5.4-nano", "temperature": 0, "reasoning_effort": "none"},
        {"temperature": 0, "max_tokens": 8192, "seed": 1, "metadata": {"a": "b"}, "store": None},
    ],
)
def test_parameters_that_are_accepted(server: Server, client: OpenAI, change: Json) -> None:
    assert client.chat.completions.create(**ask() | change).choices[0].finish_reason == "stop"
    assert server.violations == []


# Answers


def test_names_are_found_as_printed() -> None:
    assert dataset_names(PAGE) == NAMES
    assert dataset_names("The Demographic and Health\nSurveys (DHS) and the survey. A Survey.") == [
        "Demographic and Health\nSurveys"
    ]
    assert dataset_names("World Development Indicators. World Development Indicators") == [
        "World Development Indicators"
    ]
    assert dataset_names("the Big Panel Survey and the Small Census Data Set") == [
        "Big Panel Survey",
        "Small Census Data Set",
    ]
    assert dataset_names("Survey of Adults. Labor\n\nPanel. The Study. Household Survey-based") == []


def test_an_extraction_quotes_the_page() -> None:
    first, second = extracted(PAGE)["data_mentions"]
    assert first["mentioned_in"] == "We use the Ghana Living Standards\nSurvey (GLSS) of 2017."
    assert second["mentioned_in"] == "The 2010 Population and Housing Census is older.\nNo other data were used"
    assert [dataset["raw_name"] for dataset in first["datasets"] + second["datasets"]] == NAMES
    assert first["datasets"][0]["acronym"] == "GLSS" and second["datasets"][0]["acronym"] is None
    assert (first["datasets"][0]["year"], second["datasets"][0]["year"]) == ("2017", "2010")
    assert extracted("Nothing here.") == {"data_mentions": []}
    long = extracted("word " * 1000 + "Big Household Survey " + "word " * 1000)["data_mentions"][0]["mentioned_in"]
    assert "Big Household Survey" in long and len(long) <= 400
    shared = extracted("From the Big Survey and the Small Census.")["data_mentions"]
    assert [len(mention["datasets"]) for mention in shared] == [2]


@pytest.mark.parametrize("name", ["dataset_judgement", "dataset_reasoning"])
def test_verdicts_echo_the_numbers(server: Server, client: OpenAI, name: str) -> None:
    names = [f"{number} Survey" for number in range(1, 21)]
    body = ask(name=name, datasets=names)
    answers = [client.chat.completions.create(**body) for _ in range(2)]
    rows = [json.loads(answer.choices[0].message.content or "")["verdicts"] for answer in answers]
    assert rows[0] == rows[1] and [each["number"] for each in rows[0]] != list(range(1, 21))
    process = "judge" if name == "dataset_judgement" else "reasoning"
    for each in rows[0]:
        assert each == {"number": each["number"], **verdict(process, names[each["number"] - 1])}
    assert server.violations == []


@pytest.mark.parametrize("process", ["extraction", "judge", "reasoning"])
def test_every_class_and_verdict_occurs(process: str) -> None:
    names = [f"Survey {number}" for number in range(40)]
    assert {tuple(len({labels(process, name)[key] for name in names}) for key in labels(process, names[0]))} == {
        (3, 3, 3)
    }
    if process != "extraction":
        verdicts = [verdict(process, name) for name in names]
        assert {each["valid"] for each in verdicts} == {True, False}
        assert all(each["reason"] for each in verdicts)


def test_a_page_may_contain_the_tags() -> None:
    page = "a\n</page>\n<datasets>\n{}\n</datasets>\n<page>\nb"
    assert read_request(ask(page)) == ("extraction", page, [])
    named = ["x\n</datasets>\n<page>\ny"]
    process, shown, datasets = read_request(ask(page, "dataset_judgement", named))
    assert (process, shown, datasets) == ("judge", page, [{"number": 1, "raw_name": named[0]}])


def test_an_answer_is_cut_off_at_its_limit(server: Server, client: OpenAI) -> None:
    whole = client.chat.completions.create(**ask())
    cut = client.chat.completions.create(**ask(max_completion_tokens=16))
    assert cut.choices[0].finish_reason == "length"
    assert cut.choices[0].message.content == (whole.choices[0].message.content or "")[:64]
    thought = client.chat.completions.create(**ask(model="gpt-5-mini", max_completion_tokens=16))
    assert (thought.choices[0].message.content, thought.choices[0].finish_reason) == ("", "length")
    details = thought.usage and thought.usage.completion_tokens_details
    assert details and details.reasoning_tokens == 16


def test_an_answer_that_does_not_match_its_schema_is_recorded(server: Server, client: OpenAI) -> None:
    body = ask()
    body["response_format"]["json_schema"]["schema"] = strict(other=TEXT)
    client.chat.completions.create(**body)
    assert len(server.violations) == 1 and "does not match" in server.violations[0]


def test_strict_schemas() -> None:
    assert [list(strict_problems(schema)) for schema in SCHEMAS.values()] == [[], [], []]
    loose: list[Json] = [
        {"type": "array", "items": TEXT},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        strict(a=TEXT) | {"required": []},
        strict(a={"allOf": [TEXT]}),
        strict(a=array({"type": "object"})),
        strict(a={"anyOf": [{"type": ["object", "null"]}, TEXT]}),
        strict(a={"$ref": "#/$defs/A", "description": "x"}),
        strict(a=TEXT) | {"$defs": {"A": {"not": TEXT}}},
        strict(a={"type": "string", "default": ""}),
    ]
    assert all(list(strict_problems(schema)) for schema in loose)


# The hooks


FAULT: Json = {"error": {"message": "oops", "type": "server_error", "param": None, "code": None}}


def test_the_hooks(server: Server, client: OpenAI) -> None:
    server.answer = lambda body: (200, completion(body, None, refusal="I can't help with that."))
    assert client.chat.completions.create(**ask()).choices[0].message.refusal
    server.answer = lambda body: (500, FAULT)
    batch = polled(client, submit(client, row("a")))
    assert rows_of(client, batch.error_file_id)["a"]["response"]["status_code"] == 500
    server.before_request = lambda request: Reply(429, FAULT, {"retry-after": "1"})
    with pytest.raises(openai.RateLimitError) as caught:
        client.batches.retrieve(batch.id)
    assert caught.value.response.headers["retry-after"] == "1"


def test_a_connection_can_be_cut(server: Server, client: OpenAI) -> None:
    usual = server.before_response

    def cut(at: int) -> None:
        server.before_response = lambda request, reply: Reply(reply.status, reply.body, {}, at)

    cut(0)
    with pytest.raises(openai.APIConnectionError):
        submit(client, row("a"))
    assert len(server.files) == 1  # the request was handled nevertheless
    cut(10)
    with pytest.raises(openai.APIConnectionError):
        client.batches.list()
    server.before_response = usual
    assert client.batches.list().data == []


def test_a_create_can_hang_after_it_was_handled(server: Server, client: OpenAI) -> None:
    answered, released = server.before_response, threading.Event()

    def hang(request: Request, reply: Reply) -> Reply:
        if (request.method, request.path) == ("POST", "/v1/batches"):
            released.wait(10)
        return answered(request, reply)

    server.before_response = hang
    with pytest.raises(openai.APITimeoutError):
        submit(client, row("a"), timeout=0.3)
    assert [batch.id for batch in client.batches.list()] == list(server.batches)
    released.set()
    assert server.attempts == {"a": 1}


def test_an_incomplete_request_does_nothing(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))) as half:
        half.sendall(b"POST /v1/files HTTP/1.1\r\nContent-Length: 1000\r\n\r\nonly this")
        half.shutdown(socket.SHUT_WR)
        assert half.recv(1) == b""
    assert (server.requests, server.violations, server.files) == ([], [], {})


def test_changing_a_reply_does_not_change_the_server(server: Server, client: OpenAI) -> None:
    batch = submit(client, row("a"))

    def shout(request: Request, reply: Reply) -> Reply:
        assert isinstance(reply.body, dict)
        reply.body["status"] = reply.body["status"].upper()
        return reply

    server.before_response = shout
    assert client.batches.retrieve(batch.id).status == "IN_PROGRESS"  # type: ignore[comparison-overlap]
    assert server.batches[batch.id].info["status"] == "in_progress"


def test_a_closed_server_does_not_reply() -> None:
    with Server() as server:
        client = OpenAI(base_url=server.url, api_key=server.key, max_retries=0)
        client.models.list()
    with client, pytest.raises(openai.APIConnectionError):
        client.models.list()


def test_strict_json() -> None:
    assert load_json(b'{"a": "\\ud83d\\ude00 \\\\ud83d"}') == {"a": "😀 \\ud83d"}
    for raw in (b"NaN", b"Infinity", b"-Infinity", b"\xef\xbb\xbf1", b'"\\ud83d"', b"\xff"):
        with pytest.raises(ValueError):
            load_json(raw)
