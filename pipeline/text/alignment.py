"""Words of a quotation and of a page, and whether two words are the same although one of them was damaged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from pipeline.text.normalize import normalized
from pipeline.text.tokens import count_tokens

CACHED_WORDS = 1 << 14
MIN_WORD = 5  # letters; in a shorter word one letter makes a different word ("Farm Survey", "Firm Survey")
MAX_WORD = 60  # letters; longer ones are no words
MAX_COMPARISONS = 4_000_000  # of words; a page has about 500 words
MAX_ACRONYM = 15  # letters
MIN_UNDAMAGED = 3  # letters that must be left of a word with lost glyphs
DIFFERENCE = 2  # letters that must agree behind a difference, beyond those that differ, to go on
MAX_BRACKET = 120  # characters
ELLIPSIS = "…"

# Letters with their marks, of scripts with spaces between words; glyphs without a letter are part of their word.
_LETTERS = (
    "A-Za-zªµº\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u060b\u060d-\u061a\u061c-\u061e\u0620-\u06d3\u06d5-\u0963\u0966-\u1fff"
    "\u2c00-\u2dff\ua640-\ua82f\ua880-\ud7ff\ue000-\uf8ff\ufb00-\ufdff\ufe70-\ufefe\uff21-\uff3a\uff41-\uff5a\ufffd"
)
_IDEOGRAPHS = "\u2e80-\u2fff\u3005-\u3007\u3021-\ua63f\uf900-\ufaff\uff66-\uffdc\U00010000-\U0010ffff"
# At the end of a line; in a quotation, the line end may have become a space.
_LINE_END_HYPHEN = r"[-\u00ad\u2010¬]\s+(?=[a-z\u00df-\u00f6\u00f8-\u00ff\u0430-\u044f\ufb00-\ufb06])"
_WORD = re.compile(
    rf"[{_LETTERS}]+(?:(?:['’`´\x19]|{_LINE_END_HYPHEN})[{_LETTERS}]+)*|\d+|[{_IDEOGRAPHS}][\u3099\u309a]*|&"
)
_ELLIPSIS = re.compile(r"[(\[]?(?:…|\.\s?\.\s?\.(?:\s?\.)?)[)\]]?")
_LOST_GLYPH = re.compile("[\ufffd\ue000-\uf8ff]")
_LIGATURES = re.compile("ff[il]?|f[il]")
_BRACKET = rf"\([^()]{{0,{MAX_BRACKET}}}\)|\[[^\[\]]{{0,{MAX_BRACKET}}}\]"
# What may stand between two words of a name without being part of it. A digit may only follow a word as a footnote
# mark: a number by itself can be a wave or a year.
_BETWEEN = re.compile(
    rf"(?:(?<=[a-z\u00df-\u024f]{{3}})\d{{1,2}}(?:,\d{{1,2}})*(?![\d.]))?"
    rf"(?:{_BRACKET}|\n[^\S\n]*\d{{1,4}}[^\S\n]*(?=\n)|[^\w()\[\].!?])*"
)
_NUMBERED_LINE = re.compile(r"[^\S\n]*\n[^\S\n]*(\d{1,4})[^\S\n]+")


class Word(NamedTuple):
    """A word or a number of a text: `text[start:end]`. `key` is its normalized form; "&" is "and"."""

    key: str
    raw: str
    start: int
    end: int

    @property
    def is_number(self) -> bool:
        return self.key.isdigit()


def words_in(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """The words in `text[start:end]`."""
    found = _WORD.finditer(text, start, len(text) if end is None else end)
    words = [Word(_key(raw := match[0]), raw, match.start(), match.end()) for match in found]
    return [word for word in words if word.key or _LOST_GLYPH.search(word.raw)]


@lru_cache(CACHED_WORDS)
def _key(raw: str) -> str:
    return "and" if raw == "&" else normalized(raw)


def parts_between_ellipses(quote: str) -> list[str]:
    """The parts of a quotation that has left out something. One part if it has not."""
    parts = (part.strip(" ,;:\n\t") for part in _ELLIPSIS.split(quote))
    return [part for part in parts if any(map(str.isalnum, part))]


def may_stand_between(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` may stand between two words of a name: marks, brackets, a line number."""
    if _BETWEEN.fullmatch(text, start, end):
        return True
    line = _NUMBERED_LINE.fullmatch(text, start, end)
    return line is not None and _has_numbered_neighbour(text, int(line[1]))


