"""What one question is about: a page, or a part of one that is too long, and what stands before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.batches.cost import count_tokens
from pipeline.documents.sentences import sentence_spans
from pipeline.records import Dataset, Page, PageText


@dataclass(frozen=True)
class Layout:
    """How pages become questions: the most tokens of a piece, and the characters of its neighbourhood to show."""

    max_tokens: int | None = None
    context_chars: int = 0


@dataclass(frozen=True)
class Piece:
    """`page.text[start:end]`; `before` and `after` are for reading on only.

    `datasets`: those to be judged in it, and their `places` among the datasets of the page, from 0.
    """

    page: Page
    part: int
    start: int
    end: int
    before: str = ""
    after: str = ""
    datasets: tuple[Dataset, ...] = ()
    places: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        return self.page.text[self.start : self.end]


def whole(page: Page, datasets: Sequence[Dataset] = ()) -> Piece:
    """A page as one piece."""
    return Piece(page, 0, 0, len(page.text), datasets=tuple(datasets), places=tuple(range(len(datasets))))


def pieces(text: PageText, page: Page, layout: Layout) -> list[Piece]:
    """The pieces of a page, in order: together they are the page."""
    made = [Piece(page, part, *span) for part, span in enumerate(cut(page.text, page.language, layout.max_tokens))]
    if not layout.context_chars:
        return made
    return [_in_context(text, piece, layout.context_chars) for piece in made]


def with_datasets(made: Sequence[Piece], datasets: Sequence[Dataset]) -> Iterator[Piece]:
    """Those of the pieces in which datasets stand, with them; what stands nowhere is asked about with the first."""
    for piece in made:
        places = [i for i, dataset in enumerate(datasets) if piece.start <= (dataset.start or 0) < piece.end]
        if places:
            yield replace(piece, datasets=tuple(datasets[i] for i in places), places=tuple(places))


def cut(text: str, language: str | None, most: int | None) -> list[tuple[int, int]]:
    """Spans of at most `most` tokens that cover the text, cut at sentence ends; in a sentence only where it is longer.

    A token has at least one byte, so short texts need no counting.
    """
    if most is None or len(text.encode()) <= most or count_tokens(text) <= most:
        return [(0, len(text))]
    spans, room = [(0, 0)], most
    for start, end in _units(text, sentence_spans(text, language), most):
        tokens = count_tokens(text[start:end])
        if tokens > room and spans[-1][1] > spans[-1][0]:
            spans.append((start, start))
            room = most
        spans[-1] = (spans[-1][0], end)
        room -= tokens
    spans[-1] = (spans[-1][0], len(text))
    return spans


def _units(text: str, spans: Sequence[tuple[int, int]], most: int) -> Iterator[tuple[int, int]]:
    """The spans, and the too long ones in halves, at a line's end or a space if there is one near the middle."""
    for start, end in spans:
        if end - start < 2 or count_tokens(text[start:end]) <= most:
            yield start, end
        else:
            middle = _border(text, start, end)
            yield from _units(text, [(start, middle), (middle, end)], most)


def _border(text: str, start: int, end: int) -> int:
    quarter, middle = (end - start) // 4, (start + end) // 2
    for mark in ("\n", " "):
        found = text.rfind(mark, middle - quarter, middle + quarter)
        if found > start:
            return found + 1
    return middle


def _in_context(text: PageText, piece: Piece, size: int) -> Piece:
    number = piece.page.page
    previous = text.pages[number - 2].text if number > 1 else ""
    following = text.pages[number].text if number < len(text.pages) else ""
    before = piece.page.text[: piece.start] or previous
    after = piece.page.text[piece.end :] or following
    return replace(piece, before=_from_word(before, size), after=_to_word(after, size))


def _from_word(text: str, size: int) -> str:
    """The last `size` characters, less the half of a word that they begin with."""
    end = text[-size:]
    whole_word = len(text) <= size or text[-size - 1].isspace() or " " not in end
    return (end if whole_word else end.partition(" ")[2]).strip()


def _to_word(text: str, size: int) -> str:
    """The first `size` characters, less the half of a word that they end with."""
    start = text[:size]
    whole_word = len(text) <= size or text[size].isspace() or " " not in start
    return (start if whole_word else start.rpartition(" ")[0]).strip()
