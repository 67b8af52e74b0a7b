"""Find the exact span of a quotation in the text of a page, or nothing: a wrong place is worse than none.

Language models change what they quote: line breaks become spaces, hyphens at line ends disappear, quotation marks are
straightened. So a quotation is first searched for literally, then normalized (without everything that such copying
changes), then with a few letters changed. The span always refers to the page's own characters.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from pipeline.text.fuzzy import (
    LONG_TEXT,
    NAME,
    NAME_IN_PASSAGE,
    SENTENCE,
    Tolerance,
    distance,
    is_copy,
    most_similar,
    similarity,
)
from pipeline.text.language import FIRST_CJK
from pipeline.text.normalize import is_ignored, normalized, normalized_with_origin
from pipeline.text.sentences import sentence_spans

MAX_SENTENCE = 200  # characters; a longer sentence also ends at the end of a short line
FULL_LINE = 40  # characters; lines of prose have more, cells of tables have fewer
MIN_LONG_QUOTE = 60  # characters; a quotation of this length is unique, even if it is cut off within a word
MAX_PLACES = 50  # of one name that are compared with the sentence that it was quoted from
BORDER_RANGE = 40  # characters to either side of a likely place, in which the borders of words are tried
MAX_BORDERS = 3  # of them, on either side
_WORD = re.compile(r"\w+")
_CLOSING_MARKS = ")]},;:.!?*"
_GARBLED_SPACE = re.compile(r"0[^\S\n]*\n\s*0")  # some models write this for a no-break space


@dataclass(frozen=True, slots=True)
class Span:
    """A place `text[start:end]`. `kind`: how it was found."""

    start: int
    end: int
    kind: Literal["exact", "normalized", "fuzzy"]


class PageIndex:
    """The text of a page, prepared for finding many quotations. `language` (ISO 639-1): for splitting sentences."""

    def __init__(self, text: str, language: str | None = None) -> None:
        self.text, self._language = text, language

    def locate(self, name: str, within: Span | None = None, near: str | None = None) -> Span | None:
        """Find `name` as whole words, in the span `within` or on the whole page.

        Of several places, returns the one whose sentence is most similar to `near`, or the first one without `near`.
        """
        return self._locate(name, within, near, NAME)

    def locate_nearest(self, name: str, position: int) -> Span | None:
        """Find the place of `name` (exact or normalized) that is nearest to a position."""
        for search in (self._exact, self._normalized):
            found = list(islice(search(name.strip(), 0, len(self.text), False), MAX_PLACES))
            if found:
                return min(found, key=lambda place: abs(place.start - position))
        return None

    def locate_in_passage(self, name: str, passage: Span) -> Span | None:
        """Find `name` in the passage that it was quoted with. More changes are tolerated than elsewhere."""
        return self._locate(name, passage, None, NAME_IN_PASSAGE)

    def locate_passage(self, quote: str, within: Span | None = None) -> Span | None:
        """Find a sentence or a longer text. A long one may begin or end within a word."""
        return self._locate(quote, within, None, LONG_TEXT if len(quote) > MIN_LONG_QUOTE else SENTENCE)

    def sentence(self, span: Span, within: Span | None = None) -> Span:
        """The sentence (or the sentences) around `span`, at most up to the borders of the passage `within`."""
        low, high = (within.start, within.end) if within else (0, len(self.text))
        starts = [start for start, end in self._sentences if start <= span.start < end]
        ends = [end for start, end in self._sentences if start < span.end <= end]
        start, end = max(low, starts[0] if starts else low), min(high, ends[0] if ends else high)
        if end - start > MAX_SENTENCE:
            start, end = self._full_lines(span, start, end)
        start, end = min(start, span.start), max(end, span.end)
        while start < end and self.text[start].isspace():
            start += 1
        while end > start and self.text[end - 1].isspace():
            end -= 1
        return Span(start, end, "exact")

    def _locate(self, quote: str, within: Span | None, near: str | None, tolerance: Tolerance) -> Span | None:
        region = (within.start, within.end) if within else (0, len(self.text))
        if not any(char.isalnum() for char in quote):
            return None
        for search in (self._exact, self._normalized):
            found = list(islice(search(quote.strip(), *region, tolerance.by_similarity), MAX_PLACES if near else 1))
            if found:
                return self._most_likely(found, near or "")
        if "0" in quote and _GARBLED_SPACE.search(quote):
            return self._locate(_GARBLED_SPACE.sub(" ", quote), within, near, tolerance)
        return self._similar(normalized(quote), *region, tolerance)

    def _most_likely(self, places: list[Span], near: str) -> Span:
        """The place whose sentence is most similar to `near`."""
        if len(places) == 1:
            return places[0]

        def likeness(place: Span) -> float:
            sentence = self.sentence(place)
            return similarity(self.text[sentence.start : sentence.end], near)

        return max(places, key=likeness)

    def _full_lines(self, span: Span, start: int, end: int) -> tuple[int, int]:
        """Shorten a sentence to the full lines around `span`: a table is one endless sentence to a splitter."""
        first = self.text.rfind("\n", start, span.start) + 1 or start
        while first > start and first - 1 - (before := self.text.rfind("\n", start, first - 1)) > FULL_LINE:
            first = max(start, before + 1)
        last = span.end
        while (after := self.text.find("\n", last, end)) >= 0:
            if after - self.text.rfind("\n", 0, after) <= FULL_LINE:
                return first, after
            last = after + 1
        return first, end

    def _exact(self, quote: str, start: int, end: int, in_words: bool) -> Iterator[Span]:
        """The places of the literal quotation. With `in_words`, also those that begin or end within a word."""
        found = self.text.find(quote, start, end) if quote else -1
        while found >= 0:
            if in_words or _is_whole_words(self.text, found, found + len(quote)):
                yield Span(found, found + len(quote), "exact")
            found = self.text.find(quote, found + 1, end)

    def _normalized(self, quote: str, start: int, end: int, in_words: bool) -> Iterator[Span]:
        """The same for the normalized quotation in the normalized text."""
        wanted = normalized(quote)
        text, origin = self._normalized_text
        found = text.find(wanted, bisect_left(origin, start)) if wanted else -1
        while found >= 0:
            first, last = origin[found], origin[found + len(wanted) - 1] + 1
            if last > end:
                return
            if in_words or _is_whole_words(self.text, first, last):
                yield Span(*self._with_outer_marks(first, last, quote.strip()), "normalized")
            found = text.find(wanted, found + 1)

    def _similar(self, wanted: str, start: int, end: int, tolerance: Tolerance) -> Span | None:
        """The place that is most similar to the normalized quotation, if it is a copy of it."""
        text, origin = self._normalized_text
        low, high = bisect_left(origin, start), bisect_left(origin, end)
        found = most_similar(wanted, text[low:high], tolerance)
        if found is None:
            return None
        first, last = origin[low + found[0]], origin[low + found[1] - 1] + 1
        if not tolerance.by_similarity:
            first, last = self._best_borders(wanted, first, last, start, end)
        return Span(first, last, "fuzzy") if is_copy(wanted, self.text[first:last], tolerance) else None

    def _best_borders(self, wanted: str, first: int, last: int, start: int, end: int) -> tuple[int, int]:
        """The whole words around (first, last) that are closest: an alignment may be off by a letter or a word."""
        low, high = max(start, first - BORDER_RANGE), min(end, last + BORDER_RANGE)
        words = [match.span() for match in _WORD.finditer(self.text, low, high)]
        starts = sorted((place for place, _ in words), key=lambda place: abs(place - first))[:MAX_BORDERS]
        ends = sorted((place for _, place in words), key=lambda place: abs(place - last))[:MAX_BORDERS]
        # A closing bracket, for example, belongs to the place if the quotation ends with it.
        marks = wanted[len(wanted.rstrip(_CLOSING_MARKS)) :]
        ends = [place + len(marks) if self.text.startswith(marks, place) else place for place in ends]
        if max(self.text[first:last]) >= FIRST_CJK:
            starts, ends = [first, *starts], [last, *ends]
        borders = [(left, right) for left in starts for right in ends if left < right <= end] or [(first, last)]
        return min(borders, key=lambda border: distance(wanted, self.text[border[0] : border[1]]))

    def _with_outer_marks(self, first: int, last: int, quote: str) -> tuple[int, int]:
        """Extend the place by one mark on each side where both the quotation and the page have one."""

        def is_mark(char: str) -> bool:
            return is_ignored(char) and not char.isspace()

        if first > 0 and is_ignored(quote[0]) and is_mark(self.text[first - 1]):
            first -= 1
        if last < len(self.text) and is_ignored(quote[-1]) and is_mark(self.text[last]):
            last += 1
        return first, last

    @cached_property
    def _normalized_text(self) -> tuple[str, list[int]]:
        """The normalized page, and for each of its characters the index of the page's character."""
        return normalized_with_origin(self.text)

    @cached_property
    def _sentences(self) -> list[tuple[int, int]]:
        return sentence_spans(self.text, self._language)


def _is_whole_words(text: str, start: int, end: int) -> bool:
    return not (_is_within_word(text, start) or _is_within_word(text, end))


def _is_within_word(text: str, border: int) -> bool:
    """Whether the characters on both sides of `border` belong to one word or number.

    A letter next to a digit does not count, because footnote numbers follow names ("Living Standards Survey7").
    """
    if border <= 0 or border >= len(text):
        return False
    left, right = text[border - 1], text[border]
    if max(left, right) >= FIRST_CJK:
        return False
    return (left.isalpha() and right.isalpha()) or (left.isdigit() and right.isdigit())
