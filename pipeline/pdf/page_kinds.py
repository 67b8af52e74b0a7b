"""Recognise pages that hold only references or a table of contents: they name datasets without using them.

A page is recognised only if all of it is a list: every stretch of its lines is checked, not the mean of the page. An
unnecessary request costs a fraction of a cent, but a page that is wrongly skipped costs its mentions. So everything
that is unclear counts as text: an appendix, an article or a table that begins where the references end, tables after
the contents, an index of prices, or a review table with the column "Reference".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.records import PageKind

# "Reference" in the singular is the head of a column more often than of a list.
_REFERENCES = re.compile(
    r"^(?:[^\S\n]|[\d.])*(?:references(?: cited)?|bibliography|(?:literature|works) cited|literature|r[ée]f[ée]rences"
    r"|bibliographie|literatur(?:verzeichnis)?|referencias(?: bibliogr[áa]ficas)?|bibliograf[íi]a"
    r"|refer[êe]ncias(?: bibliogr[áa]ficas)?|riferimenti bibliografici|bibliografie|literatuur)[^\S\n]*:?[^\S\n]*$",
    re.IGNORECASE,
)
_CONTENTS = re.compile(
    r"^[^\S\n]*(?:(?:table of )?contents?|list of (?:tables|figures|abbreviations)"
    r"|(?:inhalts|abbildungs|tabellen)verzeichnis|inhalt|table des mati[èe]res|sommaire"
    r"|[íi]ndice(?P<index>)|[íi]ndice (?:general|de contenidos?|de (?:cuadros|tablas|figuras|gr[áa]ficos|quadros"
    r"|tabelas))|contenido|sum[áa]rio|inhoud(?:sopgave)?)[^\S\n]*:?[^\S\n]*$",
    re.IGNORECASE,
)
# How the lines begin that the two patterns above match. They are looked for on every page, so this saves time.
_HEADING_START = re.compile(
    r"\n(?:[^\S\n]|[\d.])*(?=[rblwctiasíRBLWCTIASÍ])"  # one look at a letter rejects most lines
    r"(?i:ref|r[ée]f|rif|bib|lit|wor|con|tab|lis|inh|abb|som|[íi]nd|sum)[^\n]*"
)
# What a table of contents has and an index of prices has not.
_CHAPTER = re.compile(
    r"\.[ .]{4,}|…{2}|\b(?:introduc\w+|cap[íi]tulo|anexos?|refer[eê]ncias|bibliograf[íi]a|conclus\w+|resumen|resumo"
    r"|pr[óo]logo|agradec\w+|metodolog[íi]a)\b",
    re.IGNORECASE,
)
# A heading after which the document goes on: an appendix, tables or notes, with or without a title behind the word.
_RESUMED = re.compile(
    r"^(?:[^\S\n]|[\d.])*(?:[a-z]+[^\S\n]+){0,2}(?:appendix|appendices|annex(?:es)?|anhang|anexos?|ap[ée]ndices?"
    r"|annexes)\b[^\n]{0,80}$"
    r"|^(?:[^\S\n]|[\d.])*(?:(?:online |supplementary |supporting )(?:information|material)s?|notes|endnotes"
    r"|tables?(?: and figures?)?|figures?(?: and tables?)?)(?:[^\S\n]+[A-Z\d]{1,2})?[^\S\n]*[:.]?[^\S\n]*$"
    r"|^[^\S\n]*(?:table|figure|tabelle|abbildung|tableau|cuadro|tabla|tabela|box)[^\S\n]+[A-Z]?\.?\d+"
    r"|^[^\S\n]*(?-i:[A-H]\.?\d+(?:\.\d+)*\.?[^\S\n]+[A-Z][a-z])[^\n]{0,60}$"
    r"|^[^\S\n]*(?:sources?|fuentes?|quellen?|fonte|bron|notes?|notas?)[^\S\n]*:",
    re.IGNORECASE | re.MULTILINE,
)
# A caption or a source below the last entry of a table of contents is not the foot of the page.
_BELOW_TABLE = re.compile(
    r"(?:(?:sources?|fuentes?|quellen?|fonte|bron|notes?|notas?)\s*:|(?:table|figure|tabelle|abbildung|tableau|cuadro"
    r"|tabla|tabela|box|appendix|annex|anhang|anexo)\b)",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b(?:1[89]|20)\d\d[a-z]?\b")
# "Smith, J. A." and "Smith JA,": initials are rare in running text and frequent in references.
_INITIAL = re.compile(r"\b[A-Z]\.(?=[\s,;:)A-Z-])|\b[A-Z][\w’'-]+,? [A-Z]{1,3}(?=[,.:;]| \(| and\b| &)")
# What an entry has besides: volume (issue), pages, an address, editors.
_CITED = re.compile(
    r"\d+ ?\(\d+(?:[-–]\d+)?\)|[,:;(] ?(?:pp?\. ?)?(?!(?:19|20)\d\d)[A-Z]?\d+ ?[-–] ?[A-Z]?\d+|\bpp?\. ?\d|\b[Vv]ol\."
    r"|\bdoi\b|https?:|www\.|\bet al\b|\bEds?\.|\(eds?\.?\)"
)
# Words of sentences that titles rarely have, in the languages of the headings above. Small letters only: titles in
# capitals have some of them.
_SENTENCE_WORD = re.compile(
    r"\b(?:is|are|was|were|[Ww]e|our|that|which|[Tt]his|[Tt]hese|those|has|have|had|been|be|they|[Ii]t|its|not|can|will"
    r"|may|also|their|he|she|his|her|where|who"
    r"|ist|sind|wird|werden|wurden?|[Ww]ir|dass|nicht|sich|haben|hatte"
    r"|est|sont|[Nn]ous|que|qui|été|cette|[Cc]es|ont|pas|elles?"
    r"|se|son|fue|fueron|est[ea]s?|han|sido|nuestr[ao]s?|são|foi|foram|não|est[áã]o?"
    r"|che|è|sono|stat[oi]|quest[oia]|abbiamo|zijn|wordt|worden|niet|deze)\b"
)
# A number alone in its line, and one behind a title. A decimal number is neither.
_NUMBER = re.compile(r"(?:\d{1,4}|[ivxl]{1,6})")
_NUMBERED = re.compile(r"(?P<title>.*[^\W\d_].*?)(?:[^\S\n]|[.…_·]{2})[\s.…_·]*(?P<number>\d{1,4}|[ivxl]{1,6})")
_LETTER = re.compile(r"[^\W\d_]")
_LEADERS = re.compile(r"[\s.…_·]+")

MAX_HEADING = 60  # characters
MAX_RUNNING_HEAD = 100  # characters that may stand above the heading of a page of references or contents
MIN_LIST = 250  # characters; in a shorter list years and initials are too few to be counted
MIN_YEARS, MIN_INITIALS = 2.5, 4.0  # per 1,000 characters of a page of references
MAX_UNMARKED = 350  # characters of references without a year, an initial, a page range or an address
MAX_SENTENCE_WORDS = 2  # in SENTENCE characters of a list. Measured: at most 2 on 20 of 24 real pages of references
SENTENCE = 250  # characters
TAIL = 1000  # characters at the end of a page that say whether the next one can go on with references
SHORT_LINE = 25  # characters; the cells of a table are shorter, the lines of references are longer
MAX_SHORT_LINES = 4  # in a row without a mark of references
MAX_SHORT_SHARE = 0.2  # of all lines
MAX_CONTENTS_LINE = 150  # characters; a table of contents has no longer lines
MAX_TITLE_LINES, MAX_TITLE = 3, 220  # lines and characters of a title in a table of contents
MAX_FOOT = 60  # characters below the last entry of a table of contents
MIN_ENTRIES = 3  # with a page number
MIN_RISING = 0.85  # share of the page numbers in a table of contents that are not less than the one before


class PageClassifier:
    """Classifies the pages of one document, which must be given in order."""

    def __init__(self) -> None:
        self._in_references = False
        self._contents_end: int | None = None  # the last page number of a table of contents that may go on

    def kind(self, text: str) -> PageKind | None:
        """The kind of the next page, or None if it is text to ask about."""
        lines = list(_heading_lines(text))
        headings = [(start, end) for start, end, line in lines if _REFERENCES.fullmatch(line)]
        above = text[: headings[0][0]].strip() if headings else ""
        entries = text[headings[-1][1] :] if headings else text if self._in_references else None
        is_list = entries is not None and len(above) <= MAX_RUNNING_HEAD and _is_references(entries)
        # A page with other text above or between the references is sent, but the next one may be a list again.
        self._in_references = is_list or (entries is not None and _ends_in_references(entries, bool(headings)))
        self._contents_end = self._contents(text, lines)
        if self._contents_end is not None:
            return "contents"
        return "references" if is_list else None

    def _contents(self, text: str, lines: Sequence[tuple[int, int, str]]) -> int | None:
        """The last page number, if all of the page is a table of contents; else None."""
        for start, end, line in lines:
            heading = _CONTENTS.fullmatch(line)
            if heading and len(text[:start].strip()) <= MAX_RUNNING_HEAD:
                if heading["index"] is not None and not _CHAPTER.search(text):
                    return None
                return _last_entry(text[end:], 0)
        return None if self._contents_end is None else _last_entry(text, self._contents_end)


def _heading_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """The start, the end and the text of lines that can be headings of references or contents. It must be quick."""
    for found in _HEADING_START.finditer(f"\n{text}"):
        line = found[0][1:]
        if len(line) <= MAX_HEADING:
            yield found.start(), found.start() + len(line), line


def _ends_in_references(text: str, has_heading: bool) -> bool:
    """Whether the last lines of the text are references."""
    if _RESUMED.search(text):
        return False
    return _is_dense(text[-TAIL:], 1.0) if len(text) >= MIN_LIST else has_heading or _is_dense(text, 0.5)


def _is_references(text: str) -> bool:
    """Whether all of the text is a list of references."""
    if _RESUMED.search(text) or _has_sentences(text):
        return False
    if len(text) < MIN_LIST:
        return not text.strip() or _is_dense(text, 0.5)
    return _is_dense(text, 1.0) and not _has_unmarked_part(text)


def _is_dense(text: str, share: float) -> bool:
    """Whether the text has at least this share of the years and initials that are usual in references."""
    thousands = max(len(text), 1) / 1000 * share
    return len(_YEAR.findall(text)) >= MIN_YEARS * thousands and len(_INITIAL.findall(text)) >= MIN_INITIALS * thousands


def _has_sentences(text: str) -> bool:
    """Whether words of sentences come close together anywhere."""
    places = [word.start() for word in _SENTENCE_WORD.finditer(text)]
    return any(last - first < SENTENCE for first, last in zip(places, places[MAX_SENTENCE_WORDS:], strict=False))


def _has_unmarked_part(text: str) -> bool:
    """Whether lines in a row, or many short ones, have nothing that the entries of a list of references have."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    unmarked = short = all_short = 0
    for line in lines:
        if _YEAR.search(line) or _INITIAL.search(line) or _CITED.search(line):
            unmarked = short = 0
            continue
        unmarked += len(line)
        short = short + 1 if len(line) < SHORT_LINE else 0
        all_short += len(line) < SHORT_LINE and bool(_LETTER.search(line))
        if unmarked > MAX_UNMARKED or short > MAX_SHORT_LINES:
            return True
    return all_short > MAX_SHORT_SHARE * len(lines)


