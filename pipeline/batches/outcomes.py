"""What a row of a result file says: one Outcome for every attempt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pipeline.records import Outcome, OutcomeKind

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
        content=content if isinstance(content, str) else None,
        message=note,
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")), "cached_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(_mapping(usage.get("completion_tokens_details")), "reasoning_tokens"),
    )


def _kind(finish: object, refusal: object, content: object) -> tuple[OutcomeKind, str | None]:
    if refusal:
        return "refused", str(refusal)[:500]
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
    refused = str(told.get("param") or code) if status in (None, 400, 422) and _names_parameter(told) else None
    return Outcome(kind=kind, code=str(status or code or "unknown"), message=str(message)[:500], parameter=refused)


def _names_parameter(error: Mapping[str, Any]) -> bool:
    """Whether the request was refused for how it is made, and not for the page that it is about."""
    return bool(error.get("param")) or error.get("code") in _PARAMETER_CODES


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
    return value if isinstance(value, int) and value >= 0 else 0
