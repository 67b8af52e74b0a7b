"""Extract the text of PDF pages. The only module that reads PDFs, and the only one that imports PyMuPDF for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pymupdf

from pipeline.pdf.page_kinds import PageClassifier
from pipeline.records import Page
from pipeline.text.language import guess_language

# Control characters carry no text and disturb terminals and logs. Lone surrogates cannot be written as UTF-8.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# What PyMuPDF raises for damaged files: Python's exceptions for some, MuPDF's own for others.
_PDF_ERRORS = (RuntimeError, ValueError, IndexError, pymupdf.mupdf.FzErrorBase)

HEADER = b"%PDF-"
HEADER_WITHIN = 4096  # bytes from the start of a file in which the header is accepted
MAX_JUNK = 1000  # bytes before the header that MuPDF 1.28 copes with: the header must be within the first 1,023
MIN_SHAPES = 20  # letters drawn as shapes are many; a page with fewer has a frame, a rule or a background

pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)


class UnreadableError(Exception):
    """A paper whose text cannot be read. The message completes the sentence "<file>: …"."""


class OpenPaper:
    """An open PDF, for use in a `with` statement.

    Raises UnreadableError, with what is wrong and what can be done, as well as OSError and MemoryError.
    """

    def __init__(self, file: Path, password: str | None = None) -> None:
        self._document = _open(file, password)
        try:
            self.n_pages = int(self._document.page_count)
        except _PDF_ERRORS:
            self.n_pages = 0
        if not self.n_pages:
            self._document.close()
            raise UnreadableError("it has no pages, or its end is missing: download it again")

    @property
    def title(self) -> str | None:
        """The title in the PDF's metadata."""
        return clean(str(self._metadata("title"))).strip() or None

    @property
    def year(self) -> int | None:
        """The year in which the PDF was created, according to its metadata."""
        found = re.match(r"D:((?:19|20)\d\d)", str(self._metadata("creationDate")))
        return int(found[1]) if found else None

    def _metadata(self, name: str) -> str:
        try:
            return (self._document.metadata or {}).get(name) or ""
        except _PDF_ERRORS:
            return ""

    def __enter__(self) -> OpenPaper:
        return self

    def __exit__(self, *exception: object) -> None:
        self._document.close()

    def pages(self, first: int = 1, classify: bool = True) -> Iterator[Page]:
        """The text of each page from number `first` on, in order. Raises MemoryError.

        With `classify`, also the kind and the language of pages with text.
        """
        classifier = PageClassifier()
        for number in range(first, self.n_pages + 1):
            page = self._page(number)
            if classify and page.text.strip():
                page.kind, page.language = classifier.kind(page.text), guess_language(page.text)
            yield page

    def _page(self, number: int) -> Page:
        try:
            page = self._document[number - 1]
            text = clean(page.get_text("text"))
            has_text = bool(text.strip())
            is_visible = has_text or _has_graphics(page)
        except _PDF_ERRORS as error:
            if _is_out_of_memory(error):
                raise MemoryError from None
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            return Page(page=number, text="", problem=reason)
        if not is_visible and self._document.is_repaired and _has_lost_content(page):
            return Page(page=number, text="", problem="the file is damaged")
        return Page(page=number, text=text, kind=None if has_text else "image" if is_visible else "blank")


def clean(text: str) -> str:
    """The text of a page as it is stored: lines end with `\\n`, and there are no control characters."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def _has_graphics(page: pymupdf.Page) -> bool:
    """Whether a page without text shows something: a picture, or letters that are drawn as shapes."""
    painted = [kind for kind, _ in page.get_bboxlog()]
    return any("image" in kind or "shade" in kind for kind in painted) or len(painted) >= MIN_SHAPES


def _has_lost_content(page: pymupdf.Page) -> bool:
    """Whether the page refers to content that is missing from the file."""
    try:
        document, found = page.parent, page.get_contents()
        if document.xref_object(page.xref) == "null":
            return True  # the page object itself is missing
        has_contents = document.xref_get_key(page.xref, "Contents")[0] != "null"
        return has_contents and not (found and all(map(document.xref_is_stream, found)))
    except _PDF_ERRORS:
        return True


def _open(file: Path, password: str | None) -> pymupdf.Document:
    with file.open("rb") as stream:
        start = stream.read(HEADER_WITHIN)
    if not start:
        raise UnreadableError("it is empty (0 bytes): download it again")
    header_at = start.find(HEADER)
    if header_at < 0:
        raise UnreadableError("it is not a PDF, despite its name: download it again")
    try:
        if header_at > MAX_JUNK:
            # MuPDF would treat the file as damaged and lose the ends of streams. Without the junk it is not damaged.
            document = pymupdf.open(stream=file.read_bytes()[header_at:], filetype="pdf")
        else:
            document = pymupdf.open(file, filetype="pdf")
    except _PDF_ERRORS as error:
        if _is_out_of_memory(error):
            raise MemoryError from None
        raise UnreadableError("it is damaged and cannot be opened: download it again") from None
    if document.needs_pass and not (password and document.authenticate(password)):
        document.close()
        advice = "the one in PDF_PASSWORDS is wrong" if password else "add it to PDF_PASSWORDS in .env"
        raise UnreadableError(f"it is encrypted and asks for a password: {advice}")
    return document


def _is_out_of_memory(error: Exception) -> bool:
    return "alloc" in str(error) or "out of memory" in str(error).lower()
