"""How good a fine-tuned model is: precision and recall of what it finds, on rows that it was not trained on.

Loss and token accuracy say nothing about that: a model that answers "nothing" to every page has excellent ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.training.tasks import Task

Messages = Sequence[dict[str, str]]


@dataclass
class Score:
    """What answers find, each item once per row. `what`: names, or valid mentions. `said_nothing`: rows without any.

    `invalid`: unreadable answers.
    """

    what: str = "names"

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
        """Whether the model found nothing at all, although there was something to find."""
        return self.expected > 0 and self.said == 0

    def add(self, expected: Counter[str], said: Counter[str] | None) -> None:
        """Count one row: what should be found, and what was. None: an answer that is not valid."""
        self.rows += 1
        self.expected += expected.total()
        self.invalid += said is None
        self.said_nothing += said is not None and not said
        self.said += said.total() if said else 0
        self.right += (said & expected).total() if said else 0

    def __str__(self) -> str:
        return (
            f"F1 {self.f1:.3f}, precision {self.precision:.3f}, recall {self.recall:.3f} of {self.expected} "
            f"{self.what} in {self.rows} rows; {self.said_nothing} empty answers, {self.invalid} invalid"
        )


def score_answers(task: Task, rows: Sequence[Messages], answers: Sequence[str]) -> Score:
    """Compare the answers of a model with those of the rows, whose last message is the right one."""
    score = Score(task.what)
    for messages, answered in zip(rows, answers, strict=True):
        wanted = messages[-1]["content"]
        expects = task.expects(wanted)
        score.add(task.found(wanted, expects) or Counter(), task.found(answered, expects))
    return score