def _last_entry(text: str, first: int) -> int | None:
    """The last page number of a table of contents, or None if the text has anything else. It starts at `first`."""
    lines = [line.strip() for line in text.splitlines()]
    if _has_sentences(text) or any(len(line) >= MAX_CONTENTS_LINE for line in lines):
        return None
    numbers = _page_numbers(lines)
    arabic = [int(number) for number in numbers or () if number.isdigit()]
    if numbers is None or len(numbers) < MIN_ENTRIES:
        return None
    if not arabic:
        return first
    falling = sum(next_one < one for one, next_one in pairwise([first, *arabic]))
    return arabic[-1] if falling <= (1 - MIN_RISING) * len(arabic) else None


def _page_numbers(lines: Sequence[str]) -> list[str] | None:
    """The number behind each title of a table of contents; None if lines are neither titles nor numbers."""
    numbers: list[str] = []
    title: list[str] = []
    section: str | None = None  # the last line, if it was a number without a title above it
    sections = 0  # the number of the last section
    for line in lines:
        if not line or _LEADERS.fullmatch(line):
            continue
        alone, behind = _NUMBER.fullmatch(line), _NUMBERED.fullmatch(line)
        if section is not None:
            # Sections are counted, and have titles. Other numbers in a row are cells of a table.
            if not _LETTER.search(line) or (section.isdigit() and numbers and int(section) > sections + 2):
                return None
            sections, section = int(section) if section.isdigit() else 0, None
        if behind or (alone and title):
            numbers.append(behind["number"] if behind else line)
            title = []
        elif alone:
            section = line
        else:
            title.append(line)
        if len(title) > MAX_TITLE_LINES or len("".join(title)) > MAX_TITLE:
            return None
    foot = " ".join(title)
    return numbers if len(foot) <= MAX_FOOT and not _BELOW_TABLE.match(foot) else None
