"""What the judge's and the reasoner's answers have in common: a verdict for every numbered dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from pipeline.batches.outcomes import Unacceptable
from pipeline.records import Dataset, MentionPage, Page, PageText
from pipeline.stages.base import Answered, Stage, datasets_block, page_block
from pipeline.stages.pieces import Layout, Piece, pieces, with_datasets


class Numbered(Protocol):
    """A verdict that says which dataset it is about."""

    number: int


class VerdictStage(Stage):
    """A stage that is shown the numbered datasets of a page, and gives each a verdict."""

    def details(self, dataset: Dataset) -> dict[str, Any]:
        """What the stage is told about a dataset besides its fields."""
        return {}

    def pieces(self, text: PageText, page: Page, found: MentionPage | None, layout: Layout) -> Iterable[Piece]:
        return with_datasets(pieces(text, page, layout), found.datasets() if found else [])

    def content(self, piece: Piece) -> str:
        return datasets_block(piece.datasets, [self.details(one) for one in piece.datasets]) + "\n" + page_block(piece)

    def validate(self, answer: Any, expects: int) -> None:
        check_numbers(answer.verdicts, expects)


def verdicts_on(page: MentionPage, answers: Sequence[Answered]) -> Iterator[tuple[Dataset, Any]]:
    """Each dataset of the page that was asked about, and its verdict."""
    datasets = page.datasets()
    for answered in answers:
        for verdict in answered.answer.verdicts:
            yield datasets[answered.piece.places[verdict.number - 1]], verdict


def check_numbers(verdicts: Sequence[Numbered], expects: int) -> None:
    """Raises Unacceptable unless every number from 1 to `expects` has exactly one verdict, and no other has."""
    counts = Counter(verdict.number for verdict in verdicts)
    missing = [number for number in range(1, expects + 1) if not counts[number]]
    extra = [number for number, count in counts.items() if count > 1 or not 1 <= number <= expects]
    if missing or extra:
        raise Unacceptable("invalid_answer", f"verdicts missing for {missing}, too many for {sorted(extra)}")


def apply(dataset: Dataset, process: str, said: dict[str, Any], fields: dict[str, Any]) -> None:
    """Put `fields` into the dataset, and under verdicts[process] what was `said` and what that changed, [from, to]."""
    now = dataset.model_dump(include=set(fields))
    changed = {name: [now[name], value] for name, value in fields.items() if now[name] != value}
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.verdicts[process] = said | {"changed": {name: pair for name, pair in changed.items() if name not in said}}


def summarize(page: MentionPage) -> MentionPage:
    """`dataset_used` again, after verdicts: true where any dataset is not rejected."""
    for mention in page.data_mentions:
        mention.dataset_used = any(dataset.valid is not False for dataset in mention.datasets)
    page.dataset_used = any(mention.dataset_used for mention in page.data_mentions)
    return page
