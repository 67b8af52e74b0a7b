"""Text that is drawn twice is kept once: bold type that is faked with a second copy, and a layer of OCR over the text.

Only the boxes of words tell such copies from a table that repeats its cells. They are looked at only where the text
itself repeats words or lines, because they take a third of the time of extracting a page.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import eq
from typing import NamedTuple

_LETTERS = re.compile(r"[^\W\d_]{2}")
LONG_WORD, MIN_WORDS = 6, 8  # characters of long words, and different ones on a page on which they are counted
MAX_DIFFERENT = 0.65  # of all long words, if most of them occur twice
# Share of the long words that occur once if a layer with other letters repeats the page. Usual: 0.6 to 1.
MAX_ONCE = 0.4
MAX_SHIFT = 3.0  # points between the middles of a word and its copy. The heights of boxes are often far too large
MIN_COVERED = 0.7  # share of the width of the shorter of two words
LAYER = 0.3  # share of the words that are copies on a page with a second layer of text
MAX_GAP = 3.0  # heights of a word between two words of one line


class Word(NamedTuple):
    """A word as PyMuPDF returns it, with its box in points."""

    x0: float
    y0: float
    x1: float
    y1: float
    text: str

    def is_at(self, other: Word) -> bool:
        """Whether both words are in the same place."""
        across = abs(self.x0 + self.x1 - other.x0 - other.x1) / 2
        return across <= min(MAX_SHIFT, (self.x1 - self.x0) / 2) and self.is_level_with(other)

    def is_level_with(self, other: Word) -> bool:
        """Whether both words are at the same height."""
        return abs(self.y0 + self.y1 - other.y0 - other.y1) / 2 <= MAX_SHIFT

    def covers(self, other: Word) -> bool:
        """Whether the words lie on each other for the most part."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        return self.is_level_with(other) and width >= MIN_COVERED * min(self.x1 - self.x0, other.x1 - other.x0)

    def is_before(self, other: Word) -> bool:
        """Whether `other` continues the line of this word."""
        height = self.y1 - self.y0
        return self.is_level_with(other) and -height / 2 < other.x0 - self.x1 < MAX_GAP * height


def may_be_doubled(text: str) -> bool:
    """Whether words or lines of a page are repeated as they are if text is drawn twice. It must be quick."""
    words, lines = text.split(), text.split("\n")
    # A copy of a word goes back to the left, so it begins a new line.
    if True in map(eq, words, words[1:]) and any(map(_repeats_word, lines, lines[1:])):
        return True
    if True in map(eq, lines, lines[1:]) and any(
        one == after and _LETTERS.search(one) for one, after in pairwise(lines)
    ):
        return True
    long_words = [word for word in words if len(word) >= LONG_WORD]
    different = len(set(long_words))
    if different < MIN_WORDS or different > MAX_DIFFERENT * len(long_words):
        return False
    return list(Counter(long_words).values()).count(1) < MAX_ONCE * different


def _repeats_word(line: str, after: str) -> bool:
    """Whether the next line begins with the last word of a line."""
    words, next_words = line.split(), after.split(None, 1)
    return bool(words and next_words) and words[-1] == next_words[0] and bool(_LETTERS.search(words[-1]))


def without_copies(text: str, words: Sequence[Word]) -> str:
    """The text of a page without the words that lie on top of the same word. `words`: in the order of the text."""
    copies = list(_copies(words))
    if sum(copies) >= LAYER * len(words):
        copies = list(_copies(words, any_text=True))  # a layer of OCR has other letters in some words
    if not any(copies):
        return text
    pieces: list[str] = []
    position, last, is_cut = 0, None, False
    for word, is_copy in zip(words, copies, strict=True):
        start = text.find(word.text, position)
        if start < 0:
            return text  # the words are not those of the text
        between, position = text[position:start], start + len(word.text)
        if is_copy:
            is_cut = True
            continue
        if is_cut and last:
            between = " " if last.is_before(word) else "\n"
        pieces += [between, word.text]
        last, is_cut = word, False
    return "".join(pieces) + ("\n" if is_cut else text[position:])


def _copies(words: Sequence[Word], any_text: bool = False) -> Iterator[bool]:
    """Whether each word lies on an earlier word with the same text; with `any_text`, on any earlier word."""
    counts = Counter([word.text for word in words])
    kept: dict[tuple[str, int], list[Word]] = defaultdict(list)  # by the text and the height on the page
    for word in words:
        if counts[word.text] == 1 and not any_text:
            yield False
            continue
        text, row = "" if any_text else word.text, int((word.y0 + word.y1) / 2 // MAX_SHIFT)
        near = [*kept[text, row - 1], *kept[text, row], *kept[text, row + 1]]
        is_copy = any(word.is_at(other) if word.text == other.text else word.covers(other) for other in near)
        if not is_copy:
            kept[text, row].append(word)
        yield is_copy
