"""A quoted string -> its exact span in the page, or nothing: a wrong place is worse than none.

Models retype what they quote: line breaks become spaces, hyphens at line ends vanish, quotes are straightened.
So a quotation that does not stand in the page letter by letter is looked for again with everything left out that
such retyping changes, then with a letter or two changed; the span is given in the page's own characters.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from pipeline.documents.folding import folded, folded_with_origin, is_ignored
from pipeline.documents.fuzzy import (
    LONG_TEXT,
    NAME,
    NAME_IN_ITS_PASSAGE,
    SENTENCE,
    Tolerance,
    distance,
    is_copy,
    most_similar,
    similarity,
)
from pipeline.documents.sentences import sentence_spans

LONGEST_SENTENCE = 200  # characters; beyond that, line ends are taken for borders where lines are short
FULL_LINE = 40  # characters: lines of prose have more, cells of tables fewer
SURELY_MEANT = 60  # characters: so long a quotation stands nowhere by chance, even if it was cut off within a word
MOST_PLACES = 50  # of one name that are compared with the sentence it was quoted from
BORDER = 40  # characters to either side of a likely place in which the words are looked at
NEAREST = 3  # of them
_WORD = re.compile(r"\w+")
_MARKS = ")]},;:.!?*"
_NO_WORD_SPACES = "\u2e80"  # from here on lie the scripts that put no spaces between words
_GARBLED_SPACE = re.compile(r"0[^\S\n]*\n\s*0")  # what some models make of a no-break space


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]` is what was looked for; `kind` says how it was found."""

    start: int
    end: int
    kind: Literal["exact", "normalized", "fuzzy"]


