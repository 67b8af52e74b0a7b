"""Where words and numbers of a page begin and end: a place that is found never begins or ends within one."""

from __future__ import annotations

import re
import unicodedata

from pipeline.text.language import FIRST_CJK

_BEFORE_LINE_END = re.compile(r"[-\u00ad\u2010¬][^\S\n]*\n\s*$")
_LINE_END = re.compile(r"[-\u00ad\u2010¬][^\S\n]*\n\s*(?=[^\W\d_])")
HYPHENS = "-\u00ad\u2010¬"
MAX_LINE_END = 12  # characters of a hyphen, a line end and an indent
_SUFFIX = re.compile(r"[^\W\d_]{1,2}(?!\w)|\.\d")  # "Wave 2a" is not "Wave 2", "version 2.1" is not "version 2"


def is_whole_words(text: str, start: int, end: int) -> bool:
    """Whether a place begins and ends with whole words and numbers."""
    if is_within_word(text, start) or is_within_word(text, end):
        return False
    if not (start < end and text[end - 1].isdigit() and _SUFFIX.match(text, end)):
        return True
    return text[end] == "." and text[max(start, end - 4) : end].isdigit() and end - start >= 4  # a year, a full stop


def with_whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """A place, widened to the borders of words."""
    while is_within_word(text, start):
        before = _BEFORE_LINE_END.search(text, max(0, start - MAX_LINE_END), start)
        start = before.start() if before else start - 1
    while is_within_word(text, end):
        after = _LINE_END.match(text, end)
        end = after.end() if after else end + 1
    return start, end


def is_within_word(text: str, border: int) -> bool:
    """Whether the characters on both sides of `border` belong to one word or number.

    A letter next to a digit does not count, because footnote numbers follow names ("Living Standards Survey7"). A word
    may go on in the next line.
    """
    if border <= 0 or border >= len(text):
        return False
    left, right = text[border - 1], text[border]
    if max(left, right) < "\x7f" and right != "-" and not (left.isspace() and right.islower()):  # the usual case
        return (left.isalpha() and right.isalpha()) or (left.isdigit() and right.isdigit())
    if unicodedata.category(right).startswith("M"):
        return True
    if max(left, right) >= FIRST_CJK and not (_is_glyph(left) or _is_glyph(right)):
        return False
    if left.isalpha() and right in HYPHENS:
        after = _LINE_END.match(text, border)
        return left.islower() and after is not None and text[after.end()].islower()
    if left.isspace() and right.islower():
        before = _BEFORE_LINE_END.search(text, max(0, border - MAX_LINE_END), border)
        return before is not None and before.start() > 0 and text[before.start() - 1].islower()
    return (_is_letter(left) and _is_letter(right)) or (left.isdigit() and right.isdigit())


def _is_letter(char: str) -> bool:
    return char.isalpha() or _is_glyph(char)


def _is_glyph(char: str) -> bool:
    """Whether a character stands for letters that the PDF does not give, or for a ligature."""
    return char == "\ufffd" or "\ue000" <= char <= "\uf8ff" or "\ufb00" <= char <= "\ufb06"
