"""What kind of page this is: lists of references and tables of contents name datasets without using them.

Recognised are pages that hold nothing else. A page with a heading "References" half-way down, an appendix that follows
on the list, or a table full of years is text like any other: to send a page too many costs a fraction of a cent, to
leave one out costs its mentions.
"""

from __future__ import annotations

import re

from pipeline.records import PageKind

_REFERENCES = re.compile(
    r"^(?:[^\S\n]|[\d.])*(?:references?(?: cited)?|bibliography|(?:literature|works) cited|literature|r[ée]f[ée]rences"
    r"|bibliographie|literatur(?:verzeichnis)?|referencias(?: bibliogr[áa]ficas)?|bibliograf[íi]a"
    r"|refer[êe]ncias(?: bibliogr[áa]ficas)?|riferimenti bibliografici|bibliografie|literatuur)[^\S\n]*:?[^\S\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_CONTENTS = re.compile(
    r"^[^\S\n]*(?:(?:table of )?contents?|list of (?:tables|figures|abbreviations)"
    r"|(?:inhalts|abbildungs|tabellen)verzeichnis|inhalt|table des mati[èe]res|sommaire"
    r"|[íi]ndice(?: general)?|contenido|sum[áa]rio|inhoud(?:sopgave)?)[^\S\n]*:?[^\S\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_RESUMED = re.compile(
    r"^(?:[^\S\n]|[\d.])*"
    r"(?:(?:online |supplementary |supporting )?(?:appendix|appendices|annex(?:es)?|information|material)"
    r"|anhang|annexes?|anexos?|ap[ée]ndices?|tables?(?: and figures?)?|figures?(?: and tables?)?|notes|endnotes)"
    r"(?:[^\S\n]+[A-Z\d]{1,2})?[^\S\n]*[:.]?[^\S\n]*$"
    r"|^[^\S\n]*(?:table|figure|tabelle|abbildung|tableau|cuadro)[^\S\n]+[A-Z]?\.?\d+",
    re.IGNORECASE | re.MULTILINE,
)
_YEAR = re.compile(r"\b(?:1[89]|20)\d\d[a-z]?\b")
# "Smith, J. A." and "Smith JA,": in running text initials are rare, in a list of references they are everywhere.
_INITIAL = re.compile(r"\b[A-Z]\.(?=[\s,;:)A-Z-])|\b[A-Z][\w’'-]+,? [A-Z]{1,3}(?=[,.:;]| \(| and\b| &)")
_PAGE_NUMBER = re.compile(r"(?:^|[\s.…_·])(?:\d{1,4}|[ivxl]{1,6})\s*$")

ABOVE = 100  # characters of running heads that may stand above the heading of a page of references
SHORT = 250  # characters of a list that are too few to tell by
YEARS, INITIALS = 2.5, 4.0  # per 1,000 characters of a page of references, at least
NUMBERED = 0.3  # of the lines of a table of contents end in, or are, a page number, at least
LONG_LINE = 150  # characters: a table of contents has none of these


class PageKinds:
    """Says of one page after the other, in order, what kind it is."""

    def __init__(self) -> None:
        self._in_references = self._in_contents = False

    def kind(self, text: str) -> PageKind | None:
        """None for a page with text to ask about."""
        self._in_references = self._is_references(text)
        self._in_contents = self._is_contents(text)
        if self._in_contents:
            return "contents"
        return "references" if self._in_references and not _heading_within(text) else None

    def _is_references(self, text: str) -> bool:
        """Whether the page ends within a list of references."""
        headings = list(_REFERENCES.finditer(text))
        if not headings and not self._in_references:
            return False
        start = headings[-1].end() if headings else 0
        if _RESUMED.search(text, start):
            return False
        listed = text[start:]
        if len(listed) < SHORT:
            return bool(headings) or _dense(listed, 0.5)
        return _dense(listed)

    def _is_contents(self, text: str) -> bool:
        heading = _CONTENTS.search(text)
        if not self._in_contents and (heading is None or heading.start() > ABOVE):
            return False
        lines = [line for line in text[heading.end() if heading else 0 :].splitlines() if line.strip()]
        numbered = sum(bool(_PAGE_NUMBER.search(line)) for line in lines)
        return bool(lines) and numbered >= NUMBERED * len(lines) and max(map(len, lines)) < LONG_LINE


def _heading_within(text: str) -> bool:
    """Whether something else than references stands above their heading."""
    heading = _REFERENCES.search(text)
    return heading is not None and len(text[: heading.start()].strip()) > ABOVE


def _dense(text: str, share: float = 1.0) -> bool:
    thousands = max(len(text), 1) / 1000 * share
    return len(_YEAR.findall(text)) >= YEARS * thousands and len(_INITIAL.findall(text)) >= INITIALS * thousands