class PageIndex:
    """One page, prepared for looking up many quotations; `language` (ISO 639-1) is for its sentences."""

    def __init__(self, text: str, language: str | None = None) -> None:
        self.text, self._language = text, language

    def locate(self, name: str, within: Span | None = None, near: str | None = None) -> Span | None:
        """The place of `name` as whole words, in the span `within` if given, else in the page.

        Where it stands several times: in the sentence that is most like `near`, else the first place.
        """
        return self._located(name, within, near, NAME)

    def locate_nearest(self, name: str, position: int) -> Span | None:
        """The place of `name`, letter by letter or as it may be retyped, that is nearest to a position."""
        for looked_up in (self._exact, self._normalized):
            found = list(islice(looked_up(name.strip(), 0, len(self.text), False), MOST_PLACES))
            if found:
                return min(found, key=lambda place: abs(place.start - position))
        return None

    def locate_in_passage(self, name: str, passage: Span) -> Span | None:
        """The place of `name` in the passage that it is said to stand in."""
        return self._located(name, passage, None, NAME_IN_ITS_PASSAGE)

    def locate_passage(self, quote: str, within: Span | None = None) -> Span | None:
        """The place of a sentence or a longer text. A long one may begin or end within a word."""
        return self._located(quote, within, None, LONG_TEXT if len(quote) > SURELY_MEANT else SENTENCE)

    def _located(self, quote: str, within: Span | None, near: str | None, tolerance: Tolerance) -> Span | None:
        region = (within.start, within.end) if within else (0, len(self.text))
        if not any(char.isalnum() for char in quote):
            return None
        for looked_up in (self._exact, self._normalized):
            found = list(islice(looked_up(quote.strip(), *region, tolerance.whole), MOST_PLACES if near else 1))
            if found:
                return max(found, key=lambda place: self._likeness(place, near)) if len(found) > 1 else found[0]
        if "0" in quote and _GARBLED_SPACE.search(quote):
            return self._located(_GARBLED_SPACE.sub(" ", quote), within, near, tolerance)
        return self._similar(folded(quote), *region, tolerance)

    def _likeness(self, place: Span, near: str | None) -> float:
        sentence = self.sentence(place)
        return similarity(self.text[sentence.start : sentence.end], near or "")

    def sentence(self, span: Span, within: Span | None = None) -> Span:
        """The sentence (or the run of sentences) that `span` stands in, never beyond the passage `within`."""
        low, high = (within.start, within.end) if within else (0, len(self.text))
        starts = [start for start, end in self._sentences if start <= span.start < end]
        ends = [end for start, end in self._sentences if start < span.end <= end]
        start, end = max(low, starts[0] if starts else low), min(high, ends[0] if ends else high)
        if end - start > LONGEST_SENTENCE:
            start, end = self._prose(span, start, end)
        return Span(*self._trimmed(min(start, span.start), max(end, span.end)), "exact")

    def _prose(self, span: Span, start: int, end: int) -> tuple[int, int]:
        """A table is one endless sentence to a splitter: go no further than the full lines around `span`."""
        first = self.text.rfind("\n", start, span.start) + 1 or start
        while first > start and first - 1 - (before := self.text.rfind("\n", start, first - 1)) > FULL_LINE:
            first = max(start, before + 1)
        last = span.end
        while (after := self.text.find("\n", last, end)) >= 0:
            if after - self.text.rfind("\n", 0, after) <= FULL_LINE:
                return first, after
            last = after + 1
        return first, end

    def _exact(self, quote: str, start: int, end: int, anywhere: bool) -> Iterator[Span]:
        """`anywhere`: within words too."""
        found = self.text.find(quote, start, end) if quote else -1
        while found >= 0:
            if anywhere or _whole_words(self.text, found, found + len(quote)):
                yield Span(found, found + len(quote), "exact")
            found = self.text.find(quote, found + 1, end)

    def _normalized(self, quote: str, start: int, end: int, anywhere: bool) -> Iterator[Span]:
        wanted = folded(quote)
        text, origin = self._folded
        found = text.find(wanted, bisect_left(origin, start)) if wanted else -1
        while found >= 0:
            first, last = origin[found], origin[found + len(wanted) - 1] + 1
            if last > end:
                return
            if anywhere or _whole_words(self.text, first, last):
                yield Span(*self._with_quotes(first, last, quote), "normalized")
            found = text.find(wanted, found + 1)

    def _similar(self, wanted: str, start: int, end: int, tolerance: Tolerance) -> Span | None:
        text, origin = self._folded
        low, high = bisect_left(origin, start), bisect_left(origin, end)
        found = most_similar(wanted, text[low:high], tolerance)
        if found is None:
            return None
        first, last = origin[low + found[0]], origin[low + found[1] - 1] + 1
        if not tolerance.whole:
            first, last = self._best_borders(wanted, first, last, start, end)
        return Span(first, last, "fuzzy") if is_copy(wanted, self.text[first:last], tolerance) else None

    def _best_borders(self, wanted: str, first: int, last: int, start: int, end: int) -> tuple[int, int]:
        """Whole words around (first, last) that come closest: an alignment may be off by a letter or a word."""
        low, high = max(start, first - BORDER), min(end, last + BORDER)
        words = [match.span() for match in _WORD.finditer(self.text, low, high)]
        starts = sorted((place for place, _ in words), key=lambda place: abs(place - first))[:NEAREST]
        ends = sorted((place for _, place in words), key=lambda place: abs(place - last))[:NEAREST]
        ends = [_behind_mark(wanted, self.text, place) for place in ends]
        if max(self.text[first:last]) >= _NO_WORD_SPACES:
            starts, ends = [first, *starts], [last, *ends]
        borders = [(left, right) for left in starts for right in ends if left < right <= end] or [(first, last)]
        return min(borders, key=lambda border: distance(wanted, self.text[border[0] : border[1]]))

    def _with_quotes(self, first: int, last: int, quote: str) -> tuple[int, int]:
        """A mark that closes or opens the quotation belongs to it where the page has one there."""
        quote = quote.strip()
        if (
            quote
            and is_ignored(quote[0])
            and first
            and not self.text[first - 1].isspace()
            and is_ignored(self.text[first - 1])
        ):
            first -= 1
        if (
            quote
            and is_ignored(quote[-1])
            and last < len(self.text)
            and not self.text[last].isspace()
            and is_ignored(self.text[last])
        ):
            last += 1
        return first, last

    def _trimmed(self, start: int, end: int) -> tuple[int, int]:
        while start < end and self.text[start].isspace():
            start += 1
        while end > start and self.text[end - 1].isspace():
            end -= 1
        return start, end

    @cached_property
    def _folded(self) -> tuple[str, list[int]]:
        """The page's letters, folded, and for each the index of the character that it comes from."""
        return folded_with_origin(self.text)

    @cached_property
    def _sentences(self) -> list[tuple[int, int]]:
        return sentence_spans(self.text, self._language)


def _whole_words(text: str, start: int, end: int) -> bool:
    return not (_same_word(text, start) or _same_word(text, end))


def _same_word(text: str, border: int) -> bool:
    """Whether the characters on both sides of `border` belong to one word or number.

    A letter beside a digit does not count: footnote marks stick to names ("Living Standards Survey7").
    """
    if border <= 0 or border >= len(text):
        return False
    left, right = text[border - 1], text[border]
    if max(left, right) >= _NO_WORD_SPACES:
        return False
    return (left.isalpha() and right.isalpha()) or (left.isdigit() and right.isdigit())


def _behind_mark(wanted: str, text: str, end: int) -> int:
    """`end`, moved behind the closing bracket, say, that the folded quotation ends with."""
    marks = wanted[len(wanted.rstrip(_MARKS)) :]
    return end + len(marks) if marks and text.startswith(marks, end) else end
