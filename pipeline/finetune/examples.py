"""What a page teaches: its text, and the extraction answer that it should get."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.batches.cost import count_tokens
from pipeline.documents.grounding import PageIndex
from pipeline.labels import PageLabel, Settled, settle, text_hash
from pipeline.records import Dataset, Document, Page, PageText
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

    def __init__(
        self, document: Document, text: PageText, labels: dict[tuple[str, int], PageLabel], only_reviewed: bool
    ) -> None:
        self._document, self._only_reviewed = document, only_reviewed
        pages = ((page.page, labels.get((text.source, page.page))) for page in text.pages)
        self._labels = {page: label for page, label in pages if label}
        self._settled = {page.page: self._settle(page) for page in text.pages}
        valid = [one for settled in self._settled.values() for one in settled.datasets if one.valid]
        self.names = {name for one in valid for name in (one.raw_name, one.harmonized_name, one.acronym) if name}

    def _settle(self, page: Page) -> Settled:
        """What is on a page, as people or else the pipeline have it."""
        known, label = self._document.page(page.page), self._labels.get(page.page)
        return settle(page, known, label) if label else Settled(known.datasets() if known else [])

    def judge(self, page: Page) -> Judged | str:
        """The page as training material, or why it is left out."""
        label, settled = self._labels.get(page.page), self._settled[page.page]
        if self._only_reviewed and not (label and label.page_complete):
            return "not reviewed completely"
        if settled.lost:
            return "a label whose place the text does not have any more"
        if label is None:
            return self._status(page) or self._judged(page, settled.datasets, PIPELINE)
        if not label.page_complete:
            return self._status(page) or self._judged(page, settled.datasets, f"{PIPELINE}+person:{label.annotator}")
        if label.text_sha256 != text_hash(page):
            return "reviewed completely, but its text has changed since"
        valid = [dataset for dataset in settled.datasets if dataset.valid]
        return Judged(page, "positive" if valid else "negative", valid, f"person:{label.annotator}")

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
        if any(index.locate(name) for name in self.names):
            return "no mention found, but a name found elsewhere in the document"
        return Judged(page, "negative", [], label)


def examples(source: str, judged: Judged, system: str, most: int) -> tuple[list[Example], int]:
    """The rows of a page: one, or as many as it takes to keep each under `most` tokens, with all its mentions.

    A part of a page with mentions that has none of its own may name one of them again: it is not given, and counted.
    """
    page, text = judged.page, judged.page.text
    answer = _answer(judged.datasets, text, 0, len(text))
    room = most - count_tokens(system) - count_tokens(answer.model_dump_json()) - OVERHEAD
    made, left_out = [], 0
    for part, (start, end) in enumerate(_cut_between(page, judged.datasets, max(room, 100))):
        inside = [one for one in judged.datasets if start <= (one.start or 0) < end]
        if inside or judged.kind == "negative":
            answer = _answer(inside, text, start, end)
            made.append(Example(source, page.page, part, text[start:end], answer, judged.label))
        else:
            left_out += 1
    return made, left_out


def _cut_between(page: Page, datasets: list[Dataset], most: int) -> list[tuple[int, int]]:
    """As `cut`, but never within a name."""
    borders = [end for _, end in cut(page.text, page.language, most)]
    for dataset in datasets:
        within = (dataset.start or 0) + 1, dataset.end or 0
        borders = [within[0] - 1 if within[0] <= border < within[1] else border for border in borders]
    starts = [0, *borders[:-1]]
    return [(start, end) for start, end in zip(starts, borders, strict=True) if start < end or not page.text]


def _answer(datasets: list[Dataset], text: str, start: int, end: int) -> ExtractionAnswer:
    """The answer that the extraction should have given to `text[start:end]`, in its own words."""
    sentences: dict[tuple[int, int], list[ExtractedDataset]] = {}
    for dataset in sorted(datasets, key=lambda dataset: (dataset.start or 0, dataset.end or 0)):
        fields = {name: getattr(dataset, name) for name in ExtractedDataset.model_fields}
        sentence = max(start, dataset.sent_start or 0), min(end, dataset.sent_end or 0)
        sentences.setdefault(sentence, []).append(ExtractedDataset(**fields))
    mentions = [
        ExtractedMention(mentioned_in=text[low:high].strip(), datasets=found)
        for (low, high), found in sorted(sentences.items(), key=lambda item: item[0])
    ]
    return ExtractionAnswer(dataset_used=bool(mentions), data_mentions=mentions)
