"""Measure how many quotations are found in the right place after the changes that language models make to them.

    python benchmarks/grounding.py DATA      # a folder with gold/rcc_pages.jsonl, gold/tdmsci_sentences.jsonl and pdfs/

Each annotated name is quoted together with its sentence. Both are damaged, then located like the quotations of an
answer. A place is right if it has the name and is in that sentence. In addition, names are searched for on pages where
they do not occur, and with one digit changed: every place that is found there is wrong.

The second table does the same for names and sentences of PDFs and of the gold pages, for each of the kinds in
quotation_kinds.py. A place that begins or ends within a word counts as cut. The third table searches for names that are
not on the page: of other papers, damaged or not, and look-alikes of the names that are.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from quotation_kinds import KINDS as KINDS_OF_CHANGES  # noqa: E402
from quotation_kinds import Case  # noqa: E402
from tabulate import tabulate  # noqa: E402

from pipeline.pdf.extract import OpenPaper  # noqa: E402
from pipeline.text.grounding import PageIndex, Span  # noqa: E402
from pipeline.text.normalize import normalized  # noqa: E402

KINDS = ("exact", "normalized", "fuzzy", "missing")
VERDICTS = ("right", "cut", "wrong", "missing")
SENTENCES = 1_000
LOOK_UPS = 5_000  # of each kind
COUNTRIES = ("Zambia", "Gambia", "Austria", "Australia", "Niger", "Nigeria", "Slovakia", "Slovenia", "Mali", "Malawi")
_WORDS = "WHO ATUS ISIN ASHE SHARE ERS USDA PISA DHS ICES INDEPTH CPS PSID FAO AID IT TIMES BOND IFS"
ACRONYMS = tuple(_WORDS.split())  # those that are also words, or parts of two words, are the hardest
_NAME = re.compile(
    r"[A-Z][a-z]+(?:[ \n](?:[A-Z][a-z]+|[A-Z]{2,6}|of|and|the|for|on|&|in|(?:19|20)\d\d)){1,8}?[ \n]"
    r"(?:Surveys?|Census|Panel|Study|Database|Index|Register|Statistics|Indicators|Cohort|Barometer|Archive)\b"
    r"(?:[ \n]\([A-Z][A-Za-z]*[A-Z]\)|[ \n](?:19|20)\d\d)?"
)
_BRACKET = re.compile(r"\s*[(\[][^()\[\]]*[)\]]")
SENTENCES_PER_PAGE = 20
OTHER_PAGES_PER_NAME = 20


@dataclass(frozen=True)
class Annotation:
    """A dataset name that people have annotated, at `text[start:end]` of page `page`."""

    page: int
    start: int
    end: int


def load(data: Path) -> tuple[list[str], list[Annotation]]:
    """The pages of both collections (sentences are joined into pages), and the annotated names on them."""
    pages: list[str] = []
    annotations: list[Annotation] = []
    for row in _rows(data / "gold" / "rcc_pages.jsonl"):
        annotations += [Annotation(len(pages), mention["start"], mention["end"]) for mention in row["mentions"]]
        pages.append(row["text"])
    rows = list(_rows(data / "gold" / "tdmsci_sentences.jsonl"))
    for first in range(0, len(rows), SENTENCES_PER_PAGE):
        text = ""
        for row in rows[first : first + SENTENCES_PER_PAGE]:
            for mention in row["mentions"]:
                annotations.append(Annotation(len(pages), len(text) + mention["start"], len(text) + mention["end"]))
            text += row["text"] + "\n"
        pages.append(text)
    return pages, annotations


def _rows(file: Path) -> Iterator[dict[str, object]]:
    for line in file.read_bytes().splitlines():
        yield json.loads(line)


def _changed_letter(text: str, dice: random.Random) -> str:
    places = [place for place, char in enumerate(text) if char.isalpha()]
    if not places:
        return text
    place = dice.choice(places)
    letter = dice.choice([other for other in "aeinorst" if other != text[place].lower()])
    return text[:place] + (letter.upper() if text[place].isupper() else letter) + text[place + 1 :]


def _dropped_space(text: str, dice: random.Random) -> str:
    places = [place for place, char in enumerate(text) if char.isspace()]
    place = dice.choice(places) if places else len(text)
    return text[:place] + text[place + 1 :]


def _replaced(text: str, pairs: dict[str, str]) -> str:
    for old, new in pairs.items():
        text = text.replace(old, new)
    return text


DAMAGES: dict[str, Callable[[str, random.Random], str]] = {
    "none": lambda text, dice: text,
    "line breaks to spaces": lambda text, dice: " ".join(text.split()),
    "hyphens at line ends lost": lambda text, dice: " ".join(re.sub(r"[-\u00ad]\s*\n\s*", "", text).split()),
    "straight quotes and dashes": lambda text, dice: _replaced(
        text, {"’": "'", "“": '"', "”": '"', "–": "-", "—": "-"}
    ),
    "control characters": lambda text, dice: _replaced(text, {"’": "\x19", "–": "\x13", "“": "\x1c", "”": "\x1d"}),
    "spaces to 0 0": lambda text, dice: text.replace(" ", "0\n\n0", 1),
    "other case": lambda text, dice: text.upper() if dice.random() < 0.5 else text.lower(),
    "a space dropped": _dropped_space,
    "a letter changed": _changed_letter,
}


def measure(pages: list[str], annotations: list[Annotation], damage: str) -> Counter[str]:
    """Count names and sentences by how they were found, and wrong ones: `name exact`, `sentence wrong`, …"""
    dice, counts = random.Random(damage), Counter[str]()
    damaged = DAMAGES[damage]
    indexes: dict[int, PageIndex] = {}
    for one in annotations:
        index = indexes.setdefault(one.page, PageIndex(pages[one.page]))
        sentence = index.sentence(Span(one.start, one.end, "exact"))
        name = index.text[one.start : one.end]
        quote = damaged(index.text[sentence.start : sentence.end], dice)
        passage = index.locate_passage(quote)
        counts[f"sentence {passage.kind if passage else 'missing'}"] += 1
        counts["sentence wrong"] += passage is not None and not _is_same(passage, sentence, index.text)
        quoted_name = damaged(name, dice)
        place = (index.locate_in_passage(quoted_name, passage) if passage else None) or index.locate(
            quoted_name, near=quote
        )
        counts[f"name {place.kind if place else 'missing'}"] += 1
        counts["name wrong"] += place is not None and not _is_right(place, name, sentence, index)
    return counts


def _is_same(found: Span, sentence: Span, text: str) -> bool:
    """Whether nine tenths of both overlap, or both have the same words."""
    shared = min(found.end, sentence.end) - max(found.start, sentence.start)
    same_words = normalized(text[found.start : found.end]) == normalized(text[sentence.start : sentence.end])
    return same_words or shared >= 0.9 * max(found.end - found.start, sentence.end - sentence.start)


def _is_right(found: Span, name: str, sentence: Span, index: PageIndex) -> bool:
    inside = sentence.start <= found.start and found.end <= sentence.end
    inside = inside or _is_same(index.sentence(found), sentence, index.text)
    return inside and normalized(index.text[found.start : found.end]) == normalized(name)


def measure_absent(pages: list[str], annotations: list[Annotation]) -> Counter[str]:
    """Search for names where they do not occur: on other pages, and with a digit changed."""
    dice, counts = random.Random(0), Counter[str]()
    indexes = [PageIndex(text) for text in pages]
    for one in annotations:
        name = pages[one.page][one.start : one.end]
        others = [
            index
            for index in dice.sample(indexes, OTHER_PAGES_PER_NAME)
            if normalized(name) not in normalized(index.text)
        ]
        counts["searched elsewhere"] += len(others)
        counts["found elsewhere"] += sum(index.locate(name) is not None for index in others)
        digits = [place for place, char in enumerate(name) if char.isdigit()]
        if digits:
            place = dice.choice(digits)
            other = name[:place] + str((int(name[place]) + dice.randint(1, 9)) % 10) + name[place + 1 :]
            if normalized(other) not in normalized(pages[one.page]):
                counts["with a digit changed"] += 1
                counts["found with a digit changed"] += indexes[one.page].locate(other) is not None
    return counts


def paper_pages(data: Path, least: int = 500) -> list[str]:
    """The pages of the PDFs and of the gold collection that have at least `least` characters."""
    pages = [row["text"] for row in _rows(data / "gold" / "rcc_pages.jsonl")]
    for file in sorted((data / "pdfs").glob("*.pdf")):
        with OpenPaper(file) as paper:
            pages += [page.text for page in paper.pages(classify=False)]
    return [str(text) for text in dict.fromkeys(pages) if len(str(text)) >= least]


def printed_names(pages: list[str]) -> list[Annotation]:
    """Capitalized names of surveys, panels, statistics and the like, as the pages have them."""
    return [
        Annotation(number, *found.span()) for number, text in enumerate(pages) for found in _NAME.finditer(text)
    ]  # fmt: skip


def sentences(pages: list[str], dice: random.Random, size: int) -> list[Annotation]:
    """Sentences of prose, at random places."""
    found: dict[tuple[int, int, int], Annotation] = {}
    while len(found) < size:
        number = dice.randrange(len(pages))
        start = dice.randrange(len(pages[number]))
        sentence = PageIndex(pages[number]).sentence(Span(start, start + 1, "exact"))
        text = pages[number][sentence.start : sentence.end]
        letters = sum(map(str.isalpha, text))
        if 8 <= len(text.split()) <= 60 and letters > 0.7 * len(text) and text[0].isupper() and text[-1] == ".":
            found[number, sentence.start, sentence.end] = Annotation(number, sentence.start, sentence.end)
    return list(found.values())


def measure_kind(pages: list[str], places: list[Annotation], kind: str, is_name: bool) -> Counter[str]:
    """Count places by what became of their quotation: right, cut, wrong, missing."""
    dice, counts = random.Random(kind), Counter[str]()
    for one in places:
        original = pages[one.page][one.start : one.end]
        case = KINDS_OF_CHANGES[kind](
            Case(pages[one.page], one.start, one.end, " ".join(original.split())), dice, is_name
        )
        if case is None:
            continue
        index = PageIndex(case.page)
        sentence = index.sentence(Span(case.start, case.end, "exact"))
        near = index.text[sentence.start : sentence.end]
        if is_name:
            found = index.locate_in_passage(case.quote, sentence) or index.locate(case.quote, near=near)
        else:
            found = index.locate_passage(case.quote)
        counts[_verdict(found, case, sentence, is_name)] += 1
    return counts


def _verdict(found: Span | None, case: Case, sentence: Span, is_name: bool) -> str:
    if found is None:
        return "missing"
    if is_cut(case.page, found.start) or is_cut(case.page, found.end):
        return "cut"
    if not is_name:
        return "right" if _is_same(found, Span(case.start, case.end, "exact"), case.page) else "wrong"
    text, name = (normalized(_core(part)) for part in (case.page[found.start : found.end], case.original))
    is_inside = sentence.start <= found.start and found.end <= sentence.end
    return "right" if text.strip(".,;:") == name.strip(".,;:") and is_inside else "wrong"


def is_cut(text: str, border: int) -> bool:
    """Whether a border is between two letters."""
    return 0 < border < len(text) and text[border - 1].isalpha() and text[border].isalpha()


def measure_look_ups(pages: list[str], names: list[str], dice: random.Random, size: int) -> dict[str, Counter[str]]:
    """Search for names where they are not: every place that is found is wrong."""
    counts: dict[str, Counter[str]] = {}
    indexes = [PageIndex(text) for text in pages]
    folded = [normalized(text) for text in pages]
    for kind in ("as printed", *KINDS_OF_CHANGES, *LOOK_ALIKES):
        one = counts[kind] = Counter()
        while one["searched"] + one["skipped"] < size:
            name, number = dice.choice(names), dice.randrange(len(pages))
            quote = _quoted_as(kind, name, dice)
            core = _core(quote if quote and kind in LOOK_ALIKES else name)
            is_there = (
                re.search(rf"\b{core}\b", pages[number]) if core in ACRONYMS else normalized(core) in folded[number]
            )
            if quote is None or is_there:
                one["skipped"] += 1
                continue
            one["searched"] += 1
            found = indexes[number].locate(quote)
            one["found"] += found is not None
            if found and "-v" in sys.argv:
                print(kind, "|", name, "|", quote, "|", pages[number][found.start : found.end])
    return counts


def _core(name: str) -> str:
    """The name without its acronym, an article and "data": with them, it is the same name."""
    return re.sub(
        r"^(?:(?:the|data)\s)+|\s(?:data(?:sets?|bases?)?)$", "", _BRACKET.sub("", name).strip(), flags=re.IGNORECASE
    )


def _quoted_as(kind: str, name: str, dice: random.Random) -> str | None:
    if kind in LOOK_ALIKES:
        other = LOOK_ALIKES[kind](name, dice)
        return other if other != name else None
    if kind == "as printed":
        return name
    case = KINDS_OF_CHANGES[kind](Case(name, 0, len(name), name), dice, True)
    return case.quote if case and case.page == name else None


def _other_number(name: str, dice: random.Random) -> str:
    return re.sub(r"\d", lambda digit: str((int(digit[0]) + dice.randint(1, 9)) % 10), name, count=1)


def _other_letter(name: str, dice: random.Random) -> str:
    words = [word for word in name.split() if len(word) > 4]
    return name.replace(dice.choice(words), dice.choice(COUNTRIES), 1) if words else name


LOOK_ALIKES: dict[str, Callable[[str, random.Random], str]] = {
    "another number": _other_number,
    "another country": _other_letter,
    "a plural": lambda name, dice: name[:-1] if name.endswith("s") else f"{name}s",
    "an acronym": lambda name, dice: dice.choice(ACRONYMS),
}


def _all_kinds(data: Path) -> str:
    """The tables of right, cut, wrong and missing by kind, and of names that are not there."""
    dice, rows = random.Random(0), []
    pages = paper_pages(data)
    names = printed_names(pages)
    for is_name, places in ((True, names), (False, sentences(pages, dice, SENTENCES))):
        for kind in KINDS_OF_CHANGES:
            counts = measure_kind(pages, places, kind, is_name)
            total = counts.total()
            if total:
                shares = [f"{100 * counts[verdict] / total:.1f}" for verdict in VERDICTS]
                rows.append([kind, "name" if is_name else "sentence", total, *shares])
    kinds = tabulate(rows, headers=["kind", "", "quotations", *VERDICTS], disable_numparse=True)
    others = sorted({" ".join(pages[one.page][one.start : one.end].split()) for one in names} | set(ACRONYMS))
    found = measure_look_ups(pages, others, dice, LOOK_UPS)
    rows = [[kind, one["searched"], one["found"]] for kind, one in found.items()]
    rows.append(["all", *(sum(row[column] for row in rows) for column in (1, 2))])
    absent = tabulate(rows, headers=["name that is not on the page", "look-ups", "found"])
    return f"{len(names)} names and {SENTENCES} sentences on {len(pages)} pages; per cent of them:\n{kinds}\n\n{absent}"


def report(data: Path) -> str:
    """All tables."""
    return f"{_first_table(data)}\n\n{_all_kinds(data)}"


def _first_table(data: Path) -> str:
    """The table of found quotations in per cent, and the counts for names that do not occur."""
    pages, annotations = load(data)
    rows = []
    for damage in DAMAGES:
        counts = measure(pages, annotations, damage)
        for what in ("name", "sentence"):
            shares = [f"{100 * counts[f'{what} {kind}'] / len(annotations):.1f}" for kind in KINDS]
            rows.append([damage, what, *shares, f"{100 * counts[f'{what} wrong'] / len(annotations):.2f}"])
    table = tabulate(
        rows, headers=["damage", "", *KINDS, "wrong"], disable_numparse=True, colalign=("left", "left", *["right"] * 5)
    )
    absent = "\n".join(f"{what}: {count}" for what, count in measure_absent(pages, annotations).items())
    return f"{len(annotations)} annotated names on {len(pages)} pages; per cent of them:\n{table}\n\n{absent}"


if __name__ == "__main__":
    print(report(Path(sys.argv[1])))
