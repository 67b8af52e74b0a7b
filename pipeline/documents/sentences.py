"""Where the sentences of a text begin and end."""

from __future__ import annotations

from sentencex import get_sentence_boundaries

FALLBACK = "en"


def sentence_spans(text: str, language: str | None) -> list[tuple[int, int]]:
    """(start, end) of each sentence, white space after it included; `language` is ISO 639-1."""
    found = get_sentence_boundaries(language or FALLBACK, text)
    return [(part["start_index"], part["end_index"]) for part in found]
