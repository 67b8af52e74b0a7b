"""What a row of a result file says: one Outcome for every attempt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pipeline.records import Outcome, OutcomeKind, storable

MOST_TOKENS = 10**12  # of one answer; more is a mistake of the server
_PARAMETER_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter", "model_not_found")
_ENDINGS: dict[str, OutcomeKind] = {"batch_expired": "expired", "batch_cancelled": "cancelled"}


class Unacceptable(Exception):
    """An answer that cannot be used; `kind` is the outcome that it gets."""

    def __init__(self, kind: OutcomeKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """Read one row of an output or error file; real servers do not agree on where they put the error."""
    error = row.get("error")
    if error:
        return _failed(error, None)
    response = _mapping(row.get("response"))
    status = response.get("status_code")
    body = _mapping(response.get("body"))
    if (isinstance(status, int) and status >= 400) or (body.get("error") and not body.get("choices")):
        return _failed(body.get("error") or body, status)
    return _answered(body)


def _answered(body: Mapping[str, Any]) -> Outcome:
    choices = body.get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message = _mapping(choice.get("message"))
    content = message.get("content")
    kind, note = _kind(choice.get("finish_reason"), message.get("refusal"), content)
    usage = _mapping(body.get("usage"))
    return Outcome(
        kind=kind,
        content=storable(content) if isinstance(content, str) else None,
        message=note,
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")), "cached_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(_mapping(usage.get("completion_tokens_details")), "reasoning_tokens"),
    )


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
    told = _mapping(error)
    code = told.get("code") or told.get("type")
    message = told.get("message") or (error if isinstance(error, str) else json.dumps(error))
    kind = _ENDINGS.get(str(code), "api_error")
    refused = _parameter(told) if status in (None, 400, 422) else None
    text = storable(str(message))[:500]
    return Outcome(kind=kind, code=storable(str(status or code or "unknown")), message=text, parameter=refused)


def _parameter(error: Mapping[str, Any]) -> str | None:
    """The parameter for which a request was refused, where it is one that all requests have in common."""
    name, code = str(error.get("param") or ""), str(error.get("code") or "")
    if name.startswith("messages") or code == "context_length_exceeded":
        return None  # it is about this page
    return storable(name) or (code if code in _PARAMETER_CODES else None)


def _mapping(value: object) -> Mapping[str, Any]:
    """Some servers send objects as JSON strings."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value <= MOST_TOKENS else 0
