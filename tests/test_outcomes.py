"""Result rows of real servers, and what follows from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.batches.outcomes import outcome_of
from pipeline.batches.standing import Attempt, standing


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
def test_every_row_has_one_outcome(row: dict[str, Any], kind: str) -> None:
    assert outcome_of(row).kind == kind


def test_usage_is_read_in_full() -> None:
    outcome = outcome_of(answered())
    assert (outcome.prompt_tokens, outcome.cached_tokens) == (7, 3)
    assert (outcome.completion_tokens, outcome.reasoning_tokens) == (5, 2)


def stand(*outcomes: str | None, code: str | None = None, most: int = 3) -> str:
    attempts = [Attempt(number, outcome, code) for number, outcome in enumerate(outcomes, start=1)]
    return standing(attempts, most).state


def test_what_follows_from_the_attempts() -> None:
    assert stand() == "to_send"
    assert stand(None) == "in_flight"
    assert stand("ok") == "answered"
    assert stand("truncated", "ok") == "answered"
    assert stand("truncated") == "to_send"
    assert stand("truncated", "truncated") == "given_up"
    assert stand("invalid_json", "invalid_answer") == "to_send"
    assert stand("invalid_json", "invalid_answer", "refused") == "given_up"
    assert stand("content_filter") == "given_up"
    assert stand("truncated", most=1) == "given_up"


def test_what_no_model_answered_does_not_count() -> None:
    assert stand("expired", "cancelled", "missing", "expired") == "to_send"
    assert stand("expired", "truncated", "expired", "truncated") == "given_up"


def test_api_errors_by_their_code() -> None:
    assert stand("api_error", code="429") == stand("api_error", code="503") == "to_send"
    assert stand("api_error", code="400") == stand("api_error", code="batch_failed") == "given_up"


def test_a_larger_budget_only_after_truncation() -> None:
    assert standing([Attempt(1, "truncated")], 3).larger_budget
    assert not standing([Attempt(1, "invalid_json")], 3).larger_budget
