"""How good a fine-tuned model is: precision and recall of dataset names on rows that it was not trained on.

Loss and token accuracy say nothing about that: a model that answers "nothing" to every page has excellent ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.stages.base import InvalidAnswer
from pipeline.stages.extraction import Extraction, ExtractionAnswer
from pipeline.text.names import key

Messages = Sequence[dict[str, str]]


@dataclass
class NameScore:
    """Names in answers, each once per row. `said_nothing`: rows with an empty answer. `invalid`: unreadable answers."""

    rows: int = 0
    right: int = 0
    said: int = 0
    expected: int = 0
    said_nothing: int = 0
    invalid: int = 0

    @property
    def precision(self) -> float:
        return self.right / self.said if self.said else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.expected if self.expected else 0.0

    @property
    def f1(self) -> float:
        both = self.said + self.expected
        return 2 * self.right / both if both else 0.0

    @property
    def always_nothing(self) -> bool:
        """Whether the model named nothing at all, although there was something to name."""
        return self.expected > 0 and self.said == 0

    def add(self, wanted: str, answered: str) -> None:
        """Count one row. `wanted`, `answered`: extraction answers in JSON."""
        expected = names(wanted) or Counter()
        said = names(answered)
        self.rows += 1
        self.expected += expected.total()
        self.invalid += said is None
        self.said_nothing += said is not None and not said
        self.said += said.total() if said else 0
        self.right += (said & expected).total() if said else 0

    def __str__(self) -> str:
        return (
            f"F1 {self.f1:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f} of {self.expected} names in "
            f"{self.rows} rows; {self.said_nothing} empty answers, {self.invalid} invalid"
        )


def score_answers(rows: Sequence[Messages], answers: Sequence[str]) -> NameScore:
    """Compare the answers of a model with those of the rows, whose last message is the right one."""
    score = NameScore()
    for messages, answered in zip(rows, answers, strict=True):
        score.add(messages[-1]["content"], answered)
    return score


def names(content: str) -> Counter[str] | None:
    """The names in an extraction answer. None if it is not valid."""
    try:
        answer: Any = Extraction().parse(content, 0)
    except InvalidAnswer:
        return None
    assert isinstance(answer, ExtractionAnswer)
    return Counter({key(one.raw_name) for passage in answer.data_mentions for one in passage.datasets})
