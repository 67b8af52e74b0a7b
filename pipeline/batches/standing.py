"""Where an ask stands after its attempts, and what happens next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["answered", "in_flight", "to_send", "given_up"]

# These say nothing about the request: no model answered it, so they cost nothing and do not count.
UNANSWERED = ("expired", "cancelled", "missing")
# How often an answer of a kind is asked for again. A larger budget or a second throw may help, a third hardly does.
REPEATS = {"truncated": 1, "invalid_json": 1, "invalid_answer": 1, "refused": 1, "content_filter": 0}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time an ask was sent. `outcome` is None while it is on its way."""

    number: int
    outcome: str | None
    code: str | None = None
    message: str | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """`last` is the attempt that decides: the accepted one if there is one, else the newest."""

    state: State
    last: Attempt | None
    next_number: int
    larger_budget: bool = False


NEVER_SENT = Standing("to_send", None, 1)


def standing(attempts: Sequence[Attempt], max_attempts: int) -> Standing:
    """Judge the attempts of one ask, oldest first. Only what was answered counts towards `max_attempts`."""
    if not attempts:
        return NEVER_SENT
    last = next((attempt for attempt in attempts if attempt.outcome == "ok"), attempts[-1])
    following = attempts[-1].number + 1
    if last.outcome == "ok":
        return Standing("answered", last, following)
    if any(attempt.outcome is None for attempt in attempts):
        return Standing("in_flight", last, following)
    counted = [attempt for attempt in attempts if attempt.outcome not in UNANSWERED]
    if len(counted) >= max_attempts or not all(_may_help(attempt, counted) for attempt in counted):
        return Standing("given_up", counted[-1], following)
    return Standing("to_send", last, following, any(attempt.outcome == "truncated" for attempt in counted))


def _may_help(attempt: Attempt, counted: Sequence[Attempt]) -> bool:
    if attempt.outcome == "api_error":
        return passing(attempt.code)
    same = sum(other.outcome == attempt.outcome for other in counted)
    return same <= REPEATS.get(attempt.outcome or "", 0)


def passing(code: str | None) -> bool:
    """Whether an API error tells of a passing state of the server, and not of the request."""
    if code is None:
        return False
    if code.isdigit():
        return code in ("408", "409", "429") or code.startswith("5")
    return code in ("rate_limit_exceeded", "server_error", "internal_error", "timeout")