def _has_numbered_neighbour(text: str, number: int) -> bool:
    return re.search(rf"^[^\S\n]*(?:{number - 1}|{number + 1})\s", text, re.MULTILINE) is not None


def is_acronym(word: str) -> bool:
    """Whether at least two of the letters, and half of them, are capitals."""
    capitals = sum(map(str.isupper, word))
    return capitals >= 2 and 2 * capitals >= sum(map(str.isalpha, word)) and len(word) <= MAX_ACRONYM


@lru_cache(CACHED_WORDS)
def is_same_acronym(quoted: str, found: str) -> bool:
    """Whether an acronym is on the page as one: in its case and without spaces. "WHO" is not "who"."""
    if re.search(r"(?<![-\u00ad\u2010¬])\s", found):
        # A copy may lack the space of "DUC 2004", but "ATUS" is not "AT US".
        return "".join(found.split()) == quoted and not (quoted.isupper() and quoted.isalpha())
    capitals = sum(map(str.isupper, found))
    # "EUROSTAT" is also printed "Eurostat".
    return capitals >= 2 or (found[:1].isupper() and len(quoted) > MIN_WORD)


@lru_cache(CACHED_WORDS)
def lost_glyphs(one: str, other: str) -> bool:
    """Whether two words are the same, apart from ligatures or glyphs that one of them has lost. Both are raw."""
    left, right = normalized(_LOST_GLYPH.sub("", one)), normalized(_LOST_GLYPH.sub("", other))
    if min(len(left), len(right)) < MIN_UNDAMAGED:
        return False
    for whole, damaged, printed in ((left, right, other), (right, left, one)):
        pattern = "[^\\W\\d_]{1,3}".join(re.escape(normalized(piece)) for piece in _LOST_GLYPH.split(printed))
        if _LOST_GLYPH.search(printed) and re.fullmatch(pattern, whole):
            return True
        if len(damaged) < len(whole) and _LIGATURES.sub("", whole) == damaged:
            return True
        if len(damaged) < len(whole) and _LIGATURES.sub("f", whole) == damaged:  # only its first letter is left
            return True
        if "اال" in damaged and damaged.replace("اال", "الا") == whole:  # a ligature whose letters are exchanged
            return True
    return False


@lru_cache(CACHED_WORDS)
def misspellings(quoted: str, printed: str, lenient: bool) -> int | None:
    """How many letters are wrong, if the quoted word is the printed one and not another word. Both are raw.

    One letter makes another word of many words: "Zambia", "Gambia"; "Macro", "Micro"; "Surveys", "Survey". A word and
    its misspelling differ in how many tokens they have, because tokenizers know most words but no misspellings.
    `lenient`: in the passage that a name was quoted with, rare words and acronyms may be misspelt, too.
    """
    wrong, right = normalized(quoted), normalized(printed)
    if (
        min(len(wrong), len(right)) < MIN_WORD
        or max(len(wrong), len(right)) > MAX_WORD
        or Levenshtein.distance(wrong, right, score_cutoff=2) > 2
    ):
        return None
    edits = Levenshtein.editops(wrong, right).as_list()
    if 6 * (len(edits) - 1) > len(right) or not (wrong.isalpha() and right.isalpha()):
        return None
    if printed.isupper() or quoted.isupper():
        return len(edits) if lenient and len(wrong) == len(right) else None
    if wrong == right[1:] and quoted[0].islower() and printed[0].isupper():
        return 1  # its first letter is cut off
    if right.startswith(wrong) or wrong.startswith(right) or ("replace", 0, 0) in edits:
        return None
    tokens = count_tokens(f" {quoted}"), count_tokens(f" {printed}")
    # Few pairs of rare words differ in a letter that one of them lacks, as a misspelling often does.
    may_be_rare = lenient or (len(edits) == 1 and edits[0][0] != "replace")
    is_other = tokens == (1, 1) if may_be_rare else tokens[0] == tokens[1]
    return None if is_other else len(edits)


