"""Split text into sentences."""

from __future__ import annotations

import re

from sentencex import get_sentence_boundaries

DEFAULT_LANGUAGE = "en"
# sentencex 1.0.32 panics on a capital, one of these spaces and a full stop. A plain space instead moves no offset.
_UNUSUAL_SPACE = re.compile(r"[^\S \t\n\r\f\v]")


def sentence_spans(text: str, language: str | None) -> list[tuple[int, int]]:
    """(start, end) of each sentence, including the white space after it. `language`: ISO 639-1."""
    plain = _UNUSUAL_SPACE.sub(" ", text)
    try:
        boundaries = get_sentence_boundaries(language or DEFAULT_LANGUAGE, plain)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the Rust library: not a subclass of Exception
            raise
        return [(0, len(text))]
    return [(boundary["start_index"], boundary["end_index"]) for boundary in boundaries]
