"""Decide whether a quotation is a slightly changed copy of a passage, so that nothing else can be meant."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from pipeline.text.normalize import normalized, normalized_with_origin

LETTERS_PER_EDIT = 12
MIN_LONG_SIMILARITY = 90.0  # per cent
MIN_WORD = 5  # letters; in a shorter word one letter makes a different word ("Farm Survey", "Firm Survey")

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Tolerance:
    """What a copy may differ in. Digits must always be equal: "Census 2011" is not "Census 2001".

    `min_length`: letters of the shortest quotation to look for. `strict`: acronyms and short words must be equal too.
    `by_similarity`: only the overall similarity counts, which is enough for long texts.
    """

    min_length: int
    strict: bool = True
    by_similarity: bool = False


NAME = Tolerance(min_length=8)  # shorter names are too often one letter away from another word
NAME_IN_PASSAGE = Tolerance(min_length=5, strict=False)  # a passage has few other words that could be meant
SENTENCE = Tolerance(min_length=20, strict=False)
LONG_TEXT = Tolerance(min_length=20, by_similarity=True)


def most_similar(quote: str, text: str, tolerance: Tolerance) -> tuple[int, int] | None:
    """(start, end) of the part of `text` that is most similar to `quote`, if it may be a copy. Both are normalized."""
    if len(quote) < tolerance.min_length or not text:
        return None
    if len(text) < len(quote):
        return 0, len(text)
    # Twice the edits: the part that is found may be shifted by as many letters. Its borders are corrected later.
    by_edits = 100.0 * (1 - 2 * _max_edits(quote) / len(quote))
    cutoff = MIN_LONG_SIMILARITY if tolerance.by_similarity else by_edits
    found = fuzz.partial_ratio_alignment(quote, text, score_cutoff=cutoff)
    return (found.dest_start, found.dest_end) if found else None


def is_copy(quote: str, passage: str, tolerance: Tolerance) -> bool:
    """Whether the normalized `quote` is a copy of the whole `passage`, apart from harmless changes."""
    original, origin = normalized_with_origin(passage)
    if tolerance.by_similarity:
        return fuzz.ratio(quote, original) >= MIN_LONG_SIMILARITY
    edits = Levenshtein.editops(quote, original)
    if len(edits) > _max_edits(quote):
        return False
    may_change = _changeable(passage) if tolerance.strict else [not char.isdigit() for char in passage]
    flags = [may_change[index] for index in origin]
    for edit in edits:
        # A letter to delete from the quotation is between two letters of the passage, and may belong to either.
        first = max(edit.dest_pos - 1, 0) if edit.tag == "delete" else edit.dest_pos
        changes_digit = edit.tag != "insert" and quote[edit.src_pos].isdigit()
        if changes_digit or not any(flags[first : edit.dest_pos + 1]):
            return False
    return True


def distance(quote: str, passage: str) -> tuple[int, int]:
    """How far the normalized `quote` is from a passage: letters that differ, then the difference in length."""
    original = normalized(passage)
    return Levenshtein.distance(quote, original), abs(len(quote) - len(original))


def similarity(one: str, other: str) -> float:
    """The similarity of two passages after normalization, in per cent."""
    return fuzz.ratio(normalized(one), normalized(other))


def _max_edits(quote: str) -> int:
    """How many letters of the normalized quotation may differ."""
    return max(1, len(quote) // LETTERS_PER_EDIT)


def _changeable(passage: str) -> list[bool]:
    """For each character, whether its word remains recognisable with one letter changed."""
    flags = [False] * len(passage)
    for word in _WORD.finditer(passage):
        text = word[0]
        if len(text) >= MIN_WORD and not text.isupper() and not any(map(str.isdigit, text)):
            flags[word.start() : word.end()] = [True] * len(text)
    return flags
