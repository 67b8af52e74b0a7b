"""What a page teaches: its text, and the extraction answer that it should get."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.batches.cost import count_tokens
from pipeline.documents.grounding import PageIndex
from pipeline.labels import PageLabel, settle
from pipeline.records import Dataset, Document, Page
from pipeline.stages.extraction import ExtractedDataset, ExtractedMention, ExtractionAnswer
from pipeline.stages.pieces import cut

Kind = Literal["positive", "negative"]
PIPELINE = "pipeline"
OVERHEAD = 32  # tokens that chat formats and the block around the page add to a row
# Pages that speak of data without naming any are those that a model takes for pages with a dataset.
_SPEAKS_OF_DATA = re.compile(
    r"\b(?:data(?:sets?|bases?)?|surveys?|census(?:es)?|panel|registers?|records|statistics|samples?|questionnaires?"
    r"|respondents|interview(?:s|ed)|indicators?|household)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Judged:
    """A page that can be trained on. `label`: who says so, `pipeline` or a person; `datasets`: the valid ones."""

    page: Page
    kind: Kind
    datasets: list[Dataset]
    label: str

    @property
    def hardness(self) -> int:
        """How much a page speaks of data."""
        return len(_SPEAKS_OF_DATA.findall(self.page.text))


@dataclass(frozen=True)
class Example:
    """One row: a page, or a part of a long one, and its answer."""

    source: str
    page: int
    part: int
    text: str
    answer: ExtractionAnswer
    label: str

    @property
    def kind(self) -> Kind:
        return "positive" if self.answer.dataset_used else "negative"


class Judge:
    """Decides page by page of one document whether it can be trained on."""

    def __init__(self, document: Document, labels: dict[tuple[str, int], PageLabel], only_reviewed: bool) -> None:
        self._document, self._labels, self._only_reviewed = document, labels, only_reviewed
        self._names = _names(document)

    def judge(self, page: Page) -> Judged | str:
        """The page as training material, or why it is left out."""
        label = self._labels.get((self._document.source, page.page))
        if self._only_reviewed and not (label and label.page_complete):
            return "not reviewed completely"
        if label is None:
            return self._by_pipeline(page)
        return self._by_person(page, label)

    def _by_pipeline(self, page: Page) -> Judged | str:
        known = self._document.page(page.page)
        return self._status(page) or self._judged(page, known.datasets() if known else [], PIPELINE)

    def _by_person(self, page: Page, label: PageLabel) -> Judged | str:
        settled = settle(page, self._document.page(page.page), label)
        if settled.lost:
            return "a label whose place the text does not have any more"
        who = f"person:{label.annotator}"
        if not label.page_complete:
            return self._status(page) or self._judged(page, settled.datasets, f"{PIPELINE}+{who}")
        valid = [dataset for dataset in settled.datasets if dataset.valid]
        return Judged(page, "positive" if valid else "negative", valid, who)

    def _status(self, page: Page) -> str | None:
        status = self._document.page_status.get(str(page.page), "not_sent")
        return None if status in ("answered", "nothing_to_ask") else status

    def _judged(self, page: Page, datasets: list[Dataset], label: str) -> Judged | str:
        if any(dataset.valid is None for dataset in datasets):
            return "a mention without a verdict"
        valid = [dataset for dataset in datasets if dataset.valid]
        if any(dataset.start is None or dataset.sent_start is None for dataset in valid):
            return "a valid mention that could not be located"
        if valid:
            return Judged(page, "positive", valid, label)
        index = PageIndex(page.text)
        if any(index.locate(name) for name in self._names):
            return "no mention found, but a name found elsewhere in the document"
        return Judged(page, "negative", [], label)


def examples(source: str, judged: Judged, system: str, most: int) -> Iterator[Example]:
    """The rows of a page: one, or as many as it takes to keep each under `most` tokens, with all its mentions."""
    answer = _answer(judged.datasets)
    room = most - count_tokens(system) - count_tokens(answer.model_dump_json()) - OVERHEAD
    page = judged.page
    for part, (start, end) in enumerate(cut(page.text, page.language, max(room, 100))):
        inside = [one for one in judged.datasets if start <= (one.start or 0) < end]
        yield Example(source, page.page, part, page.text[start:end], _answer(inside), judged.label)


def _names(document: Document) -> set[str]:
    """Every name and acronym of a dataset that was found valid in the document."""
    valid = [dataset for page in document.pages for dataset in page.datasets() if dataset.valid]
    return {name for dataset in valid for name in (dataset.raw_name, dataset.harmonized_name, dataset.acronym) if name}


def _answer(datasets: list[Dataset]) -> ExtractionAnswer:
    """The answer that the extraction should have given, in the page's own words."""
    sentences: dict[tuple[int, str], list[ExtractedDataset]] = {}
    for dataset in sorted(datasets, key=lambda dataset: (dataset.start or 0, dataset.end or 0)):
        fields = {name: getattr(dataset, name) for name in ExtractedDataset.model_fields}
        sentences.setdefault((dataset.sent_start or 0, dataset.sent or ""), []).append(ExtractedDataset(**fields))
    in_order = sorted(sentences.items(), key=lambda item: item[0])
    mentions = [ExtractedMention(mentioned_in=sent, datasets=found) for (_, sent), found in in_order]
    return ExtractionAnswer(dataset_used=bool(mentions), data_mentions=mentions)
