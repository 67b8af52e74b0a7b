"""Find the documents and pages of the gold in the workspace, and the gold mentions in the texts of the workspace."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError, LabelError
from pipeline.evaluation.gold_page import GoldPage
from pipeline.evaluation.pages import MarkedName, MarkedPage
from pipeline.records import ManifestEntry, Page, PageText
from pipeline.review.labels import text_hash
from pipeline.store import load_text, manifest_entries
from pipeline.text.grounding import PageIndex
from pipeline.text.normalize import normalized, normalized_with_origin
from pipeline.user_files import csv_rows, read_text
from pipeline.workspace import Workspace

CONTEXT = 60  # characters around a mention that are searched for, if the gold's text differs from the page
WHOLE_PAGE = 0.9  # a gold text with a smaller share of the letters of its page is a part of the page
SAME_PAGE = 0.5  # share of common words from which on a different text is taken for the same page


@dataclass(frozen=True)
class Unplaced:
    """Gold that cannot be placed. `page`: as in the gold. `what`: why. `mentions`: their number."""

    document: str
    page: int | None
    what: str
    mentions: int


@dataclass
class Placement:
    """The gold pages as pages of the workspace. Offsets refer to its texts.

    `unmatched`: why a gold document is no document of the workspace, by its id in the gold. `relocated`: number of
    mentions that were searched for, because the gold's text differs. `digests`: of the text of each document.
    """

    pages: list[MarkedPage] = field(default_factory=list)
    unmatched: dict[str, str] = field(default_factory=dict)
    unplaced: list[Unplaced] = field(default_factory=list)
    relocated: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    _parts: dict[tuple[str, int], set[int]] = field(default_factory=dict, repr=False)

    def add(self, page: MarkedPage) -> bool:
        """Add a page. Returns False if its text was added before, as a whole page or as the same part."""
        known = self._parts.setdefault((page.document, page.page), set())
        if known and (0 in known or page.part in (0, *known)):
            return False
        known.add(page.part)
        self.pages.append(page)
        return True


def place(gold: Sequence[GoldPage], workspace: Workspace, documents_map: Mapping[str, str] | None = None) -> Placement:
    """Place the gold in the texts of the workspace.

    Documents are matched by `documents_map` (gold id to document id), then by id, then by file name without folder and
    extension. A page one of whose mentions cannot be found is left out, because the rest of its labels is incomplete.
    Raises InputError, WorkspaceError.
    """
    result = Placement()
    entries = {entry.source: entry for entry in manifest_entries(workspace)}
    by_document: dict[str, list[GoldPage]] = defaultdict(list)
    for page in gold:
        by_document[page.document].append(page)
    finder = _DocumentFinder(entries, documents_map or {})
    for gold_id, pages in by_document.items():
        source, problem = finder.find(gold_id)
        if source is None:
            result.unmatched[gold_id] = problem
            continue
        text = load_text(workspace, source)
        result.digests[source] = text.digest()
        _place_document(text, gold_id, pages, result)
    return result


def require_pages(placement: Placement, workspace: Workspace) -> None:
    """Raises InputError if no page of the gold was placed."""
    if not placement.pages:
        reason = next(iter(placement.unmatched.items()), None)
        example = f"; {reason[0]}: {reason[1]}" if reason else ""
        advice = "match the ids with --documents-map" if reason else "check that the gold was made from these papers"
        places = (
            f"{len(placement.unmatched)} documents not found, {len(placement.unplaced)} pages or mentions not placed"
        )
        raise InputError(f"No page of the gold is in {workspace.root} ({places}{example}): {advice}.")


def read_documents_map(path: Path) -> dict[str, str]:
    """A CSV with the gold id and the document id in its first two columns; a header is allowed. Raises LabelError."""
    try:
        rows = [row for _, row in csv_rows(read_text(path, "a CSV file with two columns", LabelError))]
    except csv.Error as error:
        raise LabelError(f"{path} is not a valid CSV file ({error}): check its quotation marks.") from None
    if not rows or any(len(row) < 2 for row in rows):
        raise LabelError(f"{path} must have two columns: the id in the gold file and the document id.")
    return {row[0].strip(): row[1].strip() for row in rows}


class _DocumentFinder:
    """Finds the document of a gold id."""

    def __init__(self, entries: Mapping[str, ManifestEntry], documents_map: Mapping[str, str]) -> None:
        self._entries, self._map = entries, documents_map
        self._by_stem: dict[str, set[str]] = defaultdict(set)
        for entry in entries.values():
            self._by_stem[_stem(entry.source)].add(entry.source)
            self._by_stem[_stem(entry.file)].add(entry.source)

    def find(self, gold_id: str) -> tuple[str | None, str]:
        """The document id, or None and the reason."""
        wanted = self._map.get(gold_id, gold_id)
        exact = {wanted, wanted.removesuffix(".pdf")} & self._entries.keys()
        found = exact or self._by_stem.get(_stem(wanted), set())
        if len(found) > 1:
            return None, f"several documents have this name: {', '.join(sorted(found))}"
        for source in found:
            problem = self._entries[source].problem
            return (None, f"its paper cannot be read: {problem}") if problem else (source, "")
        return None, f"no document has the id {wanted}" if wanted != gold_id else "no document has this id"


def _stem(name: str) -> str:
    last = PurePosixPath(name.replace("\\", "/")).name
    return last[:-4] if last.lower().endswith(".pdf") else last


@dataclass(frozen=True)
class _Target:
    """A page of the workspace, prepared for searching."""

    page: Page

    @cached_property
    def _normalized(self) -> tuple[str, list[int]]:
        return normalized_with_origin(self.page.text)

    @property
    def letters(self) -> str:
        return self._normalized[0]

    def find(self, letters: str) -> tuple[int, int] | None:
        """The span in the page's text of a normalized text, or None."""
        text, origin = self._normalized
        found = text.find(letters) if letters else -1
        return (origin[found], origin[found + len(letters) - 1] + 1) if found >= 0 else None


