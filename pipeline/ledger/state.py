"""The state of a question after its attempts, and what happens next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["answered", "in_progress", "to_send", "given_up"]

# No model answered these, so they cost nothing and do not count as attempts.
NOT_COUNTED = ("expired", "cancelled", "missing")
# How often a request is repeated after each kind of outcome. A larger budget or a second sample may help; a third
# rarely does.
REPEATS = {"truncated": 1, "invalid_json": 1, "invalid_answer": 1, "refused": 1, "too_long": 1, "content_filter": 0}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that an ask was sent. `outcome` is None until the answer is collected."""

    number: int
    outcome: str | None
    code: str | None = None
    message: str | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True)
class AskState:
    """`last`: the attempt that decides, which is the accepted one or else the newest."""

    state: State
    last: Attempt | None
    next_number: int
    larger_budget: bool = False


NEVER_SENT = AskState("to_send", None, 1)


def ask_state(attempts: Sequence[Attempt], max_attempts: int) -> AskState:
    """The state of an ask from its attempts, oldest first. Only answered attempts count towards `max_attempts`."""
    if not attempts:
        return NEVER_SENT
    last = next((attempt for attempt in attempts if attempt.outcome == "ok"), attempts[-1])
    following = attempts[-1].number + 1
    if last.outcome == "ok":
        return AskState("answered", last, following)
    if any(attempt.outcome is None for attempt in attempts):
        return AskState("in_progress", last, following)
    counted = [attempt for attempt in attempts if attempt.outcome not in NOT_COUNTED]
    if len(counted) >= max_attempts or not all(_may_succeed(attempt, counted) for attempt in counted):
        return AskState("given_up", counted[-1], following)
    return AskState("to_send", last, following, any(attempt.outcome == "truncated" for attempt in counted))


def _may_succeed(attempt: Attempt, counted: Sequence[Attempt]) -> bool:
    """Whether the request may succeed when it is sent again."""
    if attempt.outcome == "api_error":
        return is_temporary(attempt.code)
    same = sum(other.outcome == attempt.outcome for other in counted)
    return same <= REPEATS.get(attempt.outcome or "", 0)


def is_temporary(code: str | None) -> bool:
    """Whether an API error describes a temporary state of the server rather than a fault of the request."""
    if code is None:
        return False
    if code.isdigit():
        return code in ("408", "409", "429") or code.startswith("5")
    return code in ("rate_limit_exceeded", "server_error", "internal_error", "timeout")
