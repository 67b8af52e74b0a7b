"""Find the exact span of a quotation in the text of a page, or nothing: a wrong place is worse than none.

Language models change what they quote: line breaks become spaces, hyphens at line ends disappear, quotation marks are
straightened. So a quotation is first searched for literally, then normalized (without everything that such copying
changes), then without markup, then word by word (fuzzy.py). The span always refers to the page's own characters, and it
begins and ends with whole words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from pipeline.text.alignment import MAX_ACRONYM, Word, is_acronym, is_same_acronym, parts_between_ellipses, words_in
from pipeline.text.fuzzy import (
    LONG_PASSAGE,
    MIN_SHARE,
    NAME,
    NAME_IN_PASSAGE,
    NAME_MARGIN,
    NameSearch,
    Passage,
    Tolerance,
    find_passage,
    has_other_numbers,
    is_one_letter_off,
    similarity,
    windows,
)
from pipeline.text.markup import without_markup
from pipeline.text.normalize import NormalizedText, is_ignored, normalized
from pipeline.text.sentences import sentence_spans
from pipeline.text.variants import DATA_NOUNS, name_variants
from pipeline.text.word_borders import is_whole_words, with_whole_words

MAX_SENTENCE = 200  # characters; a longer sentence also ends at the end of a short line
FULL_LINE = 40  # characters; lines of prose have more, cells of tables have fewer
MIN_LONG_QUOTE = 60  # characters; a quotation of this length is unique, even if it is cut off within a word
MAX_PLACES = 50  # of one name that are compared with the sentence that it was quoted from
MAX_NAME = 500  # characters; comparing takes the time of their square
MAX_OMITTED = 1_000  # characters that an ellipsis in a passage can stand for
NEARLY = 0.2  # of a sentence: if a passage lacks no more of it on one side, the whole sentence is meant
MAX_REPLACED = 3  # words at a border of a quotation that can stand for others on the page
NEARLY_ALL = 0.99  # of the letters of a quotation: what is missing at its borders says nothing
MIN_SENTENCE_WORDS = 4  # of a sentence that is recognized by itself, among words that the quotation adds
_CLOSING_MARKS = ")]},;:.!?"
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")
_WORD = re.compile(r"\w+")
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
        """Find a sentence or a longer text. A word that is cut off is found whole."""
        region = (within.start, within.end) if within else (0, len(self.text))
        found = self._copy(quote, *region)
        if found or not any(char.isalnum() for char in quote):
            return found
        forms = _plain_forms(quote)
        for plain in forms:
            if found := self._copy(plain, *region):
                return found
        if found := self._one_letter_wrong(quote, *region):
            return found
        # What looks like a garbled space may also be two numbers of a table.
        others = (
            self._changed_passage(plain, *region) for plain in dict.fromkeys((*forms[-1:], without_markup(quote)))
        )
        return next((place for place in others if place), None)

    def _changed_passage(self, plain: str, start: int, end: int) -> Span | None:
        parts = parts_between_ellipses(plain)
        if len(parts) < 2:
            return self._similar_passage(parts[0], start, end) if parts else None
        # An ellipsis may also stand on the page, or for a word or two.
        found = self._similar_passage(plain, start, end, only_whole=True) or self._parts(parts, start, end)
        return found or self._similar_passage(plain, start, end)

    def locate_copy(self, part: str) -> Span | None:
        """Find an exact or normalized part of the page. As the part, its place may begin or end within a word."""
        region = (0, len(self.text))
        copies = (place for search in (self._exact, self._normalized) for place in search(part.strip(), *region, True))
        return next(copies, None)

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

    def _locate(self, name: str, within: Span | None, near: str | None, tolerance: Tolerance) -> Span | None:
        region = (within.start, within.end) if within else (0, len(self.text))
        if not any(char.isalnum() for char in name):
            return None
        if found := self._same_name(name, *region, near):
            return found
        plain = name
        for plain in _plain_forms(name):
            if found := self._same_name(plain, *region, near):
                return found
        if len(plain) > MAX_NAME:
            return None
        if found := self._similar_name(plain, *region, near, tolerance):
            return found
        if len(parts_between_ellipses(plain)) > 1:
            return None
        for variant, acronym in name_variants(plain):
            found = self._same_name(variant, *region, near) or self._similar_name(variant, *region, near, NAME)
            if found and self._is_all_of_name(found, name, variant, acronym):
                return Span(found.start, self._with_same_bracket(found.end, name), "fuzzy")
        return None

    def _same_name(self, name: str, start: int, end: int, near: str | None) -> Span | None:
        for search in (self._exact, self._normalized):
            found = list(islice(search(name.strip(), start, end, False), MAX_PLACES if near else 1))
            if found:
                return self._most_likely(found, near or "")
        return None

    def _copy(self, quote: str, start: int, end: int) -> Span | None:
        """The exact or normalized place of a passage, widened to whole words."""
        for search in (self._exact, self._normalized):
            in_words = len(quote) > MIN_LONG_QUOTE
            for found in search(quote.strip(), start, end, in_words):
                if not in_words:
                    return found
                first, last = with_whole_words(self.text, found.start, found.end)
                if (first, last) == (found.start, found.end):
                    return found
                first, last = self._with_rest_of_sentence(max(first, start), min(last, end), start, end)
                return Span(first, last, found.kind)
        return None

    def _similar_name(self, name: str, start: int, end: int, near: str | None, tolerance: Tolerance) -> Span | None:
        """The place that has the name in other words, if only one name can be meant."""
        search = NameSearch(name, tolerance)
        found = [
            place
            for window in windows(search.words, self._normalized_text, (start, end), NAME_MARGIN)
            for place in search.places(self.text, *with_whole_words(self.text, *window))
            if start <= place.start and place.end <= end and is_whole_words(self.text, place.start, place.end)
        ]
        best = [place for place in found if place.score == max(one.score for one in found)]
        if not best or (search.has_ellipsis and len({normalized(self.text[one.start : one.end]) for one in best}) > 1):
            return None
        spans = [Span(one.start, self._with_closing_mark(one.end, name), "fuzzy") for one in best]
        return self._most_likely(spans, near or "")

    def _is_all_of_name(self, found: Span, name: str, variant: str, acronym: str) -> bool:
        """Whether the place of a shortened name is meant, and no longer name or other edition.

        "Labour Force" is not "Labour Force Survey", and "(Lee, 2012)" is not "(Lee, 2016)".
        """
        rest = self.text[found.end : found.end + 20]
        next_word = rest.split()[0].strip(_CLOSING_MARKS).lower() if rest[:1].isspace() and rest.strip() else ""
        bracket = _BRACKETS.match(self.text, found.end + 1)
        place = self.text[found.start : bracket.end() if bracket else found.end]
        left_out, printed = (_years(text) - _years(variant) for text in (name, place))
        is_other = bool(left_out and printed and left_out - printed)
        is_cased = self.text[found.start].isupper() == variant[0].isupper()
        return is_cased and not is_other and next_word not in DATA_NOUNS and acronym in place

    def _with_same_bracket(self, end: int, name: str) -> int:
        """The end of a place, behind the acronym or the citation in brackets that the name has somewhere, too."""
        bracket = _BRACKETS.match(self.text, end + 1)
        is_same = bracket and {word.key for word in words_in(bracket[0])} <= {word.key for word in words_in(name)}
        return bracket.end() if bracket and is_same else end

    def _with_closing_mark(self, end: int, quote: str) -> int:
        """The end of a place, behind the closing bracket or full stop that the quotation ends with."""
        marks = quote[len(quote.rstrip(_CLOSING_MARKS)) :]
        return end + len(marks) if self.text.startswith(marks, end) else end

    def _one_letter_wrong(self, quote: str, start: int, end: int) -> Span | None:
        """The only place of a long passage in which one letter is another one: one half of it is there as it is.

        This is the most frequent error, and aligning the words takes several times as long.
        """
        wanted, page = normalized(quote), self._normalized_text
        half = len(wanted) // 2
        found = (
            {page.text.find(wanted[:half]), page.text.find(wanted[half:]) - half} if half >= LONG_PASSAGE // 2 else ()
        )
        places = [place for place in found if place >= 0 and is_one_letter_off(wanted, page.text, place)]
        if len(places) != 1:
            return None
        first, last = page.origin(places[0]), page.origin(places[0] + len(wanted) - 1) + 1
        first, last = with_whole_words(self.text, first, self._with_closing_mark(last, quote))
        if first < start or last > end:
            return None
        return Span(*self._with_rest_of_sentence(first, last, start, end), "fuzzy")

    def _similar_passage(self, quote: str, start: int, end: int, only_whole: bool = False) -> Span | None:
        """The place that has most words of a passage."""
        words = words_in(quote)
        margin = max(NAME_MARGIN // 2, len(quote) // 3)
        found = [
            passage
            for low, high in windows(words, self._normalized_text, (start, end), margin, only_likely=True)
            if (passage := find_passage(quote, words, self.text, *with_whole_words(self.text, low, high)))
            and start <= passage.start and passage.end <= end and self._is_meant(passage)
            and not (only_whole and (passage.before or passage.after))
        ]  # fmt: skip
        if not found:
            return None
        best = max(found, key=lambda passage: passage.score)
        last = self._with_closing_mark(best.end, quote)
        first, last = self._with_rest_of_sentence(
            best.start, last, start, end, _length_of(best.before), _length_of(best.after)
        )
        return Span(first, last, "fuzzy")

    def _is_meant(self, passage: Passage) -> bool:
        """Whether a passage has enough of the quotation, and the sentence around it has no other numbers."""
        if passage.share >= NEARLY_ALL or not (passage.before or passage.after):
            return True
        whole = self.sentence(Span(passage.start, passage.end, "exact"))
        before = words_in(self.text, whole.start, passage.start)
        after = words_in(self.text, passage.end, whole.end)
        if has_other_numbers(passage.before, before) or has_other_numbers(passage.after, after):
            return False
        if passage.share >= MIN_SHARE:
            return True
        inside = len(words_in(self.text, passage.start, passage.end))
        return inside >= MIN_SENTENCE_WORDS and len(before) + len(after) <= NEARLY * inside

    def _parts(self, parts: list[str], start: int, end: int) -> Span | None:
        """The place of a passage of which only parts are quoted: from the first part to the last one."""
        longest = max(range(len(parts)), key=lambda number: len(parts[number]))
        anchor = self._part(parts[longest], start, end)
        if anchor is None:
            return None
        first, last = anchor.start, anchor.end
        for part in parts[longest + 1 :]:
            found = self._part(part, last, min(end, last + MAX_OMITTED))
            if found is None:
                return None
            last = found.end
        for part in reversed(parts[:longest]):
            found = self._part(part, max(start, first - MAX_OMITTED), first, last=True)
            if found is None:
                return None
            first = found.start
        return Span(*self._with_rest_of_sentence(first, last, start, end), "fuzzy")

    def _part(self, part: str, start: int, end: int, last: bool = False) -> Span | None:
        """The first place of a part in `text[start:end]`, or the last one."""
        for search in (self._exact, self._normalized):
            found = list(search(part, start, end, False))
            if found:
                return found[-1 if last else 0]
        return self._similar_passage(part, start, end)

    def _with_rest_of_sentence(
        self, first: int, last: int, start: int, end: int, before: int = 0, after: int = 0
    ) -> tuple[int, int]:
        """A passage, widened to the sentence that it nearly fills, within `text[start:end]`.

        If it has only a few words of the sentence before or after, these are left out. `before`, `after`: characters
        of the quotation that are not in the passage, if they may stand for others.
        """
        whole = self.sentence(Span(first, last, "exact"))
        room = NEARLY * (whole.end - whole.start)
        for low, high in self._sentences:
            if low < first < high < last and high - first < NEARLY * min(high - low, last - first):
                return self._with_rest_of_sentence(self._next_visible(high), last, start, end)
            if first < low < last < high and last - low < NEARLY * min(high - low, last - first):
                return self._with_rest_of_sentence(first, len(self.text[:low].rstrip()), start, end)
        if first - whole.start <= room or _length(self.text[whole.start : first]) <= max(room, before):
            first = max(start, whole.start)
        if whole.end - last <= room or _length(self.text[last : whole.end]) <= max(room, after):
            last = min(end, whole.end)
        return first, last

    def _next_visible(self, position: int) -> int:
        return len(self.text) - len(self.text[position:].lstrip())

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
            if in_words or is_whole_words(self.text, found, found + len(quote)):
                yield Span(found, found + len(quote), "exact")
            found = self.text.find(quote, found + 1, end)

    def _normalized(self, quote: str, start: int, end: int, in_words: bool) -> Iterator[Span]:
        """The same for the normalized quotation in the normalized text."""
        wanted, page = normalized(quote), self._normalized_text
        acronyms = [] if in_words else _acronyms(quote)
        found = page.text.find(wanted, page.position(start)) if wanted else -1
        while found >= 0:
            after = found + len(wanted)
            first, last = page.origin(found), page.origin(after - 1) + 1
            if last > end:
                return
            is_whole = in_words or (is_whole_words(self.text, first, last) and self._has_whole_characters(found, after))
            if is_whole and all(
                is_same_acronym(one, self.text[page.origin(found + low) : page.origin(found + high - 1) + 1])
                for one, low, high in acronyms
            ):
                yield Span(*self._with_outer_marks(first, last, quote.strip()), "normalized")
            found = page.text.find(wanted, found + 1)

    def _has_whole_characters(self, start: int, end: int) -> bool:
        """Whether no border of a normalized place is within a character, for example a ligature."""
        page = self._normalized_text
        begins = start == 0 or page.origin(start - 1) != page.origin(start)
        return begins and (end == len(page.text) or page.origin(end - 1) != page.origin(end))

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
    def _normalized_text(self) -> NormalizedText:
        return NormalizedText(self.text)

    @cached_property
    def _sentences(self) -> list[tuple[int, int]]:
        return sentence_spans(self.text, self._language)


def _length(text: str) -> int:
    """The number of characters without those in brackets: a copy may leave out a citation."""
    return len(_BRACKETS.sub("", text))


def _plain_forms(quote: str) -> list[str]:
    """The quotation without garbled spaces, and without markup, if it has any. The page may have one of them, too."""
    repaired = _GARBLED_SPACE.sub(" ", quote) if "0" in quote and "\n" in quote else quote
    return [plain for plain in dict.fromkeys((repaired, without_markup(repaired))) if plain != quote]


def _years(text: str) -> set[str]:
    return set(_YEAR.findall(text))


def _length_of(words: Sequence[Word]) -> int:
    """The number of characters that a few words can stand for. More words are something added."""
    return sum(len(word.raw) + 2 for word in words) if len(words) <= MAX_REPLACED else 0


def _acronyms(quote: str) -> list[tuple[str, int, int]]:
    """The acronyms of a name, and their spans in the normalized name. None if all of its words are in capitals."""
    words = list(_WORD.finditer(quote))
    is_in_capitals = len(quote.split()) > 1 or any(len(word[0]) > MAX_ACRONYM for word in words)
    if quote.isupper() and is_in_capitals:
        return []
    found = (match for match in words if is_acronym(match[0]))
    return [(one[0], len(normalized(quote[: one.start()])), len(normalized(quote[: one.end()]))) for one in found]
