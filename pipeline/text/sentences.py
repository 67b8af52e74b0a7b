"""Split text into sentences."""

from __future__ import annotations

from sentencex import get_sentence_boundaries

DEFAULT_LANGUAGE = "en"
# sentencex 1.0.32 panics on a capital, one of these spaces and a full stop. A plain space instead moves no offset.
_UNUSUAL_SPACES = (
    "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
    "\u202f\u205f\u3000"
)


def sentence_spans(text: str, language: str | None) -> list[tuple[int, int]]:
    """(start, end) of each sentence, including the white space after it. `language`: ISO 639-1."""
    plain = text
    for space in _UNUSUAL_SPACES:  # a regular expression takes a third of the time of a whole answer
        plain = plain.replace(space, " ")
    try:
        boundaries = get_sentence_boundaries(language or DEFAULT_LANGUAGE, plain)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the Rust library: not a subclass of Exception
            raise
        return [(0, len(text))]
    return [(boundary["start_index"], boundary["end_index"]) for boundary in boundaries]
