"""Measure how many quotations are found in the right place after the changes that language models make to them.

    python benchmarks/grounding.py DATA      # a folder with gold/rcc_pages.jsonl and gold/tdmsci_sentences.jsonl

Each annotated name is quoted together with its sentence. Both are damaged, then located like the quotations of an
answer. A place is right if it has the name and is in that sentence. In addition, names are searched for on pages where
they do not occur, and with one digit changed: every place that is found there is wrong.
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

from tabulate import tabulate  # noqa: E402

from pipeline.text.grounding import PageIndex, Span  # noqa: E402
from pipeline.text.normalize import normalized  # noqa: E402

KINDS = ("exact", "normalized", "fuzzy", "missing")
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


def report(data: Path) -> str:
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