def _place_document(text: PageText, gold_id: str, pages: Iterable[GoldPage], result: Placement) -> None:
    targets = {page.page: _Target(page) for page in text.pages}
    for gold in pages:
        if gold.page is not None and gold.page not in targets:
            result.unplaced.append(
                Unplaced(gold_id, gold.page, f"the document has no page {gold.page}", len(gold.mentions))
            )
            continue
        windows = list(_windows(gold, targets, result))
        if not windows:
            result.unplaced.append(Unplaced(gold_id, gold.page, _not_found(gold), len(gold.mentions)))
        for target, (start, end), part_of_gold in windows:
            page = target.page
            mentions, lost, relocated = _placed_mentions(part_of_gold, page, start, end)
            is_whole = (start, end) == (0, len(page.text))
            marked = MarkedPage(
                text.source, page.page, page.text[start:end], mentions, 0 if is_whole else start + 1, start
            )
            if lost:
                names = ", ".join(f"“{name}”" for name in lost)
                what = f"not in the text of the page: {names}"
                result.unplaced.append(Unplaced(gold_id, page.page, what, len(part_of_gold.mentions)))
            elif result.add(marked):
                result.relocated += relocated
            else:
                what = "the gold has this page or sentence twice"
                result.unplaced.append(Unplaced(gold_id, page.page, what, len(part_of_gold.mentions)))


def _windows(
    gold: GoldPage, targets: Mapping[int, _Target], result: Placement
) -> Iterator[tuple[_Target, tuple[int, int], GoldPage]]:
    """The pages that a gold text is about: the page, the span of its text that the gold covers, and the gold for it."""
    candidates = [targets[gold.page]] if gold.page is not None else list(targets.values())
    letters = normalized(gold.text) if gold.text is not None else ""
    for target in candidates:
        whole = 0, len(target.page.text)
        if gold.text is None or gold.text == target.page.text:
            yield target, whole, gold
            return
        if span := target.find(letters):
            yield target, whole if len(letters) >= WHOLE_PAGE * len(target.letters) else span, gold
            return
    if gold.page is None:
        yield from _pages_within(gold, candidates, result)
    elif _shared_words(gold.text or "", candidates[0].page.text) >= SAME_PAGE:
        yield candidates[0], (0, len(candidates[0].page.text)), gold


