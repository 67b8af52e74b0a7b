"""OpenAI's formats: chat requests, lines of request files, and rows of result files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from pipeline.providers.base import Prompt, RequestFormat
from pipeline.records import Outcome, OutcomeKind, storable

BUDGETS = ("max_completion_tokens", "max_tokens")  # the parameters that limit output tokens
_PLACE_OF_CONTENT = "\0"  # a prompt or a schema cannot contain it
MAX_TOKENS = 10**12  # in one answer; a larger number is an error of the server
_THOUGHTS = ("reasoning_content", "reasoning")  # where servers put what a model thinks
_STATUS = re.compile("[45][0-9][0-9]")
_PARAMETER_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter", "model_not_found")
_ABOUT_THE_PAGE = ("messages", "prompt", "input")  # parameters that differ from page to page
_ENDINGS: dict[str, OutcomeKind] = {
    "batch_expired": "expired", "batch_cancelled": "cancelled", "content_filter": "content_filter",
}  # fmt: skip


class ChatRequests(RequestFormat):
    """Chat completion requests with a strict JSON schema."""

    def __init__(self, prompt: Prompt, model: str, endpoint: str, params: dict[str, Any]) -> None:
        self.model, self.endpoint, self.params = model, endpoint, params
        schema = {"name": prompt.schema_name, "strict": True, "schema": prompt.schema}
        self.answer_format = {"type": "json_schema", "json_schema": schema}
        self.output_limit = next((params[name] for name in BUDGETS if isinstance(params.get(name), int)), None)
        self._system = prompt.system
        self._frames: dict[tuple[int, bool], tuple[str, str]] = {}

    def body(self, content: str, expects: int, larger_budget: bool = False) -> dict[str, Any]:
        messages = [{"role": "system", "content": self._system}, {"role": "user", "content": content}]
        body = {"model": self.model, "messages": messages, "response_format": self.answer_format, **self.params}
        if larger_budget:
            body |= {name: body[name] * 2 for name in BUDGETS if isinstance(body.get(name), int)}
        return body

    def line(self, custom_id: str, content: str, expects: int, larger_budget: bool = False) -> bytes:
        """ASCII only, so that no reader can split the line at an unusual line separator."""
        before, after = self._frame(expects, larger_budget)
        return f'{{"custom_id":"{custom_id}",{before}{json.dumps(content)}{after}\n'.encode("ascii")

    def _frame(self, expects: int, larger_budget: bool) -> tuple[str, str]:
        """A line before and after the content, without the custom id. Encoded once, because it is most of a line."""
        if (expects, larger_budget) not in self._frames:
            body = self.body(_PLACE_OF_CONTENT, expects, larger_budget)
            request = {"method": "POST", "url": self.endpoint, "body": body}
            line = json.dumps(request, separators=(",", ":")).removeprefix("{")
            before, _, after = line.partition(json.dumps(_PLACE_OF_CONTENT))
            self._frames[expects, larger_budget] = before, after
        return self._frames[expects, larger_budget]


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """The outcome in one row of an output or error file. Servers put errors in different places."""
    error = row.get("error")
    response = _mapping(row.get("response"))
    status = response.get("status_code")
    if error:
        return _failed(error, status if isinstance(status, int) and status >= 400 else None)
    body = _mapping(response.get("body"))
    if isinstance(status, int) and status >= 400:
        return _failed(body.get("error") or body, status)
    error = error_in(body)
    if error:
        return _failed(error, status_of(error))
    return _answered(body)


def error_in(body: Mapping[str, Any]) -> object:
    """The error in a reply with HTTP status 200, or None. Gateways reply so if the server behind them failed."""
    choice = _first_choice(body)
    if not choice:
        return body.get("error") or (body if body.get("object") == "error" else None)
    return None if _text_of(_mapping(choice.get("message")))[0] else choice.get("error") or body.get("error")


def status_of(error: object) -> int | None:
    """The HTTP status that an error names in its own words: `code` may be 429 or "429"."""
    details = _mapping(error)
    named = (str(details.get(name)) for name in ("code", "status", "status_code"))
    return next((int(text) for text in named if _STATUS.fullmatch(text)), None)


def _first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices")
    return _mapping(choices[0]) if isinstance(choices, list) and choices else {}


def _answered(body: Mapping[str, Any]) -> Outcome:
    choice = _first_choice(body)
    message = _mapping(choice.get("message"))
    content, repairs = _text_of(message)
    kind, note = _kind(choice.get("finish_reason"), message.get("refusal"), content)
    usage = _mapping(body.get("usage"))
    details = _mapping(usage.get("prompt_tokens_details"))
    return Outcome(
        kind=kind,
        content=storable(content) if isinstance(content, str) else None,
        message=note,
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(details, "cached_tokens"),
        written_tokens=_count(usage, "cache_write_tokens") or _count(details, "cache_write_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(_mapping(usage.get("completion_tokens_details")), "reasoning_tokens"),
        repairs=repairs,
    )


def _text_of(message: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The text of an answer, and what was repaired to get it. Some servers put it in other places than `content`."""
    content = message.get("content")
    if isinstance(content, str) and content.strip():
        return content, ()
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else _mapping(part).get("text") for part in content]
        text = "".join(part for part in parts if isinstance(part, str))
        if text.strip():
            return text, ("content list",)
    if isinstance(content, Mapping):
        part = content.get("text")
        return part if isinstance(part, str) else json.dumps(content), ("content object",)
    for name in _THOUGHTS:
        thoughts = message.get(name)
        if isinstance(thoughts, str) and thoughts.strip():
            is_answer = thoughts.strip().startswith("{") and thoughts.strip().endswith("}")
            # Marked as thoughts, so that a draft in the middle of them is not taken for the answer.
            return thoughts if is_answer else f"<think>{thoughts}", ("reasoning field",)
    return None, ()


def _kind(finish: object, refusal: object, content: object) -> tuple[OutcomeKind, str | None]:
    if refusal:
        return "refused", storable(str(refusal))[:500]
    if finish == "length":
        return "truncated", "the answer was cut off at the token limit"
    if finish == "content_filter":
        return "content_filter", "the provider's content filter stopped the answer"
    if not isinstance(content, str) or not content.strip():
        return "invalid_json", "the answer is empty"
    return "ok", None


def _failed(error: object, status: int | None) -> Outcome:
    details = _mapping(error)
    details = _mapping(details.get("error")) or details  # some servers wrap the error once more
    code = details.get("code") or details.get("type")
    message = details.get("message") or (error if isinstance(error, str) else json.dumps(error))
    kind = _ENDINGS.get(str(code), "api_error")
    refused = _parameter(details, status) if kind == "api_error" else None
    text = storable(str(message))[:500]
    return Outcome(kind=kind, code=storable(str(status or code or "unknown")), message=text, parameter=refused)


def _parameter(error: Mapping[str, Any], status: int | None) -> str | None:
    """What was refused, if all requests may have it in common. Whether they do is decided when all rows are known."""
    name, code = storable(str(error.get("param") or "")), storable(str(error.get("code") or ""))
    if name.startswith(_ABOUT_THE_PAGE) or code == "context_length_exceeded":
        return None
    if status in (400, 404, 422):
        return name or code or "the request"
    return (name or code) if status is None and code in _PARAMETER_CODES else None


def _mapping(value: object) -> Mapping[str, Any]:
    """`value` as a mapping. Some servers send objects as JSON strings."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value <= MAX_TOKENS else 0
