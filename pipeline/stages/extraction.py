"""Stage 1: which datasets does this page mention?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from pipeline.documents.grounding import PageIndex, Span
from pipeline.records import Context, Dataset, Mention, MentionPage, Page, Relevance, Specificity
from pipeline.stages.base import Answer, Answered, Stage, page_block
from pipeline.stages.pieces import Piece


def nothing_to_null(value: Any) -> Any:
    """Models write "None" or "" for what they do not know; both mean null."""
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value


OptionalText = Annotated[str | None, BeforeValidator(nothing_to_null)]


class ExtractedDataset(Answer):
    """One dataset as the extraction model names it."""

    raw_name: str
    harmonized_name: OptionalText
    acronym: OptionalText
    producer: OptionalText
    year: OptionalText
    data_type: OptionalText
    context: Context
    specificity: Specificity
    relevance: Relevance


class ExtractedMention(Answer):
    """The datasets of one sentence, and the sentence, quoted.

    The names come first: a model that has to quote before it has named anything quotes some other sentence.
    """

    datasets: list[ExtractedDataset]
    mentioned_in: str


class ExtractionAnswer(Answer):
    """The answer to one page. It is also the target of fine-tuning."""

    dataset_used: bool
    data_mentions: list[ExtractedMention]

    @model_validator(mode="after")
    def _consistent(self) -> ExtractionAnswer:
        self.data_mentions = [mention for mention in self.data_mentions if mention.datasets]
        self.dataset_used = bool(self.data_mentions)
        return self


class Extraction(Stage):
    """Zero-shot extraction from the page's text."""

    process = "extraction"
    schema_name = "dataset_extraction"
    answer_type = ExtractionAnswer

    def content(self, piece: Piece) -> str:
        return page_block(piece)

    def merge(self, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        index = PageIndex(page.text, page.language)
        mentions = [
            mention
            for answered in answers
            for said in answered.answer.data_mentions
            for mention in _mentions(index, answered.piece, said)
        ]
        return MentionPage(page=page.page, dataset_used=bool(mentions), data_mentions=mentions)


def _mentions(index: PageIndex, piece: Piece, said: ExtractedMention) -> Iterator[Mention]:
    """The quoted passage with the datasets in it; a dataset that stands elsewhere in the page gets its own sentence.

    What stands only in the text around the piece is left out: its own page reports it.
    """
    within = Span(piece.start, piece.end, "exact")
    quoted = index.locate_passage(said.mentioned_in, within)
    passages: dict[Span | None, list[Dataset]] = {}
    for dataset in said.datasets:
        place = index.locate_in_passage(dataset.raw_name, quoted) if quoted else None
        place = place or index.locate(dataset.raw_name, within, near=said.mentioned_in)
        if place is None and _belongs_to_neighbour(dataset.raw_name, piece):
            place = index.locate(dataset.acronym, within, near=said.mentioned_in) if dataset.acronym else None
            if place is None:
                continue
        passage = index.sentence(place) if place and not _holds(quoted, place) else quoted
        passages.setdefault(passage, []).append(_dataset(index, dataset, place, passage))
    for passage, datasets in passages.items():
        yield Mention(
            mentioned_in=index.text[passage.start : passage.end] if passage else said.mentioned_in,
            start=passage.start if passage else None,
            end=passage.end if passage else None,
            page=piece.page.page,
            dataset_used=True,
            datasets=datasets,
        )


def _belongs_to_neighbour(name: str, piece: Piece) -> bool:
    """Whether a name begins in the text before the piece or in that after it: who begins it reports it."""
    if not piece.before and not piece.after:
        return False
    start = len(piece.before) + 1
    place = PageIndex(f"{piece.before}\n{piece.text}\n{piece.after}").locate(name)
    return place is not None and not start <= place.start < start + len(piece.text)


def _dataset(index: PageIndex, said: ExtractedDataset, place: Span | None, passage: Span | None) -> Dataset:
    """What was said, with the name and the sentence quoted from the page where they stand in it."""
    dataset = Dataset(**said.model_dump())
    if place:
        dataset.raw_name = index.text[place.start : place.end]
        dataset.start, dataset.end, dataset.grounding = place.start, place.end, place.kind
    sentence = index.sentence(place, passage) if place else passage
    if sentence:
        dataset.sent = index.text[sentence.start : sentence.end]
        dataset.sent_start, dataset.sent_end = sentence.start, sentence.end
    return dataset


def _holds(passage: Span | None, place: Span) -> bool:
    return passage is not None and passage.start <= place.start and place.end <= passage.end
