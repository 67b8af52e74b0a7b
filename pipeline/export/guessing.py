"""Title, year and DOI of a paper, where its PDF says them and its first page confirms them."""

from __future__ import annotations

import re

from pipeline.export.columns import Value
from pipeline.records import PageText
from pipeline.text.normalize import normalized

MIN_TITLE_WORDS = 3
DOI = re.compile(r"10\.\d{4,9}/[^\s\"<>{}|\\^`]+")
_GLUED = re.compile(r"(?<=\d)[A-Z][A-Za-z]+$")  # the word after a DOI, without a space: "…/0210086Research"
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


def guessed(text: PageText) -> dict[str, Value]:
    """`title`, `year`, `doi`, as far as they are certain. The first page must confirm what the PDF's metadata say."""
    first = text.pages[0].text if text.pages else ""
    found: dict[str, Value] = {"title": _title(text.pdf_title, first), "year": _year(text.pdf_year, first)}
    found["doi"] = _doi(first)
    return {name: value for name, value in found.items() if value is not None}


def _title(title: str | None, first_page: str) -> str | None:
    """The title of the metadata, if the first page has it. Many PDFs have the name of a file there."""
    words = (title or "").split()
    printed = normalized("".join(words))
    return " ".join(words) if len(words) >= MIN_TITLE_WORDS and printed in normalized(first_page) else None


def _year(created: int | None, first_page: str) -> int | None:
    """The year in which the PDF was made, or the one before, if the first page has it and no later one."""
    printed = {int(year) for year in _YEAR.findall(first_page)}
    if created is None or max(printed, default=0) > created:
        return None
    return next((year for year in (created, created - 1) if year in printed), None)


def _doi(first_page: str) -> str | None:
    """The only DOI on the first page. One that is cut off at the end of a line does not count."""
    found = {_GLUED.sub("", match.rstrip(".,;:)]")) for match in DOI.findall(first_page)}
    complete = {doi.lower(): doi for doi in found if re.search(r"/.*\d", doi) and not doi.endswith(("-", "_", "/"))}
    return next(iter(complete.values())) if len(complete) == 1 else None
