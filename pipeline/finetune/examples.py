"""Training examples: which pages can be used, and the extraction answer that each should get."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.records import (
    CLASS_FIELDS,
    DATASET_FIELDS,
    NOT_SENT,
    SPECIFICITIES,
    Dataset,
    Document,
    Page,
    PageText,
    is_specific,
)
from pipeline.review.labels import FINISHED, LabelledPage, PageLabel, apply_label, text_hash
from pipeline.stages.extraction import ExtractedDataset, ExtractedPassage, ExtractionAnswer
from pipeline.text.chunks import cut
from pipeline.text.grounding import PageIndex
from pipeline.text.names import content_words
from pipeline.text.normalize import normalized
from pipeline.text.tokens import count_tokens

Kind = Literal["positive", "negative"]
PIPELINE = "pipeline"
OVERHEAD = 32  # tokens that chat formats and the block around the page add to a row
SHORTEST_PART = 100  # tokens of the page in a row, even if the row gets longer than allowed
# Words of many names: that they are on a page does not show that one of these names is.
_COMMON_WORDS = {"data", "dataset", "database", "survey", "census", "study", "panel", "national", "statistic", "index"}
_DATA_WORDS = re.compile(
    r"\b(?:data(?:sets?|bases?)?|surveys?|census(?:es)?|panel|registers?|records|statistics|samples?|questionnaires?"
    r"|respondents|interview(?:s|ed)|indicators?|household)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TrainingPage:
    """A page that can be used for training. `datasets`: the valid ones. `label`: who labelled it."""

    page: Page
    datasets: list[Dataset]
    label: str

    @property
    def kind(self) -> Kind:
        return "positive" if self.datasets else "negative"

    @property
    def hardness(self) -> int:
        """Number of words about data. Models mistake pages that discuss data without naming any for positive ones."""
        return len(_DATA_WORDS.findall(self.page.text))


@dataclass(frozen=True)
class Example:
    """One row: a page, or a part of a long page, and the answer that it should get."""

    source: str
    page: int
    part: int
    text: str
    answer: ExtractionAnswer
    label: str
    language: str | None = None

    @property
    def kind(self) -> Kind:
        return "positive" if self.answer.data_mentions else "negative"

    @property
    def unlabelled(self) -> list[str]:
        """The fields that nobody has labelled in at least one mention. The answer has their defaults there."""
        labelled = [one.model_fields_set for passage in self.answer.data_mentions for one in passage.datasets]
        return [name for name in DATASET_FIELDS if not all(name in fields for fields in labelled)]


@dataclass(frozen=True)
class PageRules:
    """`only_reviewed`: use only pages that a person has completed. `min_specificity`: vaguer mentions do not count."""

    only_reviewed: bool = False
    min_specificity: str = SPECIFICITIES[-1]


class PageFilter:
    """Decides which pages of one document can be used for training. Human labels override the pipeline."""

    def __init__(
        self, document: Document, text: PageText, labels: Mapping[tuple[str, int], PageLabel], rules: PageRules
    ) -> None:
        self._document, self._only_reviewed = document, rules.only_reviewed
        self._labels: dict[int, PageLabel] = {}
        self._labelled: dict[int, LabelledPage] = {}
        for page in text.pages:
            known, label = document.page(page.page), labels.get((text.source, page.page))
            if label:
                self._labels[page.page] = label
                self._labelled[page.page] = apply_label(page, known, label)
            else:
                self._labelled[page.page] = LabelledPage(known.datasets() if known else [], [])
            labelled = self._labelled[page.page].datasets
            labelled[:] = [one for one in labelled if is_specific(one.specificity, rules.min_specificity)]
        valid = [one for labelled in self._labelled.values() for one in labelled.datasets if one.valid]
        self._names = {name for one in valid for name in (one.raw_name, one.harmonized_name, one.acronym) if name}

    def check(self, page: Page) -> TrainingPage | str:
        """The page as training material, or the reason why it cannot be used."""
        label, labelled = self._labels.get(page.page), self._labelled[page.page]
        complete = label is not None and label.page_complete
        if self._only_reviewed and not complete:
            return "not marked as complete by a person"
        if labelled.lost:
            return "a labelled name is no longer in the text"
        valid = [dataset for dataset in labelled.datasets if dataset.valid]
        if label is None:
            return self._problem(page, labelled.datasets) or TrainingPage(page, _placed(valid), PIPELINE)
        if not complete:
            problem = self._problem(page, labelled.datasets)
            if problem == NOT_SENT:
                return f"{NOT_SENT}, and the person who labelled it has not marked it as complete"
            return problem or TrainingPage(page, _placed(valid), f"{PIPELINE}+person:{label.annotator}")
        if label.text_sha256 != text_hash(page):
            return "the text has changed since a person completed the page"
        return TrainingPage(page, valid, f"person:{label.annotator}")

    def _problem(self, page: Page, datasets: list[Dataset]) -> str | None:
        """Why a page that no person has completed cannot be used, or None if it can."""
        status = self._document.page_status.get(str(page.page), NOT_SENT)
        if status not in FINISHED:
            return status
        if any(dataset.valid is None for dataset in datasets):
            return "a mention has no verdict"
        valid = [dataset for dataset in datasets if dataset.valid]
        lost = [dataset for dataset in valid if not _is_placed(dataset)]
        if lost and len(lost) == len(valid):
            return "a valid mention was not found in the text, and the page has no other"
        if any(_may_be_on(page.text, dataset) for dataset in lost):
            return "a valid mention was not found in the text, which may have it in other words"
        # The model may have missed a mention. A page with a known name must not be used as a negative.
        index = PageIndex(page.text)
        if not valid and any(index.locate(name) for name in self._names):
            return "no mention was found, but a dataset name from another page occurs"
        return None


def _is_placed(dataset: Dataset) -> bool:
    return dataset.start is not None and dataset.sent_start is not None


def _placed(datasets: list[Dataset]) -> list[Dataset]:
    return [dataset for dataset in datasets if _is_placed(dataset)]


def _may_be_on(text: str, dataset: Dataset) -> bool:
    """Whether a mention that was not found may be on the page in other words.

    Then the answer would lack it. Without its sentence, its acronym, and any word of its names, the model has invented
    it, and the other mentions of the page can be used.
    """
    if dataset.sent_start is not None:
        return True
    names = [name for name in (dataset.raw_name, dataset.harmonized_name, dataset.acronym) if name]
    words = {word for name in names for word in content_words(name)} - _COMMON_WORDS
    letters = normalized(text)
    return not words or any(word in letters for word in words)


def examples(source: str, training_page: TrainingPage, system: str, max_tokens: int) -> tuple[list[Example], int]:
    """The rows of a page, and the number of its parts that were left out.

    A page is cut into parts if its row would have more than `max_tokens` tokens. If a page has mentions, its parts
    without a mention are left out: they may name one of the datasets again, so they are not certain to be negatives.
    """
    page, text, datasets = training_page.page, training_page.page.text, training_page.datasets
    answer = _answer(datasets, text, 0, len(text))
    room = max_tokens - count_tokens(system) - count_tokens(answer.model_dump_json()) - OVERHEAD
    rows, left_out = [], 0
    for part, (start, end) in enumerate(_cut_between(page, datasets, max(room, SHORTEST_PART))):
        inside = [one for one in datasets if start <= (one.start or 0) < end]
        if datasets and not inside:
            left_out += 1
            continue
        answer = _answer(inside, text, start, end)
        rows.append(Example(source, page.page, part, text[start:end], answer, training_page.label, page.language))
    return rows, left_out


def _cut_between(page: Page, datasets: list[Dataset], max_tokens: int) -> list[tuple[int, int]]:
    """The spans that `cut` makes, with borders inside a name moved to its start."""
    borders = [end for _, end in cut(page.text, page.language, max_tokens)]
    for dataset in datasets:
        start, end = dataset.start or 0, dataset.end or 0
        borders = [start if start < border < end else border for border in borders]
    starts = [0, *borders[:-1]]
    return [(start, end) for start, end in zip(starts, borders, strict=True) if start < end or not page.text]


def _answer(datasets: list[Dataset], text: str, start: int, end: int) -> ExtractionAnswer:
    """The answer that extraction should give for `text[start:end]`: the datasets, grouped by their sentences.

    Line breaks become spaces, which are easier to learn and are located just as well.
    """
    by_sentence: dict[tuple[int, int], list[ExtractedDataset]] = {}
    for dataset in sorted(datasets, key=lambda dataset: (dataset.start or 0, dataset.end or 0)):
        sentence = max(start, dataset.sent_start or 0), min(end, dataset.sent_end or 0)
        labelled = dataset.labelled_fields()
        # A class without a value is one that nobody has labelled: the schema of the answer does not allow null.
        fields = {name: value for name, value in labelled.items() if value is not None or name not in CLASS_FIELDS}
        # No stage reviews `relevance`, so a model must not learn the guesses of the extraction.
        fields["relevance"] = None
        extracted = ExtractedDataset(raw_name=" ".join(dataset.raw_name.split()), **fields)
        by_sentence.setdefault(sentence, []).append(extracted)
    passages = [
        ExtractedPassage(mentioned_in=" ".join(text[low:high].split()), datasets=by_sentence[low, high])
        for low, high in sorted(by_sentence)
    ]
    return ExtractionAnswer(data_mentions=passages)
