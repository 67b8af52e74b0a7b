"""Other forms of a dataset name: without what language models add to a name and what is no part of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.text.names import is_acronym, is_short_for

_BRACKET = re.compile(r"\s*(?:\(([^()]*)\)|\[([^\[\]]*)\])")
_CITATION = re.compile(
    r"\^?\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*|.*\bet al\b.*|[A-Z][^\d()]*,?\s+(?:1[89]|20)\d\d[a-z]?", re.DOTALL
)
_FOOTNOTE = re.compile(r"(?<=[a-z\u00df-\u024f]{3})(?<!\bwave)(?<!\bround)(?<!\bphase)(?:\d{1,2}|[¹²³⁰-⁹]+)(?!\w)")
_ADDED_BEFORE = (
    "a according an and are as at authors based by called collected come comes data database dataset datasets derived"
    " described drawn e.g for from i.e in including information is it its mention mentioned name named namely obtained"
    " of on our paper report reported see set source sources study such taken text that the their these this to use"
    " used uses using via we were which with"
)
_LEAD_INS = frozenset(_ADDED_BEFORE.split())
_GENERIC_ENDS = {"data", "dataset", "datasets", "database", "databases"}
# A shortened name that goes on with one of these on the page is a part of another name.
DATA_NOUNS = _GENERIC_ENDS | {
    "survey",
    "surveys",
    "census",
    "panel",
    "study",
    "register",
    "statistics",
    "index",
    "bank",
}
_PUNCTUATION = " \t\n,;:.-–—\"'“”‘’"


def name_variants(name: str) -> Iterator[str]:
    """Other forms of the name, without those that could be another name. The longest of each kind come first."""
    bare = _without_brackets(_FOOTNOTE.sub("", name))
    seen = {name, ""}
    for variant in (bare, *_trimmed(name), *_trimmed(bare)):
        if variant not in seen:
            seen.add(variant)
            yield variant


def _without_brackets(name: str) -> str:
    """The name without citations and without its acronym."""
    outside = _BRACKET.sub(" ", name).strip()
    for group in _BRACKET.finditer(name):
        inside = (group[1] or group[2] or "").strip()
        if is_acronym(outside) and is_short_for(outside, inside):
            return inside  # "DHS (Demographic and Health Survey)"
        if _CITATION.fullmatch(inside) or (is_acronym(inside) and is_short_for(inside, outside)):
            name = name.replace(group[0], "", 1)
    return _without_loose_acronym(" ".join(name.split()))


def _without_loose_acronym(name: str) -> str:
    """The name without an acronym that stands before it or behind it: "DHS Demographic and Health Survey"."""
    first, _, rest = name.partition(" ")
    before, _, last = name.rpartition(" ")
    if " " in rest and is_acronym(first) and is_short_for(first, rest):
        return rest.strip(_PUNCTUATION)
    if " " in before and is_acronym(last) and is_short_for(last, before):
        return before.strip(_PUNCTUATION)
    return name


def _trimmed(name: str) -> Iterator[str]:
    """The name without words before and behind it, unless what is left could be any name."""
    words = name.split()
    plain = [word.strip(_PUNCTUATION).lower() for word in words]
    before = next((number for number, word in enumerate(plain) if word not in _LEAD_INS), len(words))
    after = next((number for number, word in enumerate(reversed(plain)) if word not in _GENERIC_ENDS), len(words))
    spans = ((first, len(words) - last) for first in range(before + 1) for last in range(after + 1))
    for first, last in sorted(spans, key=lambda span: span[0] - span[1]):
        left = [word for word in plain[first:last] if word not in _LEAD_INS]
        if len(left) > 1 or (len(left) == 1 and last - first == 1 and is_acronym(words[first].strip(_PUNCTUATION))):
            yield " ".join(words[first:last]).strip(_PUNCTUATION)
