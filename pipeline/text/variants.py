"""Other forms of a dataset name: without what language models add to a name and what is no part of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.text.names import initials, is_acronym, is_short_for
from pipeline.text.normalize import normalized

MIN_WORDS = 3
MIN_ACRONYM = 3  # letters of an acronym that is a name by itself
_BRACKET = re.compile(r"\s*(?:\(([^()]*)\)|\[([^\[\]]*)\])")
_CITATION = re.compile(
    r"\^?\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*|.*\bet al\b.*|[A-Z][^\d()]*,?\s+(?:1[89]|20)\d\d[a-z]?", re.DOTALL
)
_FOOTNOTE = re.compile(r"(?<=[a-z\u00df-\u024f]{3})(?<![Ww]ave)(?<![Rr]ound)(?<![Pp]hase)(?:\d{1,2}|[¹²³⁰-⁹]+)(?!\w)")
_ADDED_BEFORE = (
    "a according an and are as at authors based by called collected come comes data database dataset datasets derived"
    " described drawn e.g for from i.e in including information is it its mention mentioned name named namely obtained"
    " of on our paper report reported see set source sources study such taken text that the their these this to use"
    " used uses using via we were which with"
)
_LEAD_INS = frozenset(_ADDED_BEFORE.split())
_GENERIC_ENDS = {"data", "dataset", "datasets", "database", "databases"}
# A shortened name that goes on with one of these on the page is a part of another name.
DATA_NOUNS = {"survey", "surveys", "census", "panel", "study", "register", "statistics", "index", "bank", "database"}
_PUNCTUATION = " \t\n,;:.-–—\"'“”‘’"


def name_variants(name: str) -> Iterator[tuple[str, str]]:
    """Other forms of the name, without those that could be another name. The likeliest come first.

    With each comes an acronym that has to stand behind it on the page, or an empty string.
    """
    is_long = len(name.split()) >= MIN_WORDS  # in a shorter one, the digit may belong to the name: "text8"
    bare = _without_brackets(_FOOTNOTE.sub("", name) if is_long else name)
    rest, acronym = _without_loose_acronym(bare)
    seen = {name, ""}
    for variant, needed in ((bare, ""), (rest, acronym), *((one, "") for one in (*_trimmed(name), *_trimmed(bare)))):
        if variant not in seen:
            seen.add(variant)
            yield variant, needed


def _without_brackets(name: str) -> str:
    """The name without citations and without its acronym."""
    outside = _BRACKET.sub(" ", name).strip()
    for group in _BRACKET.finditer(name):
        inside = (group[1] or group[2] or "").strip()
        if is_acronym(outside) and is_short_for(outside, inside):
            return inside  # "DHS (Demographic and Health Survey)"
        if _CITATION.fullmatch(inside) or (is_acronym(inside) and is_short_for(inside, outside)):
            name = name.replace(group[0], "", 1)
    return " ".join(name.split())


def _without_loose_acronym(name: str) -> tuple[str, str]:
    """The name without an acronym before it or behind it: "DHS Demographic and Health Survey".

    Also the acronym, if its letters are not the initials of the name: something else can be meant then.
    """
    first, _, after = name.partition(" ")
    before, _, last = name.rpartition(" ")
    for acronym, rest in ((first, after), (last, before)):
        if is_acronym(acronym) and is_short_for(acronym, rest):
            return rest.strip(_PUNCTUATION), "" if normalized(acronym) in initials(rest) else acronym
    return "", ""


def _trimmed(name: str) -> Iterator[str]:
    """The name without words before and behind it, unless what is left could be any name."""
    words = name.split()
    plain = [word.strip(_PUNCTUATION).lower() for word in words]
    before = next((number for number, word in enumerate(plain) if word not in _LEAD_INS), len(words))
    after = next((number for number, word in enumerate(reversed(plain)) if word not in _GENERIC_ENDS), len(words))
    spans = ((first, len(words) - last) for first in range(before + 1) for last in range(after + 1))
    # "Wage Database database" is more likely to be "Wage Database", "from the Census Bureau" to be "Census Bureau".
    for first, last in sorted(spans, key=lambda span: (-span[1], -span[0])):
        left = " ".join(words[first:last]).strip(_PUNCTUATION)
        is_one_acronym = last - first == 1 and is_acronym(left) and len(left) >= MIN_ACRONYM
        pairs = zip(words[first:last], plain[first:last], strict=True)
        several = sum(word[0].isupper() or lower not in _LEAD_INS for word, lower in pairs) > 1
        if is_one_acronym or (several and left != left.lower()):
            yield left
