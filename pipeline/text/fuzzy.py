"""Find a quotation that was changed by the model that copied it, unless something else could be meant.

A name must agree word by word. Of a sentence, most letters must agree, and its numbers and names must not differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Hamming, Levenshtein

from pipeline.text.alignment import (
    ELLIPSIS,
    Word,
    align,
    is_acronym,
    is_inflected,
    is_same_acronym,
    lost_glyphs,
    may_stand_between,
    misspellings,
    parts_between_ellipses,
    words_in,
)
from pipeline.text.names import is_short_for
from pipeline.text.normalize import NormalizedText, normalized

LETTERS_PER_EDIT = 12
MAX_OMITTED = 6  # words that an ellipsis in a name can stand for
MIN_PASSAGE = 12  # letters of a sentence that must agree
LONG_PASSAGE = 40  # letters
MIN_SHARE = 0.6  # of the letters of a sentence that must agree, unless they are a whole sentence of the page
MAX_DIFFERENT = 0.25  # of the letters within a passage
MIN_SEED = 4  # letters
MAX_SEEDS, MAX_SEED_PLACES, MAX_WINDOWS = 4, 30, 8
NAME_MARGIN = 120  # characters around a likely place that are compared; a bracket may stand within a name
MAX_BETWEEN = 160  # characters between two words of a name
_SKIPPED = re.compile(r"\s*[^\w\s]|\d|[^\S\n]*\n\s*\d")
_JOINED = ((1, 2), (2, 1), (1, 3), (3, 1), (2, 2))  # numbers of words that can be the same, with other spaces
_SMALL_WORDS = {"and", "of", "the", "for", "on", "in", "to", "a", "an", "with", "de", "la", "des", "du", "und", "y"}


@dataclass(frozen=True)
class Tolerance:
    """`min_length`: letters of the shortest name in which one may differ. `lenient`: acronyms may differ, too."""

    min_length: int
    lenient: bool = False


NAME = Tolerance(min_length=8)  # shorter names are too often one letter away from another word
NAME_IN_PASSAGE = Tolerance(min_length=5, lenient=True)  # a passage has few other words that could be meant


@dataclass(frozen=True, slots=True)
class Found:
    """A place `text[start:end]` that is meant. `score`: how well it agrees, comparable for one quotation."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A place `text[start:end]` that may be meant. `share`: of the letters of the quotation, how many it has.

    `before` and `after`: the words of the quotation that are not in the place.
    """

    start: int
    end: int
    score: float
    share: float
    before: Sequence[Word]
    after: Sequence[Word]


def similarity(one: str, other: str) -> float:
    """The similarity of two passages after normalization, in per cent."""
    return fuzz.ratio(normalized(one), normalized(other))


def windows(
    words: Sequence[Word],
    folded: NormalizedText,
    region: tuple[int, int],
    margin: int,
    only_likely: bool = False,
) -> list[tuple[int, int]]:
    """The parts of a page that may have these words: around places that have some of the rarest of them.

    `folded`: the page. `only_likely`: without places that have less than
    half as many of these words as another. Returns offsets of the page.
    """
    length = sum(len(word.key) for word in words)
    if region[1] - region[0] <= 2 * (length + margin):
        return [region]
    low, high = folded.position(region[0]), folded.position(region[1])
    starts = sorted(
        place - offset
        for offset, seed in _rarest(_seeds(words), folded.text, low, high)
        for place in _places(seed, folded.text, low, high)
    )
    groups: list[list[int]] = []
    for start in starts:
        if groups and start - groups[-1][0] <= margin:
            groups[-1].append(start)
        else:
            groups.append([start])
    groups.sort(key=len, reverse=True)
    likely = [group for group in groups if 2 * len(group) > len(groups[0])] if only_likely else groups
    return [
        (folded.origin(max(low, group[0] - margin)), folded.origin(min(high, group[-1] + length + margin) - 1) + 1)
        for group in likely[:MAX_WINDOWS]
    ]


def _seeds(words: Sequence[Word]) -> list[tuple[int, str]]:
    """Parts of the quotation to search for, and their offsets: words, and halves of long words."""
    seeds, offset = [], 0
    for word in words:
        half = len(word.key) // 2
        if half >= MIN_SEED:
            seeds += [(offset, word.key[:half]), (offset + half, word.key[half:])]
        elif len(word.key) >= MIN_SEED:
            seeds.append((offset, word.key))
        offset += len(word.key)
    if len(seeds) < 2:  # acronyms, or a script without spaces
        joined = "".join(word.key for word in words)
        size = max(2, min(MIN_SEED, len(joined) // 2))
        seeds += [(place, joined[place : place + size]) for place in range(0, len(joined) - size + 1, size)]
    return seeds


def _rarest(seeds: list[tuple[int, str]], text: str, low: int, high: int) -> list[tuple[int, str]]:
    counted = [(text.count(seed, low, high), offset, seed) for offset, seed in seeds]
    return [(offset, seed) for count, offset, seed in sorted(one for one in counted if one[0])[:MAX_SEEDS]]


def _places(seed: str, text: str, low: int, high: int) -> Iterator[int]:
    place = text.find(seed, low, high)
    for _ in range(MAX_SEED_PLACES):
        if place < 0:
            return
        yield place
        place = text.find(seed, place + 1, high)


class NameSearch:
    """A name to find word by word."""

    def __init__(self, name: str, tolerance: Tolerance) -> None:
        self.words: list[Word] = []
        self._gaps: list[str] = []  # what the name has before each word
        for part in parts_between_ellipses(name):
            words = words_in(part)
            if not words:
                continue
            if self.words:
                self.words.append(Word(ELLIPSIS, ELLIPSIS, 0, 0))
                self._gaps.append("")
            self._gaps += [
                part[before : word.start] for before, word in zip([0, *(w.end for w in words[:-1])], words, strict=True)
            ]
            self.words += words
        letters = sum(len(word.key) for word in self.words)
        self._max_wrong = max(1, letters // LETTERS_PER_EDIT) if letters >= tolerance.min_length else 0
        self._lenient = tolerance.lenient
        self.has_ellipsis = any(word.key == ELLIPSIS for word in self.words)
        self._is_heading = name.isupper() and len(self.words) > 1
        acronyms = [word.raw for word in self.words if is_acronym(word.raw)]
        self._has_own_acronym = any(is_short_for(one, name.replace(one, "")) for one in acronyms)

    def places(self, text: str, start: int, end: int) -> Iterator[Found]:
        """The places of the name in `text[start:end]`."""
        page = words_in(text, start, end)
        for first in range(len(page) if self.words else 0):
            walked = self._step(page, 0, first) and self._walk(text, page, 0, first)
            if walked and walked[1] <= self._max_wrong:
                yield Found(page[first].start, page[walked[0] - 1].end, -walked[1])

    def _walk(self, text: str, page: list[Word], number: int, at: int) -> tuple[int, int] | None:
        """Compare the words of the name, from `number` on, with those of the page, from `at` on.

        Returns the number of the page's word after the name, and how many letters are wrong.
        """
        wrong, first = 0, at
        while number < len(self.words):
            if self.words[number].key == ELLIPSIS:
                rest = self._after_ellipsis(text, page, number + 1, at)
                return (rest[0], wrong + rest[1]) if rest else None
            nearest = (at,) if at == first else self._next_words(text, page, number, at)
            steps = ((one, self._step(page, number, one)) for one in nearest if one < len(page))
            at, step = next(((one, step) for one, step in steps if step), (at, None))
            if step is None:
                return None
            number, at, wrong = number + step[0], at + step[1], wrong + step[2]
        return at, wrong

    def _next_words(self, text: str, page: list[Word], number: int, at: int) -> Iterator[int]:
        """The words of the page that may follow the word before `at`, without and with skipping what is between."""
        before, gap = page[at - 1].end, self._gaps[number]
        for one in range(at, len(page)):
            low, high = before, page[one].start
            if high - low > MAX_BETWEEN:
                return
            if any(mark in gap for mark in ")]") and text[low] in ")]":
                low += 1
            if any(mark in gap for mark in "([") and text[high - 1] in "([":
                high -= 1
            if may_stand_between(text, low, high) or normalized(text[before : page[one].start]) == normalized(gap):
                yield one
            if one == at and not _SKIPPED.match(text, before):
                return

    def _after_ellipsis(self, text: str, page: list[Word], number: int, at: int) -> tuple[int, int] | None:
        """The nearest place of the rest of the name, if the words before it can be a part of a name."""
        capitalized = any(word.raw[0].isupper() for word in self.words)
        for one in range(at, min(len(page), at + MAX_OMITTED + 1)):
            if any(mark in text[page[at - 1].end : page[one].start] for mark in ".!?;"):
                return None
            if rest := self._walk(text, page, number, one):
                return rest
            if capitalized and page[one].raw[0].islower() and page[one].key not in _SMALL_WORDS:
                return None
        return None

    def _step(self, page: list[Word], number: int, at: int) -> tuple[int, int, int] | None:
        """How many words of the name and of the page are the same here, and how many letters of them are wrong."""
        quoted, printed = self.words[number], page[at]
        if self.has_ellipsis and quoted.raw[0].isupper() != printed.raw[0].isupper():
            return None
        is_strict = is_acronym(quoted.raw) and not self._is_heading
        if quoted.key == printed.key:
            return None if is_strict and not is_same_acronym(quoted.raw, printed.raw) else (1, 1, 0)
        wrong = self._wrong_letters(quoted.raw, printed.raw)
        if wrong is not None:
            return 1, 1, wrong
        may_be_joined = quoted.key.startswith(printed.key) or printed.key.startswith(quoted.key)
        for several, others in _JOINED if may_be_joined and not is_strict else ():
            one, other = _joined(self.words, number, several), _joined(page, at, others)
            if one and other and (normalized(one) == normalized(other) or lost_glyphs(one, other)):
                return several, others, 0
        return None

    def _wrong_letters(self, quoted: str, printed: str) -> int | None:
        if lost_glyphs(quoted, printed):
            return 0
        if self._has_own_acronym and is_inflected(normalized(quoted), normalized(printed)):
            return 1
        return misspellings(quoted, printed, self._lenient) if self._max_wrong else None


def _joined(words: Sequence[Word], number: int, several: int) -> str:
    """The words without spaces, or nothing if there are not so many."""
    return "".join(word.raw for word in words[number : number + several]) if number + several <= len(words) else ""


def find_passage(quote: str, words: Sequence[Word], text: str, start: int, end: int) -> Passage | None:
    """The part of `text[start:end]` that is most similar to a quotation, if its numbers and names do not differ."""
    page = words_in(text, start, end)
    blocks = align(quote, words, text, page)
    agreeing = sum(block.letters for block in blocks if block.letters > 0)
    differing = -sum(block.letters for block in blocks if block.letters < 0)
    if agreeing < MIN_PASSAGE or differing > MAX_DIFFERENT * agreeing:
        return None
    is_long = agreeing >= LONG_PASSAGE
    different = [one for one in blocks if one.letters < 0]
    if any(_is_other(words[one.low : one.high], page[one.first : one.last], is_long) for one in different):
        return None
    first, last = page[blocks[0].first], page[blocks[-1].last - 1]
    before, after = words[: blocks[0].low], words[blocks[-1].high :]
    total, known = sum(len(word.key) for word in words), {word.key for word in page}
    misspelt = sum(word.key not in known for word in words[blocks[0].low : blocks[-1].high])
    return Passage(first.start, last.end, agreeing - differing - misspelt, agreeing / total, before, after)


def is_one_letter_off(quote: str, text: str, start: int) -> bool:
    """Whether `text[start:]` begins with the quotation, in which one letter is another letter. Both are normalized."""
    printed = text[start : start + len(quote)]
    if len(printed) != len(quote) or Hamming.distance(quote, printed, score_cutoff=1) != 1:
        return False
    one, other = next(pair for pair in zip(quote, printed, strict=True) if pair[0] != pair[1])
    return one.isalpha() and other.isalpha()


def _is_other(quoted: Sequence[Word], printed: Sequence[Word], is_long: bool) -> bool:
    """Whether other words of a sentence make it another one: other numbers, other names.

    In a long one, one letter may be wrong.
    """
    numbers = [{word.key for word in words if word.is_number} for words in (quoted, printed)]
    if numbers[0] - numbers[1]:
        return True
    names = [{word.key for word in words if word.raw[0].isupper()} for words in (quoted, printed)]
    if not names[0] or not names[1] or names[0] & names[1]:
        return False
    joined = ["".join(word.key for word in words) for words in (quoted, printed)]
    return not (is_long and Levenshtein.distance(*joined) == 1)


def has_other_numbers(quoted: Sequence[Word], printed: Sequence[Word]) -> bool:
    """Whether both have numbers, but not the same."""
    one, other = ({word.key for word in words if word.is_number} for words in (quoted, printed))
    return bool(one and other and one - other)
