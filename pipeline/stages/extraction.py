"""Stage 1: which datasets does this page mention?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from pipeline.documents.grounding import PageIndex, Span
from pipeline.records import Context, Dataset, Mention, MentionPage, Page, Relevance, Specificity
from pipeline.stages.base import Answer, Stage, page_block


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

    def content(self, page: Page, found: MentionPage | None) -> str:
        return page_block(page)

    def merge(self, page: Page, found: MentionPage | None, answers: list[ExtractionAnswer]) -> MentionPage:
        index = PageIndex(page.text)
        mentions = [_mention(index, page.page, mention) for answer in answers for mention in answer.data_mentions]
        return MentionPage(page=page.page, dataset_used=bool(mentions), data_mentions=mentions)


def _mention(index: PageIndex, page: int, said: ExtractedMention) -> Mention:
    passage = index.locate(said.mentioned_in)
    places = [_place(index, passage, dataset.raw_name) for dataset in said.datasets]
    found = [place for place in places if place]
    if found and not any(_holds(passage, place) for place in found):
        passage = index.sentence(found[0])  # the quoted sentence is not the one that names the dataset
    datasets = list(_datasets(index, passage, said, places))
    quoted = index.text[passage.start : passage.end] if passage else said.mentioned_in
    return Mention(
        mentioned_in=quoted,
        start=passage.start if passage else None,
        end=passage.end if passage else None,
        page=page,
        dataset_used=True,
        datasets=datasets,
    )


def _place(index: PageIndex, passage: Span | None, name: str) -> Span | None:
    """The name's place in its passage, or else in the page: models also quote one sentence and name from another."""
    return index.locate(name, passage) or index.locate(name)


def _datasets(
    index: PageIndex, passage: Span | None, said: ExtractedMention, places: list[Span | None]
) -> Iterator[Dataset]:
    for dataset, place in zip(said.datasets, places, strict=True):
        fields = dataset.model_dump()
        sentence = index.sentence(place, passage if _holds(passage, place) else None) if place else passage
        if place:
            fields |= {"raw_name": index.text[place.start : place.end], "start": place.start, "end": place.end}
            fields |= {"grounding": place.kind}
        if sentence:
            sent = index.text[sentence.start : sentence.end]
            fields |= {"sent": sent, "sent_start": sentence.start, "sent_end": sentence.end}
        yield Dataset(**fields)


def _holds(passage: Span | None, place: Span) -> bool:
    return passage is not None and passage.start <= place.start and place.end <= passage.end
