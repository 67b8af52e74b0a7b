"""A quoted string -> its exact span in the page, or nothing: a wrong place is worse than none.

Models retype what they quote: line breaks become spaces, hyphens at line ends vanish, quotes are straightened.
So a quotation that does not stand in the page letter by letter is looked for again with everything left out that
such retyping changes, and the span is given in the page's own characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from pipeline.documents.sentences import sentence_spans

_IGNORED = {"Zs", "Zl", "Zp", "Cc", "Cf", "Pd", "Pi", "Pf", "Mn"}
_IGNORED_CHARACTERS = frozenset("'\"`´′″−�")
LONGEST_SENTENCE = 200  # characters; beyond that, line ends are taken for borders where lines are short
FULL_LINE = 40  # characters: lines of prose have more, cells of tables fewer
SURELY_MEANT = 60  # letters: so long a quotation stands nowhere by chance, even if it was cut off within a word
_NO_WORD_SPACES = "\u2e80"  # from here on lie the scripts that put no spaces between words


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]` is what was looked for; `kind` says how it was found."""

    start: int
    end: int
    kind: Literal["exact", "normalized"]


class PageIndex:
    """One page, prepared for looking up many quotations."""

    def __init__(self, text: str, language: str | None = None) -> None:
        self.text, self._language = text, language

    def locate(self, quote: str, within: Span | None = None) -> Span | None:
        """The first place of `quote` as whole words, in the span `within` if given, else in the page."""
        start, end = (within.start, within.end) if within else (0, len(self.text))
        if not any(char.isalnum() for char in quote):
            return None
        return self._exact(quote.strip(), start, end) or self._normalized(quote, start, end)

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

    def _exact(self, quote: str, start: int, end: int) -> Span | None:
        found = self.text.find(quote, start, end) if quote else -1
        while found >= 0:
            if len(quote) > SURELY_MEANT or _whole_words(self.text, found, found + len(quote)):
                return Span(found, found + len(quote), "exact")
            found = self.text.find(quote, found + 1, end)
        return None

    def _normalized(self, quote: str, start: int, end: int) -> Span | None:
        wanted = "".join(_letters(quote))
        text, origin = self._folded
        found = text.find(wanted) if wanted else -1
        while found >= 0:
            first, last = origin[found], origin[found + len(wanted) - 1] + 1
            whole = len(wanted) > SURELY_MEANT or _whole_words(self.text, first, last)
            if start <= first and last <= end and whole:
                return Span(*self._with_quotes(first, last, quote), "normalized")
            found = text.find(wanted, found + 1)
        return None

    def _with_quotes(self, first: int, last: int, quote: str) -> tuple[int, int]:
        """A mark that closes or opens the quotation belongs to it where the page has one there."""
        quote = quote.strip()
        if (
            quote
            and _ignored(quote[0])
            and first
            and not self.text[first - 1].isspace()
            and _ignored(self.text[first - 1])
        ):
            first -= 1
        if (
            quote
            and _ignored(quote[-1])
            and last < len(self.text)
            and not self.text[last].isspace()
            and _ignored(self.text[last])
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
        letters: list[str] = []
        origin: list[int] = []
        for index, char in enumerate(self.text):
            for letter in _fold(char):
                letters.append(letter)
                origin.append(index)
        return "".join(letters), origin

    @cached_property
    def _sentences(self) -> list[tuple[int, int]]:
        return sentence_spans(self.text, self._language)


def _letters(text: str) -> Iterator[str]:
    for char in text:
        yield from _fold(char)


@lru_cache(maxsize=65536)
def _fold(char: str) -> str:
    """What is left of one character when retyping damage is ignored: '' for white space, dashes, quotes, accents."""
    if _ignored(char):
        return ""
    parts = unicodedata.normalize("NFKD", char)
    return "".join(part for part in parts if not _ignored(part)).casefold()


def _ignored(char: str) -> bool:
    return char in _IGNORED_CHARACTERS or unicodedata.category(char) in _IGNORED


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
