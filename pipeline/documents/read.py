"""PDF -> pages of text. The only place that knows PyMuPDF."""

from __future__ import annotations

import re
from pathlib import Path

import pymupdf

from pipeline.records import Page

# Control characters carry no text and break terminals and logs; lone surrogates cannot be written as UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# What PyMuPDF raises for broken files: its own classes for some, MuPDF's for others.
_PDF_ERRORS = (RuntimeError, ValueError, IndexError, pymupdf.mupdf.FzErrorBase)

pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)


class Unreadable(Exception):
    """A paper without text for us; the message completes the sentence '<file>: …'."""


def read_pages(file: Path) -> list[Page]:
    """The text layer of every page, in order. Raises Unreadable with what is wrong and what can be done."""
    with _opened(file) as document:
        return [_page(document, number) for number in range(1, document.page_count + 1)]


def _opened(file: Path) -> pymupdf.Document:
    with file.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise Unreadable("it is empty (0 bytes): fetch it again")
    if b"%PDF-" not in head:
        raise Unreadable("it is not a PDF, whatever its name says: fetch it again")
    try:
        document = pymupdf.open(file, filetype="pdf")
    except _PDF_ERRORS as error:
        raise Unreadable(f"it is damaged and cannot be opened ({_first_line(error)}): fetch it again") from None
    if document.needs_pass:
        document.close()
        raise Unreadable("it is encrypted and asks for a password: remove the password, then run this again")
    if not _page_count(document):
        document.close()
        raise Unreadable("it has no pages, or was cut off: fetch it again")
    return document


def _page_count(document: pymupdf.Document) -> int:
    try:
        return int(document.page_count)
    except _PDF_ERRORS:
        return 0


def _page(document: pymupdf.Document, number: int) -> Page:
    try:
        text = document[number - 1].get_text("text")
    except _PDF_ERRORS as error:
        return Page(page=number, text="", problem=_first_line(error))
    return Page(
        page=number, text=_SURROGATE.sub("�", _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