def _pages_within(
    gold: GoldPage, targets: Iterable[_Target], result: Placement
) -> Iterator[tuple[_Target, tuple[int, int], GoldPage]]:
    """The pages whose text occurs in the gold's text, in order: the text of a document without page breaks."""
    text = gold.text or ""
    letters, origin = normalized_with_origin(text)
    place, covered = 0, [False] * len(gold.mentions)
    for target in targets:
        found = letters.find(target.letters, place) if target.letters else -1
        if found < 0:
            continue
        place = found + len(target.letters)
        start, end = origin[found], origin[place - 1] + 1
        inside = [bool(one.span and start <= one.span[0] < end) for one in gold.mentions]
        covered = [before or now for before, now in zip(covered, inside, strict=True)]
        own = tuple(one.shifted(-start) for one, now in zip(gold.mentions, inside, strict=True) if now)
        yield (
            target,
            (0, len(target.page.text)),
            GoldPage(gold.document, target.page.page, own, text[start:end]),
        )
    if place:  # otherwise no page was found, which the caller reports
        for one, was_covered in zip(gold.mentions, covered, strict=True):
            if not was_covered:
                result.unplaced.append(Unplaced(gold.document, None, f"“{one.name}” is on no page that was found", 1))


def _placed_mentions(gold: GoldPage, page: Page, start: int, end: int) -> tuple[tuple[MarkedName, ...], list[str], int]:
    """The mentions with offsets in `page.text[start:end]`, names that are not there, and how many were searched for."""
    text = page.text[start:end]
    same_text = gold.text == text or gold.text_sha256 == text_hash(page)
    index = PageIndex(text, page.language)
    placed: list[MarkedName] = []
    lost: list[str] = []
    relocated, shift, taken = 0, 0, set()
    for mention in sorted(gold.mentions, key=lambda one: one.span or (0, 0)):
        old_start, old_end = mention.span or (0, 0)
        if same_text and text[old_start:old_end] == mention.name:
            placed.append(mention)
            continue
        expected = _expected(index, gold.text, old_start, old_end, old_start + shift)
        found = index.locate_nearest(mention.name, expected)
        # Two mentions of one name in the gold must not be placed on one in the page.
        if found is None or (found.start, found.end, mention.name) in taken:
            lost.append(mention.name)
            continue
        taken.add((found.start, found.end, mention.name))
        shift, relocated = found.start - old_start, relocated + 1
        placed.append(mention.at(found.start, found.end))
    return tuple(placed), lost, relocated


def _expected(index: PageIndex, text: str | None, start: int, end: int, fallback: int) -> int:
    """Where a mention of the gold's text is expected in the page: where the words around it are."""
    if text is None:
        return fallback
    before = max(0, start - CONTEXT)
    # The words on one side are enough, because headers and footers may differ.
    contexts = ((before, end + CONTEXT), (start, end + CONTEXT), (before, end))
    # A passage in other words is widened to a sentence, so its borders say less.
    for (first, last), locate in (
        (one, find) for find in (index.locate_copy, index.locate_passage) for one in contexts
    ):
        if around := locate(text[first:last]):
            return around.start if first == start else around.end - (min(last, len(text)) - start)
    return fallback


def _shared_words(one: str, other: str) -> float:
    """The number of distinct words that both texts have, divided by those that at least one has."""
    words = [{normalized(word) for word in text.split()} for text in (one, other)]
    union = words[0] | words[1]
    return len(words[0] & words[1]) / len(union) if union else 1.0


def _not_found(gold: GoldPage) -> str:
    words = " ".join((gold.text or "").split())
    beginning = words[:60] + ("…" if len(words) > 60 else "")
    return f"{'no page has' if gold.page is None else 'the page does not have'} the text “{beginning}”"
