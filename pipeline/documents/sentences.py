"""Where the sentences of a text begin and end."""

from __future__ import annotations

import re

from sentencex import get_sentence_boundaries

FALLBACK = "en"
# The splitter (1.0.32) panics on a capital, one of these and a full stop; a space in their place moves no offset.
_EXOTIC_SPACE = re.compile(r"[^\S \t\n\r\f\v]")


def sentence_spans(text: str, language: str | None) -> list[tuple[int, int]]:
    """(start, end) of each sentence, white space after it included; `language` is ISO 639-1."""
    plain = _EXOTIC_SPACE.sub(" ", text)
    try:
        found = get_sentence_boundaries(language or FALLBACK, plain)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the Rust library; it is no Exception
            raise
        return [(0, len(text))]
    return [(part["start_index"], part["end_index"]) for part in found]
