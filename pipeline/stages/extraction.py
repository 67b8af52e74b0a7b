"""Stage 1: which datasets does this page mention?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from pydantic import field_validator, model_validator

from pipeline.records import (
    CLASS_FIELDS,
    TEXT_FIELDS,
    Dataset,
    DatasetFields,
    MentionPage,
    NamedDataset,
    Page,
    PageText,
    Passage,
    none_to_null,
)
from pipeline.stages.base import Answer, Answered, InvalidAnswer, Stage
from pipeline.stages.blocks import page_block
from pipeline.text.chunks import Chunk
from pipeline.text.grounding import PageIndex, Span


class ExtractedDataset(Answer, DatasetFields, NamedDataset):
    """One dataset as the extraction model names it."""

    _none_to_null = field_validator(*TEXT_FIELDS, mode="before")(none_to_null)


class ExtractedPassage(Answer):
    """The datasets of one sentence, and the sentence, quoted.

    The names come first: a small model that has to quote before it has named anything quotes another sentence.
    """

    datasets: list[ExtractedDataset]
    mentioned_in: str


class ExtractionAnswer(Answer):
    """The answer about one page. It is also the target of fine-tuning. A page without datasets has an empty list."""

    data_mentions: list[ExtractedPassage]

    @model_validator(mode="before")
    @classmethod
    def _without_flag(cls, answer: Any) -> Any:
        """Until `dataset_used` was derived from the mentions, models were asked for it. Stored answers have it."""
        return (
            {key: value for key, value in answer.items() if key != "dataset_used"}
            if isinstance(answer, dict)
            else answer
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(passage.datasets for passage in self.data_mentions):
            self.data_mentions = [passage for passage in self.data_mentions if passage.datasets]
        return self


class Extraction(Stage):
    """Zero-shot extraction from the text of the page."""

    process = "extraction"
    schema_name = "dataset_extraction"
    answer_type = ExtractionAnswer
    # From real answers about a 47-page paper (19 pages with mentions), a factor of three in both directions.
    usual_output = (30, 260)

    def content(self, chunk: Chunk) -> str:
        return page_block(chunk)

    def mentions_in(self, answer: ExtractionAnswer) -> int:
        return sum(len(passage.datasets) for passage in answer.data_mentions)

    def validate(self, answer: ExtractionAnswer, expects: int) -> None:
        """The classes must be given. A text that is missing is null: the request may be older than the field."""
        for dataset in (dataset for passage in answer.data_mentions for dataset in passage.datasets):
            missing = CLASS_FIELDS.keys() - dataset.model_fields_set
            missing |= {name for name in ("context", "specificity") if getattr(dataset, name) is None}
            if missing:
                raise InvalidAnswer("invalid_answer", f"missing: {', '.join(sorted(missing))}")

    def merge(self, text: PageText, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        index = PageIndex(page.text, page.language)
        passages = _without_repeats(
            passage
            for answered in answers
            for said in answered.answer.data_mentions
            for passage in _passages(index, answered.chunk, said)
        )
        return MentionPage(page=page.page, dataset_used=bool(passages), data_mentions=passages)


def _without_repeats(passages: Iterable[Passage]) -> list[Passage]:
    """Small models say the same again and again. A name at one place is one mention, and is judged once."""
    seen: set[tuple[int, int]] = set()
    kept = []
    for passage in passages:
        new = []
        for dataset in passage.datasets:
            if dataset.start is not None and dataset.end is not None:
                if (dataset.start, dataset.end) in seen:
                    continue
                seen.add((dataset.start, dataset.end))
            new.append(dataset)
        if new:
            passage.datasets = new
            kept.append(passage)
    return kept


def _passages(index: PageIndex, chunk: Chunk, said: ExtractedPassage) -> Iterator[Passage]:
    """The quoted passage with the datasets in it. A dataset that is elsewhere on the page gets its own sentence."""
    quoted = index.locate_passage(said.mentioned_in, Span(chunk.start, chunk.end, "exact"))
    datasets_by_passage: dict[Span | None, list[Dataset]] = {}
    for dataset in said.datasets:
        place = _place(index, chunk, dataset.raw_name, quoted, said.mentioned_in)
        if place is None and _begins_in_context(dataset.raw_name, chunk):
            # The page on which a name begins reports it. Here only its acronym can be meant.
            place = _place(index, chunk, dataset.acronym, None, said.mentioned_in)
            if place is None:
                continue
        is_in_quoted = quoted and place and quoted.start <= place.start and place.end <= quoted.end
        passage = index.sentence(place) if place and not is_in_quoted else quoted
        datasets_by_passage.setdefault(passage, []).append(_located(index, dataset, place, passage))
    for found, datasets in datasets_by_passage.items():
        text = index.text[found.start : found.end] if found else said.mentioned_in
        start, end = (found.start, found.end) if found else (None, None)
        yield Passage(
            mentioned_in=text, start=start, end=end, page=chunk.page.page, dataset_used=True, datasets=datasets
        )


def _place(index: PageIndex, chunk: Chunk, name: str | None, quoted: Span | None, sentence: str) -> Span | None:
    """Where a name is: in the quoted passage, or else in the chunk, nearest to what `sentence` says."""
    if name is None:
        return None
    place = index.locate_in_passage(name, quoted) if quoted else None
    return place or index.locate(name, Span(chunk.start, chunk.end, "exact"), near=sentence)


def _begins_in_context(name: str, chunk: Chunk) -> bool:
    """Whether a name begins in the text before or after the chunk."""
    if not chunk.before and not chunk.after:
        return False
    start = len(chunk.before) + 1
    place = PageIndex(f"{chunk.before}\n{chunk.text}\n{chunk.after}").locate(name)
    return place is not None and not start <= place.start < start + len(chunk.text)


def _located(index: PageIndex, said: ExtractedDataset, place: Span | None, passage: Span | None) -> Dataset:
    """The dataset, with the name and the sentence as the page has them, if it has them."""
    values = said.model_dump()
    if place:
        values |= {"raw_name": index.text[place.start : place.end], "start": place.start, "end": place.end}
        values["grounding"] = place.kind
    sentence = index.sentence(place, passage) if place else passage
    if sentence:
        values["sent"] = index.text[sentence.start : sentence.end]
        values |= {"sent_start": sentence.start, "sent_end": sentence.end}
    return Dataset(**values)
