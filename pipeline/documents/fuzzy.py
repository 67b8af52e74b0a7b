"""Whether a quotation is a slightly changed copy of a passage, so that nothing else can be meant."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from pipeline.documents.folding import folded, folded_with_origin

LETTERS_PER_EDIT = 12
WHOLE_SIMILARITY = 90.0  # per cent
TELLING = 5  # letters: in a shorter word one letter makes another word of it ("Farm Survey", "Firm Survey")

Edit = tuple[str, int, int]  # replace, insert or delete; the place in the quotation; the place in the passage

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Tolerance:
    """What a copy may differ in. Digits have to be the same: "Census 2011" is not "Census 2001".

    `shortest`: letters that a quotation needs to be looked for at all. `strict`: acronyms and short words have to be
    the same as well. `whole`: as a long text, by its similarity alone.
    """

    shortest: int
    strict: bool = True
    whole: bool = False

    def most_edits(self, quote: str) -> int:
        """Letters of the folded `quote` that may differ."""
        return max(1, len(quote) // LETTERS_PER_EDIT)


NAME = Tolerance(shortest=8)  # shorter ones are one letter away from many words
NAME_IN_ITS_PASSAGE = Tolerance(shortest=5, strict=False)  # nothing else is near
SENTENCE = Tolerance(shortest=20, strict=False)
LONG_TEXT = Tolerance(shortest=20, whole=True)


def most_similar(quote: str, text: str, tolerance: Tolerance) -> tuple[int, int] | None:
    """(start, end) of the part of `text` that is most like `quote`, if it may be a copy of it; both are folded."""
    if len(quote) < tolerance.shortest or not text:
        return None
    if len(text) < len(quote):
        return 0, len(text)
    # Twice the edits: the part can be off by as many letters, and is put right by its borders.
    likely = WHOLE_SIMILARITY if tolerance.whole else 100.0 * (1 - 2 * tolerance.most_edits(quote) / len(quote))
    found = fuzz.partial_ratio_alignment(quote, text, score_cutoff=likely)
    return (found.dest_start, found.dest_end) if found else None


def is_copy(quote: str, passage: str, tolerance: Tolerance) -> bool:
    """Whether the folded `quote` is all of `passage`, but for harmless changes."""
    copy, origin = folded_with_origin(passage)
    if tolerance.whole:
        return fuzz.ratio(quote, copy) >= WHOLE_SIMILARITY
    edits: list[Edit] = [(edit.tag, edit.src_pos, edit.dest_pos) for edit in Levenshtein.editops(quote, copy)]
    if len(edits) > tolerance.most_edits(quote):
        return False
    may_change = _changeable(passage) if tolerance.strict else [not char.isdigit() for char in passage]
    return all(_is_harmless(edit, quote, [may_change[place] for place in origin]) for edit in edits)


def distance(quote: str, passage: str) -> tuple[int, int]:
    """How far the folded `quote` is from a passage: letters that differ, then letters too many or too few."""
    copy = folded(passage)
    return Levenshtein.distance(quote, copy), abs(len(quote) - len(copy))


def similarity(one: str, other: str) -> float:
    """Of two passages, in per cent, whatever retyping has changed."""
    return fuzz.ratio(folded(one), folded(other))


def _changeable(passage: str) -> list[bool]:
    """For each character whether it stands in a word that stays the same word with one letter changed."""
    flags = [False] * len(passage)
    for word in _WORD.finditer(passage):
        text = word[0]
        if len(text) >= TELLING and not text.isupper() and not any(map(str.isdigit, text)):
            flags[word.start() : word.end()] = [True] * len(text)
    return flags


def _is_harmless(edit: Edit, quote: str, may_change: list[bool]) -> bool:
    """A letter that is too much in the quotation stands between two of the passage: either may be the one."""
    tag, source, target = edit
    touched = may_change[max(target - 1, 0) : target + 1] if tag == "delete" else may_change[target : target + 1]
    return any(touched) and (tag == "insert" or not quote[source].isdigit())
