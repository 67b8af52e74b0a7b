"""Checks of requests against the official specification and its documentation.

`openai_spec.json` is made by `make_openai_spec.py`. A request that violates it raises `Breach`: the client's code is
wrong.
"""

from __future__ import annotations

import email
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

Json = dict[str, Any]

SPEC: Json = json.loads(Path(__file__).with_name("openai_spec.json").read_text(encoding="utf-8"))
REASONERS = re.compile(r"gpt-[56]|o\d")
OUTPUT_LIMITS = {"gpt-4o": 16_384, "gpt-4.1": 32_768}  # tokens, by model family


class ApiError(Exception):
    """A request that the real API refuses, with the details of its error."""

    def __init__(self, message: str, code: str | None = None, param: str | None = None, status: int = 400):
        super().__init__(message)
        self.details, self.status = {"message": message, "code": code, "param": param}, status


class Breach(ApiError):
    """A request that can only come from a mistake in the client's code, not from a setting or a failure."""


@lru_cache
def validator(schema_json: str) -> Draft202012Validator:
    """A compiled schema. It may refer to the components of the specification."""
    return Draft202012Validator(json.loads(schema_json) | {"components": SPEC["components"]})


def check_spec(name: str, value: object) -> None:
    """Raise `Breach` if `value` does not match the schema `name` of the specification."""
    error = best_match(validator(f'{{"$ref": "#/components/schemas/{name}"}}').iter_errors(value))
    if error:
        where = ".".join(map(str, error.absolute_path)) or None
        raise Breach(f"{where or 'request'}: {error.message[:300]} ({name})", "invalid_request", where)


def check_chat(body: Any) -> None:
    """Raise `Breach` for a body that violates the specification, `ApiError` for one that its model refuses."""
    if isinstance(body, dict) and isinstance(body.get("messages"), list):
        body = body | {"messages": [_without_text(message) for message in body["messages"]]}
    _check_shape(json.dumps(body))


def _without_text(message: Any) -> Any:
    """A message without its text, which is not checked, so that requests of the same shape are checked once."""
    with_text = isinstance(message, dict) and isinstance(message.get("content"), str)
    return message | {"content": ""} if with_text else message


@lru_cache
def _check_shape(body_json: str) -> None:
    body = json.loads(body_json)
    check_spec("CreateChatCompletionRequest", body)
    for name in sorted(body.keys() - CHAT_PARAMETERS):
        raise Breach(f"Unrecognized request argument supplied: {name}", "unknown_parameter", name)
    form = body.get("response_format", {}).get("json_schema", {"name": "none"})
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", form["name"]):
        raise Breach(f"Invalid name {form['name']!r}", "invalid_value", "response_format.json_schema.name")
    for problem in strict_problems(form.get("schema", {})) if form.get("strict") else ():
        raise Breach(f"Invalid schema for {form['name']!r}: {problem}", None, "response_format")
    _check_parameters(body)


def _properties(schema: Json) -> Iterator[str]:
    if "$ref" in schema:
        schema = SPEC["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield from schema.get("properties", ())
    for part in schema.get("allOf", ()):
        yield from _properties(part)


CHAT_PARAMETERS = frozenset(_properties({"$ref": "/CreateChatCompletionRequest"}))


def _check_parameters(body: Json) -> None:
    """Raise `ApiError` for a parameter that the specification has, but that this model does not accept."""
    model, reasoner = body["model"], REASONERS.match(body["model"])
    refused = "max_tokens" if reasoner else "reasoning_effort"
    for name in (name for name in (refused, "stream") if body.get(name)):
        raise ApiError(f"Unsupported parameter: {name!r} with this model.", "unsupported_parameter", name)
    if reasoner and body.get("temperature") not in (None, 1) and body.get("reasoning_effort") != "none":
        raise ApiError("Only the default temperature (1) is supported.", "unsupported_value", "temperature")
    room = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    for family, limit in OUTPUT_LIMITS.items():
        if model.startswith(family) and room > limit:
            raise ApiError(f"max_tokens is too large: {room}, over {limit}.", "invalid_value", "max_tokens")


def strict_problems(schema: Json) -> Iterator[str]:
    """What the strict mode of structured outputs does not accept in a schema."""
    if schema.get("type") != "object" or "anyOf" in schema:
        yield "the root must be an object"
    yield from _node_problems(schema, "()")


def _node_problems(node: Json, where: str) -> Iterator[str]:
    for word in sorted(node.keys() & {"allOf", "oneOf", "not", "if", "then", "else", "default"}):
        yield f"In context={where}, {word!r} is not permitted"
    if not node.keys() & {"$ref", "anyOf", "type", "enum", "const"} or ("$ref" in node and len(node) > 1):
        yield f"In context={where}, schema must have a 'type', or a $ref and nothing else"
    properties = node.get("properties", {})
    if node.get("type") == "object" or "object" in (node.get("type") or ()):
        if node.get("additionalProperties") is not False:
            yield f"In context={where}, 'additionalProperties' is required to be supplied and to be false"
        if sorted(node.get("required", ())) != sorted(properties):
            yield f"In context={where}, 'required' must include every key in properties"
    parts = [*properties.items(), *node.get("$defs", {}).items(), *enumerate(node.get("anyOf", ()))]
    for key, part in [*parts, *([("items", node["items"])] if "items" in node else [])]:
        yield from _node_problems(part, f"{where}.{key}")


def load_json(raw: bytes) -> Any:
    """Parse strict JSON: UTF-8, no BOM, no NaN, no half surrogate pairs. Raises ValueError."""
    value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    if b"\\ud" in raw.lower():
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def read_query(operation: Json, given: dict[str, str]) -> Json:
    """The query, with numbers converted. Raises `Breach` for a parameter that the route does not have."""
    query: Json = {}
    schemas = {p["name"]: p["schema"] for p in operation.get("parameters", ()) if p["in"] == "query"}
    for name, text in given.items():
        schema = schemas.get(name, {"enum": []})
        query[name] = int(text) if schema.get("type") == "integer" and text.isdecimal() else text
        if not validator(json.dumps(schema)).is_valid(query[name]):
            raise Breach(f"query parameter {name}={text!r}", "invalid_value", name)
    return query


def read_form(content_type: str, body: bytes) -> tuple[Json, bytes]:
    """The fields of a multipart form (`a[b]` becomes nested, a file becomes its name), and the file's content."""
    boundary = email.message_from_string(f"Content-Type: {content_type}\n\n").get_boundary()
    parts = body.split(f"--{boundary}".encode())
    if parts[-1].strip() != b"--":
        raise ValueError("the form is not complete")
    form, content = Json(), b""
    for part in parts[1:-1]:
        head, _, value = part[2:-2].partition(b"\r\n\r\n")
        headers = email.message_from_bytes(head)
        full_name = str(headers.get_param("name", header="content-disposition"))
        name, _, inner = full_name.rstrip("]").partition("[")
        if headers.get_filename() is not None:
            form[name], content = headers.get_filename(), value
        elif inner:
            form.setdefault(name, {})[inner] = int(value) if value.isdigit() else value.decode()
        else:
            form[name] = value.decode()
    return form, content
