"""What the judge and the reasoner have in common: both give a verdict on every numbered dataset of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import model_validator

from pipeline.records import TEXT_FIELDS, Dataset, MentionPage, Page, PageText, none_to_null
from pipeline.stages.base import Answer, Answered, InvalidAnswer, Stage
from pipeline.stages.blocks import datasets_block, page_block
from pipeline.text.chunks import Chunk, Chunking, chunks, with_datasets

NO_REASON = "no reason given"
SHOWN_FIELDS = ("raw_name", *TEXT_FIELDS, "context", "specificity")


class Numbered(Protocol):
    """A verdict with the number of the dataset that it is about."""

    number: int


class ReasonedAnswer(Answer):
    """Base of verdicts on one numbered dataset with a `reason`. Models answer in the order of the fields."""

    @model_validator(mode="before")
    @classmethod
    def _from_older(cls, verdict: Any) -> Any:
        """Models were once asked for the reasons of rejections only. Stored answers have them under another name."""
        if not isinstance(verdict, dict) or "reason" in verdict or "invalid_reason" not in verdict:
            return verdict
        rest = {key: value for key, value in verdict.items() if key != "invalid_reason"}
        newer = dict.fromkeys({"note"} & cls.model_fields.keys())
        return {**newer, **rest, "reason": verdict["invalid_reason"] or ""}


class VerdictStage(Stage):
    """A stage that is shown the numbered datasets of a page and gives a verdict on each."""

    def chunks(self, text: PageText, page: Page, found: MentionPage | None, chunking: Chunking) -> Iterable[Chunk]:
        return with_datasets(chunks(text, page, chunking), found.datasets() if found else [])

    def shown(self, dataset: Dataset) -> dict[str, Any]:
        """The fields that have a value, and the sentence. No offsets: they mean nothing to a model."""
        values = {name: getattr(dataset, name) for name in SHOWN_FIELDS}
        sentence = " ".join(dataset.sent.split()) if dataset.sent else None  # the page itself has the line breaks
        return {name: value for name, value in values.items() if value is not None} | {"sentence": sentence}

    def content(self, chunk: Chunk) -> str:
        return datasets_block(map(self.shown, chunk.datasets)) + "\n" + page_block(chunk)

    def validate(self, answer: Any, expects: int) -> None:
        check_numbers(answer.verdicts, expects)


def verdicts_on(page: MentionPage, answers: Sequence[Answered]) -> Iterator[tuple[Dataset, Any]]:
    """Each dataset of the page that was asked about, and the verdict on it."""
    datasets = page.datasets()
    for answered in answers:
        for verdict in answered.answer.verdicts:
            yield datasets[answered.chunk.places[verdict.number - 1]], verdict


def check_numbers(verdicts: Sequence[Numbered], expects: int) -> None:
    """Raises InvalidAnswer unless every number from 1 to `expects` has exactly one verdict, and no other has one."""
    counts = Counter(verdict.number for verdict in verdicts)
    missing = [number for number in range(1, expects + 1) if not counts[number]]
    extra = [number for number, count in counts.items() if count > 1 or not 1 <= number <= expects]
    if missing or extra:
        raise InvalidAnswer("invalid_answer", f"verdicts missing for {missing}, too many for {sorted(extra)}")


def apply_verdict(dataset: Dataset, process: str, said: dict[str, Any], fields: dict[str, Any]) -> None:
    """Set the verdict and `fields` of the dataset. `said`: has at least `valid`, and should have `reason`.

    verdicts[process] gets what was said and what it changed: {field: [old, new]}.
    """
    dataset.valid = said["valid"]
    dataset.invalid_reason = None if said["valid"] else none_to_null(said.get("reason")) or NO_REASON
    old = dataset.model_dump(include=set(fields))
    changed = {name: [old[name], new] for name, new in fields.items() if old[name] != new and name not in said}
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.verdicts[process] = said | {"changed": changed}


def reason_in(verdict: Mapping[str, Any]) -> str | None:
    """The reason that a document file has for a verdict. Older versions had reasons for rejections only."""
    reason = none_to_null(verdict.get("reason") or verdict.get("invalid_reason"))
    return None if reason is None else str(reason)


def update_dataset_used(page: MentionPage) -> MentionPage:
    """Set `dataset_used` after verdicts: true if any dataset is not rejected."""
    for passage in page.data_mentions:
        passage.dataset_used = any(dataset.valid is not False for dataset in passage.datasets)
    page.dataset_used = any(passage.dataset_used for passage in page.data_mentions)
    return page
