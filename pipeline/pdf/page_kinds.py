"""Recognise pages that hold only references or a table of contents: they name datasets without using them.

Only pages with nothing else are recognised. A page with the heading "References" half-way down, an appendix after the
references, or a table full of years counts as text: an unnecessary request costs a fraction of a cent, but a page that
is wrongly skipped costs its mentions.
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
# A heading after which the document goes on: an appendix, tables or notes.
_RESUMED = re.compile(
    r"^(?:[^\S\n]|[\d.])*"
    r"(?:(?:online |supplementary |supporting )?(?:appendix|appendices|annex(?:es)?|information|material)"
    r"|anhang|annexes?|anexos?|ap[ée]ndices?|tables?(?: and figures?)?|figures?(?: and tables?)?|notes|endnotes)"
    r"(?:[^\S\n]+[A-Z\d]{1,2})?[^\S\n]*[:.]?[^\S\n]*$"
    r"|^[^\S\n]*(?:table|figure|tabelle|abbildung|tableau|cuadro)[^\S\n]+[A-Z]?\.?\d+",
    re.IGNORECASE | re.MULTILINE,
)
_YEAR = re.compile(r"\b(?:1[89]|20)\d\d[a-z]?\b")
# "Smith, J. A." and "Smith JA,": initials are rare in running text and frequent in references.
_INITIAL = re.compile(r"\b[A-Z]\.(?=[\s,;:)A-Z-])|\b[A-Z][\w’'-]+,? [A-Z]{1,3}(?=[,.:;]| \(| and\b| &)")
_PAGE_NUMBER = re.compile(r"(?:^|[\s.…_·])(?:\d{1,4}|[ivxl]{1,6})\s*$")

MAX_RUNNING_HEAD = 100  # characters that may stand above the heading of a page of references or contents
MIN_LIST = 250  # characters; in a shorter list years and initials are too few to be counted
MIN_YEARS, MIN_INITIALS = 2.5, 4.0  # per 1,000 characters of a page of references
MIN_NUMBERED = 0.3  # share of the lines of a table of contents that end in a page number
MAX_CONTENTS_LINE = 150  # characters; a table of contents has no longer lines


class PageClassifier:
    """Classifies the pages of one document, which must be given in order."""

    def __init__(self) -> None:
        self._in_references = self._in_contents = False

    def kind(self, text: str) -> PageKind | None:
        """The kind of the next page, or None if it is text to ask about."""
        self._in_references = self._ends_in_references(text)
        self._in_contents = self._is_contents(text)
        if self._in_contents:
            return "contents"
        return "references" if self._in_references and not _has_text_above_references(text) else None

    def _ends_in_references(self, text: str) -> bool:
        """Whether the page ends within a list of references."""
        headings = list(_REFERENCES.finditer(text))
        if not headings and not self._in_references:
            return False
        start = headings[-1].end() if headings else 0
        if _RESUMED.search(text, start):
            return False
        entries = text[start:]
        if len(entries) < MIN_LIST:
            return bool(headings) or _looks_like_references(entries, 0.5)
        return _looks_like_references(entries)

    def _is_contents(self, text: str) -> bool:
        heading = _CONTENTS.search(text)
        if not self._in_contents and (heading is None or heading.start() > MAX_RUNNING_HEAD):
            return False
        lines = [line for line in text[heading.end() if heading else 0 :].splitlines() if line.strip()]
        numbered = sum(bool(_PAGE_NUMBER.search(line)) for line in lines)
        return bool(lines) and numbered >= MIN_NUMBERED * len(lines) and max(map(len, lines)) < MAX_CONTENTS_LINE


def _has_text_above_references(text: str) -> bool:
    heading = _REFERENCES.search(text)
    return heading is not None and len(text[: heading.start()].strip()) > MAX_RUNNING_HEAD


def _looks_like_references(text: str, share: float = 1.0) -> bool:
    """Whether the text has at least this share of the years and initials that are usual in references."""
    thousands = max(len(text), 1) / 1000 * share
    return len(_YEAR.findall(text)) >= MIN_YEARS * thousands and len(_INITIAL.findall(text)) >= MIN_INITIALS * thousands
