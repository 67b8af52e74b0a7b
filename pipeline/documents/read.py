"""PDF -> pages of text. The only place that knows PyMuPDF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pymupdf

from pipeline.documents.kinds import PageKinds
from pipeline.documents.languages import guess_language
from pipeline.records import Page

# Control characters carry no text and break terminals and logs; lone surrogates cannot be written as UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# What PyMuPDF raises for broken files: its own classes for some, MuPDF's for others.
_PDF_ERRORS = (RuntimeError, ValueError, IndexError, pymupdf.mupdf.FzErrorBase)

LETTERS_AS_SHAPES = 20  # a page with fewer shapes has a frame, a rule or a coloured ground

pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)


class Unreadable(Exception):
    """A paper without text for us; the message completes the sentence '<file>: …'."""


class OpenPaper:
    """A PDF, opened. Raises Unreadable with what is wrong and what can be done."""

    def __init__(self, file: Path, password: str | None = None) -> None:
        self._document = _opened(file, password)
        self.n_pages = _page_count(self._document)
        if not self.n_pages:
            self._document.close()
            raise Unreadable("it has no pages, or was cut off: fetch it again")

    def __enter__(self) -> OpenPaper:
        return self

    def __exit__(self, *exception: object) -> None:
        self._document.close()

    def pages(self, first: int = 1) -> Iterator[Page]:
        """The text layer of every page from `first` on, in order. Raises MemoryError."""
        kinds = PageKinds()
        for number in range(first, self.n_pages + 1):
            page = self._page(number)
            if page.text.strip():
                page.kind, page.language = kinds.kind(page.text), guess_language(page.text)
            yield page

    def _page(self, number: int) -> Page:
        try:
            page = self._document[number - 1]
            text = clean(page.get_text("text"))
            shows = bool(text.strip()) or _shows_something(page)
        except _PDF_ERRORS as error:
            if _is_out_of_memory(error):
                raise MemoryError from None
            return Page(page=number, text="", problem=_first_line(error))
        if not shows and self._document.is_repaired and _has_lost_content(page):
            return Page(page=number, text="", problem="the file is damaged")
        return Page(page=number, text=text, kind=None if text.strip() else "image" if shows else "blank")


def clean(text: str) -> str:
    """A page's text as everything refers to it: line ends are `\\n`, and nothing in it is unprintable."""
    return _SURROGATE.sub("�", _UNPRINTABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def _shows_something(page: pymupdf.Page) -> bool:
    """Whether there is something to see on a page without text: a picture, or letters drawn as shapes."""
    painted = [kind for kind, _ in page.get_bboxlog()]
    return any("image" in kind or "shade" in kind for kind in painted) or len(painted) >= LETTERS_AS_SHAPES


def _has_lost_content(page: pymupdf.Page) -> bool:
    """Whether a page names content that is not in the file any more."""
    try:
        document, found = page.parent, page.get_contents()
        if document.xref_object(page.xref) == "null":
            return True  # the page itself
        is_named = document.xref_get_key(page.xref, "Contents")[0] != "null"
        return is_named and not (found and all(map(document.xref_is_stream, found)))
    except _PDF_ERRORS:
        return True


def _opened(file: Path, password: str | None) -> pymupdf.Document:
    with file.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise Unreadable("it is empty (0 bytes): fetch it again")
    if b"%PDF-" not in head:
        raise Unreadable("it is not a PDF, whatever its name says: fetch it again")
    try:
        document = pymupdf.open(file, filetype="pdf")
    except _PDF_ERRORS as error:
        if _is_out_of_memory(error):
            raise MemoryError from None
        raise Unreadable("it is damaged and cannot be opened: fetch it again") from None
    if document.needs_pass and not (password and document.authenticate(password)):
        document.close()
        wrong = "the one in PDF_PASSWORDS does not open it" if password else "give it in PDF_PASSWORDS, in .env"
        raise Unreadable(f"it is encrypted and asks for a password: {wrong}")
    return document


def _page_count(document: pymupdf.Document) -> int:
    try:
        return int(document.page_count)
    except _PDF_ERRORS:
        return 0


def _is_out_of_memory(error: Exception) -> bool:
    return "alloc" in str(error) or "out of memory" in str(error).lower()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
