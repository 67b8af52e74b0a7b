"""Cutting pages that are too long into chunks, and adding the text around a chunk.

A question is about one chunk: usually the whole page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.records import Dataset, Page, PageText
from pipeline.text.sentences import sentence_spans
from pipeline.text.tokens import count_tokens

NEAR = 0.9  # share of the most tokens of a chunk


@dataclass(frozen=True)
class Chunking:
    """`max_tokens`: longest chunk (None: no limit). `context_chars`: characters of surrounding text to show."""

    max_tokens: int | None = None
    context_chars: int = 0


@dataclass(frozen=True)
class Chunk:
    """`page.text[start:end]`. `before` and `after` are the text around it, for context only.

    `datasets`: the datasets that the question is about; `places`: their indexes among the datasets of the page.
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

    @property
    def tokens(self) -> int | None:
        """Tokens of the text, if they are known."""
        return self.page.tokens if (self.start, self.end) == (0, len(self.page.text)) else None

    def about(self, datasets: Sequence[Dataset], places: Sequence[int]) -> Chunk:
        """The same chunk, with those of the page's datasets that the question is about. Raises IndexError."""
        if not places:
            return self
        return replace(self, datasets=tuple(datasets[i] for i in places), places=tuple(places))


def whole_page(page: Page) -> Chunk:
    """A page as one chunk."""
    return Chunk(page, 0, 0, len(page.text))


def chunks(text: PageText, page: Page, chunking: Chunking) -> list[Chunk]:
    """The chunks of a page, in order. Together they are the whole page."""
    limit = chunking.max_tokens
    fits = limit is None or (page.tokens is not None and page.tokens <= limit)
    spans = [(0, len(page.text))] if fits else cut(page.text, page.language, limit)
    return [chunk_at(text, page, part, span, chunking.context_chars) for part, span in enumerate(spans)]


def chunk_at(text: PageText, page: Page, part: int, span: tuple[int, int], context_chars: int) -> Chunk:
    """The chunk with a known span, and `context_chars` characters of the text around it."""
    chunk = Chunk(page, part, *span)
    return _with_context(text, chunk, context_chars) if context_chars else chunk


def with_datasets(made: Sequence[Chunk], datasets: Sequence[Dataset]) -> Iterator[Chunk]:
    """The chunks that contain datasets, with those datasets. A dataset without a place goes to the first chunk."""
    for chunk in made:
        places = [i for i, dataset in enumerate(datasets) if chunk.start <= (dataset.start or 0) < chunk.end]
        if places:
            yield chunk.about(datasets, places)


def cut(text: str, language: str | None, max_tokens: int | None) -> list[tuple[int, int]]:
    """Spans of at most `max_tokens` tokens that cover the text, cut at the ends of sentences.

    A sentence is cut only if it is too long by itself. `language`: ISO 639-1.
    """
    # A token has at least one byte, so short texts need no counting.
    if max_tokens is None or len(text.encode()) <= max_tokens or count_tokens(text) <= max_tokens:
        return [(0, len(text))]
    spans, total = [(0, 0)], 0  # `total`: the sum of the tokens of the sentences in the last span
    for start, end in _units(text, sentence_spans(text, language), max_tokens):
        tokens = count_tokens(text[start:end])
        total += tokens
        # Two sentences can have more tokens together than their sum, so near the limit they are counted together.
        is_near = total > NEAR * max_tokens
        is_full = total > max_tokens or (is_near and count_tokens(text[spans[-1][0] : end]) > max_tokens)
        if is_full and spans[-1][1] > spans[-1][0]:
            spans.append((start, start))
            total = tokens
        spans[-1] = (spans[-1][0], end)
    spans[-1] = (spans[-1][0], len(text))
    return spans


def _units(text: str, spans: Sequence[tuple[int, int]], max_tokens: int) -> Iterator[tuple[int, int]]:
    """The spans, with those that are too long cut in halves: at a line break or a space near the middle, if any."""
    for start, end in spans:
        if end - start < 2 or count_tokens(text[start:end]) <= max_tokens:
            yield start, end
            continue
        quarter, middle = (end - start) // 4, (start + end) // 2
        breaks = (text.rfind(mark, middle - quarter, middle + quarter) for mark in ("\n", " "))
        middle = next((found + 1 for found in breaks if found > start), middle)
        yield from _units(text, [(start, middle), (middle, end)], max_tokens)


def _with_context(text: PageText, chunk: Chunk, size: int) -> Chunk:
    number = chunk.page.page
    previous = text.pages[number - 2].text if number > 1 else ""
    following = text.pages[number].text if number < len(text.pages) else ""
    before = chunk.page.text[: chunk.start] or previous
    after = chunk.page.text[chunk.end :] or following
    return replace(chunk, before=_last_words(before, size), after=_first_words(after, size))


def _last_words(text: str, size: int) -> str:
    """The last `size` characters, without the part of a word that they begin with."""
    end = text[-size:]
    whole_word = len(text) <= size or text[-size - 1].isspace() or " " not in end
    return (end if whole_word else end.partition(" ")[2]).strip()


def _first_words(text: str, size: int) -> str:
    """The first `size` characters, without the part of a word that they end with."""
    start = text[:size]
    whole_word = len(text) <= size or text[size].isspace() or " " not in start
    return (start if whole_word else start.rpartition(" ")[0]).strip()
