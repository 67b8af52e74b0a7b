"""Small pieces of English for messages."""

from __future__ import annotations

import math
from collections.abc import Mapping


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 page`, `2 pages`, `1,000 batches` (with `plural` where it is not formed with -s)."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def dollars(amount: float | None, beside: float = 0, up: bool = False) -> str:
    """`$12.40` from one dollar on, and four decimal places below: `$0.0073`.

    `beside`: an amount in the same sentence, which gets as many decimal places. `up`: rounded up, not to the nearest,
    because it is the most that something may cost.
    """
    if amount is None:
        return "unknown"
    if not amount:
        return "$0"
    places = _places(max(amount, beside))
    if up:
        amount = math.ceil(round(amount * 10**places, 6)) / 10**places
    if round(amount, places) == 0:
        return f"<${10**-places:.{places}f}"
    return f"${amount:,.{places}f}"


def dollars_by_part(amounts: Mapping[str, float | None]) -> tuple[str, str]:
    """The total and `extraction $0.0006, judge $0.0004`. They add up: the total is that of the rounded parts."""
    places = _places(sum(amount or 0 for amount in amounts.values()))
    rounded = {name: amount if amount is None else round(amount, places) for name, amount in amounts.items()}
    total = sum(amount or 0 for amount in rounded.values())
    parts = ", ".join(f"{name} {dollars(amount, beside=total)}" for name, amount in rounded.items())
    return dollars(total), parts


def _places(amount: float) -> int:
    """Decimal places: a page costs fractions of a cent."""
    return 2 if round(amount, 4) >= 1 else 4