def is_inflected(one: str, other: str) -> bool:
    """Whether two words differ only in a plural -s: the same name, if the same acronym stands beside both."""
    return f"{one}s" == other or f"{other}s" == one


@dataclass(frozen=True, slots=True)
class Block:
    """Words `quote[low:high]` stand for words `page[first:last]`. `letters`: how many agree; negative if none do."""

    low: int
    high: int
    first: int
    last: int
    letters: int


def align(quotation: str, quote: Sequence[Word], text: str, page: Sequence[Word]) -> list[Block]:
    """The part of the page words that is most similar to those of the quotation, as blocks that agree or do not.

    What a copy may leave out or add (citations, footnote marks, line numbers) costs nothing.
    """
    if len(quote) * len(page) > MAX_COMPARISONS:
        return []
    keys = [word.key for word in page]
    known = set(keys)
    wanted = [word.key if word.key in known else _closest(word.key, keys) for word in quote]
    blocks = []
    for low, high, first, last, is_equal in _differences(wanted, keys):
        quoted = "".join(wanted[low:high])
        if is_equal or (quoted and _is_printed(quoted, text, page, first, last)):
            letters = len(quoted)
        else:
            letters = -max(_cost(quotation, quote, low, high), _cost(text, page, first, last))
        blocks.append(Block(low, high, first, last, letters))
    return _best_part(blocks)


def _is_printed(quoted: str, text: str, page: Sequence[Word], first: int, last: int) -> bool:
    """Whether some words of the page are the quoted ones with other spaces, with lost glyphs, or with a mark."""
    for low, high in (
        (first, last),
        *((first, one) for one in range(first + 1, last)),
        *((one, last) for one in range(first + 1, last)),
    ):
        printed = "".join(word.key for word in page[low:high])
        if (printed == quoted or lost_glyphs(quoted, "".join(word.raw for word in page[low:high]))) and not (
            _cost(text, page, first, low) or _cost(text, page, high, last)
        ):
            return True
    return False


def _cost(text: str, words: Sequence[Word], first: int, last: int) -> int:
    """How many letters some words have, or 0 if a copy may leave them out."""
    if first == last:
        return 0
    is_inside = first > 0 and last < len(words)
    if is_inside and may_stand_between(text, words[first - 1].end, words[last].start):
        return 0
    return sum(len(word.key) for word in words[first:last])


def _closest(key: str, keys: Sequence[str]) -> str:
    """The most similar key, if it may be the same word misspelt."""
    if not MIN_WORD <= len(key) <= MAX_WORD or key.isdigit():
        return key
    found = process.extractOne(key, keys, scorer=Levenshtein.distance, score_cutoff=max(1, len(key) // 5))
    return found[0] if found and not found[0].isdigit() else key


def _differences(wanted: Sequence[str], keys: Sequence[str]) -> Iterator[tuple[int, int, int, int, bool]]:
    """Spans of both that are equal, and the spans between them. Long equal spans count before short ones."""
    low = first = 0
    for start, place, size in SequenceMatcher(None, wanted, keys).get_matching_blocks():
        if (low, first) != (start, place):
            yield low, start, first, place, False
        if size:
            yield start, start + size, place, place + size, True
        low, first = start + size, place + size


def _best_part(blocks: Sequence[Block]) -> list[Block]:
    """The consecutive blocks with the highest sum of letters: words that agree by chance far away are left out."""
    best, best_sum, start, total = (0, 0), 0, 0, 0
    for number, block in enumerate(blocks):
        if total <= 0:
            start, total = number, 0
        total += block.letters - (DIFFERENCE if block.letters < 0 else 0)
        if total > best_sum:
            best, best_sum = (start, number + 1), total
    return list(blocks[slice(*best)])
