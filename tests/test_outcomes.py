"""The outcome of each result row, and the state of a question after its attempts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.ledger.state import Attempt, ask_state
from pipeline.providers.openai_format import outcome_of


def answered(**choice: Any) -> dict[str, Any]:
    body = {
        "choices": [{"finish_reason": "stop", "message": {"content": "{}"}, **choice}],
        "usage": {
            "prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }  # fmt: skip
    return {"custom_id": "x", "response": {"status_code": 200, "body": body}, "error": None}


def failed(status: int, body: Any) -> dict[str, Any]:
    return {"custom_id": "x", "response": {"status_code": status, "body": body}, "error": None}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (answered(), "ok"),
        (answered(finish_reason="length"), "truncated"),
        (answered(finish_reason="content_filter"), "content_filter"),
        (answered(message={"content": None, "refusal": "I will not"}), "refused"),
        (answered(message={"content": ""}), "invalid_json"),
        (answered(message=None), "invalid_json"),
        (failed(200, json.dumps(answered()["response"]["body"])), "ok"),
        (failed(200, {"choices": []}), "invalid_json"),
        (failed(400, {"error": {"message": "bad", "code": "x"}}), "api_error"),
        (failed(500, "not json"), "api_error"),
        (failed(429, None), "api_error"),
        ({"custom_id": "x", "response": None, "error": {"code": "batch_expired", "message": "late"}}, "expired"),
        ({"custom_id": "x", "response": None, "error": {"code": "batch_cancelled", "message": ""}}, "cancelled"),
        ({"custom_id": "x", "error": "boom"}, "api_error"),
        ({"custom_id": "x"}, "invalid_json"),
    ],
)
def test_outcome_of_a_row(row: dict[str, Any], kind: str) -> None:
    assert outcome_of(row).kind == kind


def test_usage_of_a_row() -> None:
    outcome = outcome_of(answered())
    assert (outcome.prompt_tokens, outcome.cached_tokens) == (7, 3)
    assert (outcome.completion_tokens, outcome.reasoning_tokens) == (5, 2)


def state_after(*outcomes: str | None, code: str | None = None, max_attempts: int = 3) -> str:
    attempts = [Attempt(number, outcome, code) for number, outcome in enumerate(outcomes, start=1)]
    return ask_state(attempts, max_attempts).state


def test_state_after_attempts() -> None:
    assert state_after() == "to_send"
    assert state_after(None) == "in_progress"
    assert state_after("ok") == "answered"
    assert state_after("truncated", "ok") == "answered"
    assert state_after("truncated") == "to_send"
    assert state_after("truncated", "truncated") == "given_up"
    assert state_after("invalid_json", "invalid_answer") == "to_send"
    assert state_after("invalid_json", "invalid_answer", "refused") == "given_up"
    assert state_after("content_filter") == "given_up"
    assert state_after("truncated", max_attempts=1) == "given_up"


def test_attempts_without_an_answer_do_not_count() -> None:
    assert state_after("expired", "cancelled", "missing", "expired") == "to_send"
    assert state_after("expired", "truncated", "expired", "truncated") == "given_up"


def test_only_temporary_api_errors_are_repeated() -> None:
    assert state_after("api_error", code="429") == state_after("api_error", code="503") == "to_send"
    assert state_after("api_error", code="400") == state_after("api_error", code="batch_failed") == "given_up"


def test_larger_budget_only_after_truncation() -> None:
    assert ask_state([Attempt(1, "truncated")], 3).larger_budget
    assert not ask_state([Attempt(1, "invalid_json")], 3).larger_budget
