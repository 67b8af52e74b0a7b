"""Counting tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

LONGEST_INPUT = 500_000  # characters at a time; the tokenizer raises ValueError above 1,000,000


def count_tokens(text: str) -> int:
    """Tokens of `text` in o200k_base, the encoding of gpt-4o and later models; an estimate for other models."""
    encode = _encoding().encode_ordinary
    if len(text) <= LONGEST_INPUT:
        return len(encode(text))
    return sum(len(encode(text[i : i + LONGEST_INPUT])) for i in range(0, len(text), LONGEST_INPUT))


@lru_cache(maxsize=1)
def _encoding() -> Any:
    import bpe_openai

    return bpe_openai.get_encoding("o200k_base")
