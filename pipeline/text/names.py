"""When two names in one document mean the same dataset.

Two names are the same if one of these holds:

1. They are equal without letter case, accents, white space, punctuation, years, a leading article, a trailing "data" or
   "dataset", and the plural -s of the last word.
2. One of them contains the other as an acronym: "Demographic and Health Survey (DHS)" is "DHS" and "Demographic and
   Health Survey". The text defines acronyms too, where it has the acronym in parentheses behind the name, or the name
   in parentheses behind the acronym, and the letters of the acronym occur in the name in this order (A. S. Schwartz and
   M. A. Hearst, A Simple Algorithm for Identifying Abbreviation Definitions in Biomedical Text, 2003).
3. One is an acronym of at least three letters and the other has these initials, with or without those of small words.

Because years are ignored, the editions of a survey are one dataset.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pipeline.text.normalize import normalized

CACHED_NAMES = 1 << 16  # names repeat: a corpus has far fewer of them than mentions
MIN_INITIALS = 3  # letters; shorter acronyms have too many possible long forms
MAX_ACRONYM = 15  # characters
_YEARS = re.compile(r"(?<!\d)(?:1[89]|20)\d\d(?:\s*[-–—/]\s*\d{2,4})?(?!\d)")
_BROKEN_WORD = re.compile(r"(?<=\w)[-\u00ad\u2010]\s*\n\s*(?=[a-z])")
_PARENTHESES = re.compile(r"\(([^()]*)\)")
_PARENTHESES_AFTER = re.compile(r"\s*\(([^()]{2,200})\)")
_ACRONYM_BEFORE = re.compile(r"([^\s()]{2,15})\s*\(\s*$")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?[+#]*")  # "C++" is not "C"
_DIRECTION = re.compile(r"\b(?:to|from)\b", re.IGNORECASE)
_POSSESSIVE = re.compile(r"(?<=\w)['’][sS]\b")
_ARTICLES = re.compile(r"^(?:(?:the|an?)\s+)+", re.IGNORECASE)
_GENERIC_END = re.compile(r"(?:\s+(?:data(?:\s*sets?)?))+$", re.IGNORECASE)
_GENERIC_WORDS = {"data", "dataset", "database", "file"}
_SPELLINGS = tuple(
    (re.compile(british), american)
    for british, american in (
        (r"is(?=(?:ation|ed|ing|e)$)", "iz"),
        (r"^(lab|behavi|col|neighb)our", r"\1or"),
        (r"^centre$", "center"),
        (r"^programme$", "program"),
    )
)
_SMALL_WORDS = {"a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "the", "to", "with"}


@dataclass(frozen=True)
class NameForms:
    """The normalized forms of a name. `acronyms` are among the `keys`; `initials` are those of its long forms."""

    keys: frozenset[str]
    acronyms: frozenset[str]
    initials: frozenset[str]

    @classmethod
    def union(cls, forms: Sequence[NameForms]) -> NameForms:
        """All forms of several names."""
        parts = ((one.keys, one.acronyms, one.initials) for one in forms)
        return cls(*(frozenset().union(*same_part) for same_part in zip(*parts, strict=True)))

    def same(self, other: NameForms) -> bool:
        """Whether two names can mean the same dataset."""
        return bool(self.keys & other.keys or self.acronyms & other.initials or self.initials & other.acronyms)


def name_forms(name: str, text: str = "", span: tuple[int, int] | None = None) -> NameForms:
    """The forms of `name`, and those that `text` defines around its `span`."""
    forms = [*own_forms(name), *(defined_forms(name, text, *span) if span else ())]
    acronyms = {key(form) for form in forms if is_acronym(form)}
    letters = {one for form in forms if not is_acronym(form) for one in initials(form)}
    return NameForms(frozenset(map(key, forms)), frozenset(acronyms), frozenset(letters))


@lru_cache(CACHED_NAMES)
def key(name: str) -> str:
    """The letters and digits of a name, without what does not tell datasets apart. Never empty for a visible name."""
    words = _WORD.findall(_core(name))
    if words and len(words[-1]) > 3 and words[-1].endswith("s") and not words[-1].endswith("ss"):
        words = [*words[:-1], words[-1][:-1]]
    return normalized("".join(words)) or normalized(name) or name.strip()


@lru_cache(CACHED_NAMES)
def is_acronym(name: str) -> bool:
    """Whether a name is one word, at most 15 characters long, at least half of whose letters are capitals."""
    word = _core(name)
    letters = [char for char in word if char.isalpha()]
    capitals = sum(char.isupper() for char in letters)
    return len(word) <= MAX_ACRONYM and not re.search(r"\s", word) and capitals >= 2 and 2 * capitals >= len(letters)


def groups(names: Sequence[NameForms]) -> list[list[int]]:
    """The indexes of names that are the same, directly or through others. Groups and indexes are in order."""
    by_key: dict[str, list[int]] = defaultdict(list)
    by_acronym: dict[str, list[int]] = defaultdict(list)
    for number, forms in enumerate(names):
        for one in forms.keys:
            by_key[one].append(number)
        for one in forms.acronyms:
            by_acronym[one].append(number)
    linked = list(by_key.values())
    linked += [
        [number, *by_acronym[one]] for number, forms in enumerate(names) for one in forms.initials & by_acronym.keys()
    ]
    return _components(len(names), linked)


def _components(size: int, linked: Iterable[list[int]]) -> list[list[int]]:
    """The connected components of the numbers below `size`, where each list in `linked` connects its numbers."""
    parent = list(range(size))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for first, *others in linked:
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    found: dict[int, list[int]] = defaultdict(list)
    for number in range(size):
        found[root(number)].append(number)
    return list(found.values())


def own_forms(name: str) -> list[str]:
    """The name without the parts in parentheses that are its acronym, and these parts."""
    name = _BROKEN_WORD.sub("", name)
    outside = _PARENTHESES.sub(" ", name)
    inside = [part for part in _PARENTHESES.findall(name) if _WORD.search(_core(part))]
    if not _WORD.search(_core(outside)):
        return [name]
    if is_acronym(outside):
        return [outside.strip(), *inside]
    acronyms = [part for part in inside if is_acronym(part)]
    others = [part for part in inside if part not in acronyms]
    return [" ".join([*outside.split(), *others]), *acronyms]


def defined_forms(name: str, text: str, start: int, end: int) -> Iterator[str]:
    """Acronyms and long forms that the text gives for a name, directly after it or before it."""
    after = _PARENTHESES_AFTER.match(text, end)
    if after:
        first = re.split(r"[,;]", after[1])[0].strip()
        if is_acronym(first) and is_short_for(first, name):
            yield first
        elif is_acronym(name) and is_short_for(name, after[1]):
            yield after[1]
    before = _ACRONYM_BEFORE.search(text[max(0, start - 2 * MAX_ACRONYM) : start])
    if before and is_acronym(before[1]) and is_short_for(before[1], name):
        yield before[1]


def is_short_for(acronym: str, name: str) -> bool:
    """Whether the letters of the acronym occur in the name in this order, the first one at the start of a word."""
    wanted = [char for char in normalized(acronym) if char.isalnum()]
    words = [normalized(word) for word in _WORD.findall(_BROKEN_WORD.sub("", name))]
    for number, word in enumerate(words):
        if wanted and word.startswith(wanted[0]):
            letters = iter("".join(words[number:]))
            if all(char in letters for char in wanted):
                return len("".join(words)) > len(wanted)
    return False


def initials(name: str) -> Iterator[str]:
    """The initials of a name that are long enough for an acronym: of all words, and of all but the small ones."""
    words = [word.lower() for word in _WORD.findall(_core(name))]
    large = [word for word in words if word not in _SMALL_WORDS]
    for chosen in (words, large):
        letters = normalized("".join(word[0] for word in chosen))
        if len(letters) >= MIN_INITIALS:
            yield letters


@lru_cache(CACHED_NAMES)
def content_words(name: str) -> tuple[str, ...]:
    """The normalized words of a name that tell it from others, singular, in American spelling. Years are left out.

    Empty for a name without letters and digits. Numbers count, so two waves of a panel differ.
    """
    is_heading = name.isupper() and " " in name.strip()
    words = []
    for word in _WORD.findall(_core(name)):
        is_acronym_like = word.isupper() and not is_heading  # the "A" of "Influenza A" is no article
        if is_acronym_like or word.lower() not in _SMALL_WORDS:
            words.append(normalized(word) if is_acronym_like else _spelling(normalized(word)))
    words = [word for word in words if word]
    while len(words) > 1 and words[-1] in _GENERIC_WORDS:
        words.pop()
    return tuple(words)


@lru_cache(CACHED_NAMES)
def plain_name(name: str) -> str:
    """The name as printed, without years, possessive endings, a leading article and a trailing "data"."""
    plain = " ".join(_core(name).split())
    # "Census of 1970" would become "Census of".
    return " ".join(name.split()) if not plain or plain.split()[-1].lower() in _SMALL_WORDS else plain


@lru_cache(CACHED_NAMES)
def word_bag(name: str) -> tuple[str, ...]:
    """The content words of a name in alphabetical order: "Survey of Family Growth" is also "Family Growth Survey".

    Where a name goes from one thing to another, the order counts. Never empty.
    """
    words = content_words(name) or (key(name),)
    return words if _DIRECTION.search(name) else tuple(sorted(words))


def _spelling(word: str) -> str:
    """The word in the singular and in American spelling, by rules that may err: both names get the same error."""
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for british, american in _SPELLINGS:
        word = british.sub(american, word)
    return word


def _core(name: str) -> str:
    """The name without years, possessive endings, a leading article and a trailing "data" or "dataset"."""
    plain = _POSSESSIVE.sub("", _YEARS.sub(" ", _BROKEN_WORD.sub("", name))).strip(" .,;:\n\t")
    return _GENERIC_END.sub("", _ARTICLES.sub("", plain))
