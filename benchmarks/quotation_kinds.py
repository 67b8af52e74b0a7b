"""The kinds of changes between a page and a quotation that benchmarks/grounding.py tries.

Most of them change the quotation. Some stand on the page instead, where the model has left them out: footnote marks,
line numbers, lost glyphs.
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

_CITATION = re.compile(r"\s*(?:\[\d{1,3}(?:[,–-]\s?\d{1,3})*\]|\([A-Z][^()]{2,60}(?:19|20)\d\d[a-z]?\))")
_ACRONYM = re.compile(r"\s*\(([A-Z][A-Za-z]*[A-Z])\)")
_LEAD_INS = ("According to the authors, ", "The paper says: ", "As stated in the text, ")
_NAME_LEAD_INS = ("the ", "data from the ", "The dataset is the ", "Dataset: ")
_TRAILERS = (" This is the source of the data.", " (as described in the paper)", " according to the authors.")
_NAME_TRAILERS = (" data", " dataset", " database")
_ELLIPSES = ("…", " ... ", " [...] ", " … ")
_EMPHASES = (("**", "**"), ("*", "*"), ("`", "`"), ("__", "__"), ("[", "](https://example.org/data)"))
_TAGS = (("<b>", "</b>"), ("<em>", "</em>"), ('<span class="name">', "</span>"))


@dataclass(frozen=True)
class Case:
    """A page, a place `page[start:end]` on it, and the quotation of that place. None of `Kind` if nothing applies."""

    page: str
    start: int
    end: int
    quote: str

    @property
    def original(self) -> str:
        return self.page[self.start : self.end]

    def quoted(self, quote: str) -> Case | None:
        return Case(self.page, self.start, self.end, quote) if quote.split() != self.quote.split() else None

    def printed(self, original: str) -> Case | None:
        """The same with another text in the place. The quotation stays."""
        if original == self.original:
            return None
        page = self.page[: self.start] + original + self.page[self.end :]
        return Case(page, self.start, self.start + len(original), self.quote)


Kind = Callable[[Case, random.Random, bool], Case | None]  # the last argument: whether the quotation is a name


def words_before(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return case.quoted(dice.choice(_NAME_LEAD_INS if is_name else _LEAD_INS) + case.quote)


def words_after(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return case.quoted(case.quote + dice.choice(_NAME_TRAILERS if is_name else _TRAILERS))


def ellipsis(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    words = case.quote.split()
    if len(words) < (3 if is_name else 8):
        return None
    omitted = dice.randint(1, min(3, len(words) - 2)) if is_name else dice.randint(2, len(words) // 3)
    first = dice.randint(1, len(words) - 1 - omitted) if is_name else dice.randint(3, len(words) - omitted - 3)
    return case.quoted(dice.choice(_ELLIPSES).join((" ".join(words[:first]), " ".join(words[first + omitted :]))))


def emphasis(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return _marked(case, dice, is_name, dice.choice(_EMPHASES))


def tags(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return _marked(case, dice, is_name, dice.choice(_TAGS))


def _marked(case: Case, dice: random.Random, is_name: bool, marks: tuple[str, str]) -> Case | None:
    words = case.quote.split()
    first = 0 if is_name else dice.randrange(len(words))
    last = len(words) if is_name else min(len(words), first + dice.randint(1, 3))
    marked = marks[0] + " ".join(words[first:last]) + marks[1]
    return case.quoted(" ".join([*words[:first], marked, *words[last:]]))


def entities(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    escaped = html.escape(case.quote)
    spaced = escaped.replace(" ", "&nbsp;", 1)
    return case.quoted(escaped if escaped != case.quote and dice.random() < 0.5 else spaced.replace("-", "&#45;"))


def citation_dropped(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return case.quoted(_CITATION.sub("", case.quote))


def citation_on_page(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return _inserted(case, dice, dice.choice((" [12]", " (Smith et al., 2010)", " [3, 4]")))


def citation_in_quotation(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    words = case.quote.split()
    if len(words) < 2:
        return None
    place = dice.randint(1, len(words) - 1)
    return case.quoted(" ".join([*words[:place], "[12]", *words[place:]]))


def footnote_mark(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return _inserted(case, dice, dice.choice(("7", "*", "†", "®", "12")), after=r"[a-z]{3}(?=\s)")


def line_number(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    return _inserted(case, dice, f"\n{dice.randint(2, 900)}\n", after=r"\w(?=\s)")


def _inserted(case: Case, dice: random.Random, mark: str, after: str = r"[a-z](?=\s\w)") -> Case | None:
    """The page with a mark between two words of the place."""
    places = [found.end() for found in re.finditer(after, case.original[:-1].rstrip())]
    if not places:
        return None
    place = dice.choice(places)
    return case.printed(case.original[:place] + mark + case.original[place:])


def acronym_dropped(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    if not is_name:
        return case.quoted(_ACRONYM.sub("", case.quote))
    words = case.original.split()
    if len(words) < 3 or _ACRONYM.search(case.original):
        return None
    acronym = "".join(word[0].upper() for word in words if word[0].isalpha())
    return case.printed(f"{' '.join(words[:-1])} ({acronym}) {words[-1]}")


def acronym_moved(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    found = _ACRONYM.search(case.quote)
    rest = " ".join(_ACRONYM.sub(" ", case.quote).split())
    if not found or not is_name or not rest:
        return None
    return case.quoted(dice.choice((f"{found[1]} ({rest})", f"{found[1]} {rest}", f"({found[1]}) {rest}")))


def ampersand(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    if "&" in case.quote:
        return case.quoted(case.quote.replace("&", "and"))
    return case.quoted(re.sub(r"\band\b", "&", case.quote))


def two_ligatures(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    """Ligatures that have become one character, or have been lost, on the page."""
    if not re.search("f[fil]", case.original):
        return None
    lost = dice.choice(("", " ", "\ufffd", "f"))
    text = (
        case.original.replace("ffi", "\ufb03").replace("fi", "\ufb01").replace("fl", "\ufb02").replace("ff", "\ufb00")
    )
    return case.printed(re.sub("[\ufb00-\ufb03]", lost, text) if dice.random() < 0.7 else text)


def lost_glyph(case: Case, dice: random.Random, is_name: bool) -> Case | None:
    places = [found.start() + 2 for found in re.finditer(r"[A-Za-z]{6,}", case.original)]
    if not places:
        return None
    place = dice.choice(places)
    return case.printed(case.original[:place] + dice.choice("\ufffd\ue010") + case.original[place + 1 :])


KINDS: dict[str, Kind] = {
    "words added before": words_before,
    "words added after": words_after,
    "ellipsis": ellipsis,
    "Markdown": emphasis,
    "HTML tags": tags,
    "HTML entities": entities,
    "citation dropped": citation_dropped,
    "citation on the page only": citation_on_page,
    "citation in the quotation only": citation_in_quotation,
    "footnote mark on the page only": footnote_mark,
    "line number on the page only": line_number,
    "acronym dropped": acronym_dropped,
    "acronym moved": acronym_moved,
    "and for &": ampersand,
    "ligatures": two_ligatures,
    "lost glyph": lost_glyph,
}
