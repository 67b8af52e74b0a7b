"""Extract the text of PDF pages. The only module that opens PDFs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pymupdf

from pipeline.pdf.attached import document_remark
from pipeline.pdf.doubled import Word, may_be_doubled, without_copies
from pipeline.pdf.layout_text import text_of
from pipeline.pdf.ocr import find_tessdata, recognised
from pipeline.pdf.page_kinds import PageClassifier
from pipeline.pdf.visible import CONTROL, UNREADABLE, is_picture, n_letters, shows_something, unmapped_letters
from pipeline.records import Page
from pipeline.text.language import guess_language
from pipeline.text.tokens import count_tokens

# Lone surrogates cannot be written as UTF-8.
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# White space and the control characters among it: a page with other ones has letters that are not in its text.
_WHITE = " \t\n\r\v\f\xa0\u3000"

# What PyMuPDF raises for damaged files: Python's exceptions for some, MuPDF's own for others.
_PDF_ERRORS = (RuntimeError, ValueError, IndexError, pymupdf.mupdf.FzErrorBase)

HEADER = b"%PDF-"
HEADER_WITHIN = 4096  # bytes from the start of a file in which the header is accepted
MAX_JUNK = 1000  # bytes before the header that MuPDF 1.28 copes with: the header must be within the first 1,023

pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)


class UnreadableError(Exception):
    """A paper whose text cannot be read. The message completes the sentence "<file>: …"."""


class OpenPaper:
    """An open PDF, for use in a `with` statement.

    Raises UnreadableError, with what is wrong and what can be done, as well as OSError and MemoryError.
    """

    def __init__(self, file: Path, password: str | None = None, ocr: str | None = None) -> None:
        """`ocr`: languages in which pages without text are read by OCR, such as "eng+deu"; None for no OCR."""
        self._document, self._ocr = _open(file, password), ocr
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

    @property
    def remark(self) -> str | None:
        """What is not read although the file has it, besides pages."""
        try:
            return document_remark(self._document)
        except _PDF_ERRORS:
            return None  # the tables of a damaged file say nothing reliable

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

        With `classify`, also the kind of pages with text, and the language and the tokens of those to ask about.
        """
        classifier = PageClassifier()
        for number in range(first, self.n_pages + 1):
            page = self._page(number)
            if classify and page.text.strip():
                kind = classifier.kind(page.text)
                page.kind = page.kind or kind
                if page.kind is None:
                    page.language, page.tokens = guess_language(page.text), count_tokens(page.text)
            yield page

    def _page(self, number: int) -> Page:
        try:
            page = self._document.load_page(number - 1)
            made = _without_ocr(page, number)
            if made.kind == "blank" and self._document.is_repaired and _has_lost_content(page):
                return Page(page=number, text="", problem="the file is damaged")
            return self._with_ocr(page, made) if made.kind == "image" and self._ocr else made
        except _PDF_ERRORS as error:
            if _is_out_of_memory(error):
                raise MemoryError from None
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            return Page(page=number, text="", problem=reason)

    def _with_ocr(self, page: pymupdf.Page, made: Page) -> Page:
        """The page as OCR reads it, unless that is less than the text that it has."""
        tessdata = find_tessdata(self._ocr or "")
        if tessdata is None:
            return made
        text = clean(recognised(page, self._ocr or "", tessdata))
        if n_letters(text) <= n_letters(made.text) and not made.unmapped:
            return made.model_copy(update={"ocr": True})
        return Page(page=made.page, text=text, kind=None if text.strip() else "image", ocr=True)


def _without_ocr(page: pymupdf.Page, number: int) -> Page:
    """The text of a page, with its kind if it shows something else."""
    layout = page.get_textpage(flags=pymupdf.TEXTFLAGS_TEXT)
    raw = text_of(layout)
    if may_be_doubled(raw):
        raw = without_copies(raw, [Word(*word[:5]) for word in layout.extractWORDS()])
    if raw.replace("\n", "").isprintable() and "\N{REPLACEMENT CHARACTER}" not in raw:
        text, unmapped = raw, 0  # most pages: nothing to remove, and nothing to count
    else:
        text, unmapped = clean(raw), unmapped_letters(raw)
    made = Page(page=number, text=text, unmapped=unmapped or None)
    if not text.strip():
        made.kind = "image" if raw.strip(_WHITE) or shows_something(page) else "blank"
    elif (unmapped and unmapped >= UNREADABLE * n_letters(raw)) or is_picture(page, text):
        made.kind = "image"
    return made


def clean(text: str) -> str:
    """The text of a page as it is stored: lines end with `\\n`, and there are no control characters."""
    text = CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


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
