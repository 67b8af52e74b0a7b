"""BRAT standoff: an .ann file with one annotation per line, and the .txt file that its offsets refer to.

Format: https://brat.nlplab.org/standoff.html. A text has the pages of its document separated by form feeds, or is one
page, if its name ends with the number (`report_page_3.ann`). Without either, the pages are found by their text.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

from pipeline.errors import LabelError
from pipeline.evaluation.gold_page import GoldPage
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName
from pipeline.user_files import read_text
from pipeline.words import counted

_ENTITY = re.compile(r"T\d+\t(?P<type>\S+) (?P<spans>\d+ \d+(?:;\d+ \d+)*)\t")
_QUOTED_ENTITY = re.compile(r"^T\d+\t\S+ (\d+) (\d+)\t([^\r\n]*)", re.MULTILINE)
_ATTRIBUTE = re.compile(r"[AM]\d+\t(?P<name>\S+) (?P<entity>T\d+) (?P<value>\S+)")
_PAGE_IN_NAME = re.compile(r"[._-]p(?:age)?[._-]?(\d+)$", re.IGNORECASE)


def is_standoff(content: str) -> bool:
    """Whether a file begins with a BRAT annotation."""
    return bool(re.match(r"\s*[TEARMN*#]\d*\t", content))


def read_brat(path: Path) -> tuple[list[GoldPage], list[str]]:
    """The pages of an .ann file, or of all in a folder, and notes. Raises LabelError."""
    files = sorted(path.rglob("*.ann")) if path.is_dir() else [path]
    if not files:
        raise LabelError(f"{path} has no .ann files: give a folder with BRAT files (.ann, and .txt beside it).")
    parsed = {file: _entities(file) for file in files}
    types = Counter(kind for entities in parsed.values() for kind, _ in entities)
    counted_types = {kind for kind in types if "data" in kind.lower()} or set(types)
    notes = [
        f"{counted(count, 'annotation')} of type {kind} ignored"
        for kind, count in sorted(types.items())
        if kind not in counted_types
    ]
    pages = []
    for file, entities in parsed.items():
        name = file.relative_to(path if path.is_dir() else file.parent).with_suffix("").as_posix()
        mentions = [mention for kind, mention in entities if kind in counted_types]
        pages += _pages(name, _text(file), mentions)
    return pages, notes


def _text(annotations: Path) -> str:
    path = annotations.with_suffix(".txt")
    if not path.is_file():
        raise LabelError(f"{annotations} has no {path.name} beside it: BRAT offsets refer to that text.")
    text = read_text(path, "the text of a BRAT annotation", LabelError)
    # Windows programs change the ends of lines, and the offsets count the original ones.
    plain = text.replace("\r\n", "\n")
    entities = list(_QUOTED_ENTITY.finditer(read_text(annotations, "a BRAT annotation", LabelError)))
    return max((text, plain), key=lambda one: sum(one[int(e[1]) : int(e[2])] == e[3] for e in entities))


def _entities(path: Path) -> list[tuple[str, MarkedName]]:
    """Type and mention of each entity. A discontinuous one runs from its first to its last character."""
    content = read_text(path, "a BRAT annotation", LabelError)
    if not content.strip():  # a document without mentions
        return []
    lines, text = content.split("\n"), _text(path)
    fields: dict[str, dict[str, str]] = defaultdict(dict)
    for line in lines:
        if (attribute := _ATTRIBUTE.match(line)) and attribute["name"].lower() in GROUP_FIELDS:
            fields[attribute["entity"]][attribute["name"].lower()] = attribute["value"]
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.startswith("T"):
            continue
        entity = _ENTITY.match(line)
        if not entity:
            raise LabelError(f"{path}, line {number}, is not a BRAT annotation (T1<tab>Type start end<tab>text).")
        offsets = [int(offset) for offset in re.findall(r"\d+", entity["spans"])]
        start, end = min(offsets), max(offsets)
        if not start < end <= len(text):
            raise LabelError(f"{path}, line {number}: {start} to {end} is not a span of its .txt file.")
        mention = MarkedName(text[start:end], start, end, **fields[line.partition("\t")[0]])
        found.append((entity["type"], mention))
    return found


def _pages(name: str, text: str, mentions: list[MarkedName]) -> list[GoldPage]:
    """The pages of one text, with the offsets of the mentions counted from the start of their page."""
    in_name = _PAGE_IN_NAME.search(name)
    if in_name and "\f" not in text.rstrip("\f"):
        return [GoldPage(name[: in_name.start()], int(in_name[1]), tuple(mentions), text)]
    if "\f" not in text:
        return [GoldPage(name, None, tuple(mentions), text)]
    pages, start = [], 0
    for number, page in enumerate(text.removesuffix("\f").split("\f"), start=1):
        own = (one for one in mentions if one.span and start <= one.span[0] <= start + len(page))
        pages.append(GoldPage(name, number, tuple(one.shifted(-start) for one in own), page))
        start += len(page) + 1
    return pages
