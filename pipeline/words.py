"""Small pieces of English for messages."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 page`, `2 pages`, `1,000 batches` (with `plural` where it is not formed with -s)."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
