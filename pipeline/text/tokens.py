"""Counting tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pipeline.records import storable

LONGEST_INPUT = 500_000  # characters at a time; the tokenizer raises ValueError above 1,000,000


def count_tokens(text: str) -> int:
    """Tokens of `text` in o200k_base, the encoding of gpt-4o and later models; an estimate for other models."""
    count = _tokenizer().count
    try:
        if len(text) <= LONGEST_INPUT:
            return int(count(text))
        return sum(count(text[i : i + LONGEST_INPUT]) for i in range(0, len(text), LONGEST_INPUT))
    except UnicodeEncodeError:
        return count_tokens(storable(text))


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    # What get_encoding() returns needs half a second and 70 MB more, for tables that only decoding uses.
    from bpe_openai._bindings import tokenizer_for_encoding

    return tokenizer_for_encoding("o200k_base")
