"""What a model is trained for: how the answers of a stage look, and which of their characters decide."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any, ClassVar

from pipeline.processes import FIRST
from pipeline.stages import get_stage
from pipeline.stages.base import InvalidAnswer
from pipeline.text.names import key


class Task(ABC):
    """A stage that a model can be trained for.

    `prompt`: name of its short prompt. `no`, `yes`: beginnings of answers that differ first in the token that decides
    between nothing and something. `deciding`: group 1 matches the characters of an answer that decide. `always_taught`:
    fields whose values are learned also where nobody has labelled them.
    """

    process: ClassVar[str]
    prompt: ClassVar[str]
    no: ClassVar[str]
    yes: ClassVar[str]
    deciding: ClassVar[re.Pattern[str]]
    always_taught: ClassVar[frozenset[str]] = frozenset()
    what: ClassVar[str]
    if_always_nothing: ClassVar[str]

    @abstractmethod
    def found(self, answer: str, expects: int) -> Counter[str] | None:
        """What an answer finds. None if it is not valid."""

    def expects(self, answer: str) -> int:
        """How many verdicts the answer to a question must give; 0 for any number of items."""
        return 0


class ExtractionTask(Task):
    """Name the datasets of a page. The answer finds names."""

    process = FIRST
    prompt = "extraction_finetuned"
    no = '{"data_mentions":[]}'
    yes = '{"data_mentions":[{"datasets":[{"raw_name":"'
    deciding = re.compile(r'^\{"data_mentions":\[(.)')
    what = "names"
    if_always_nothing = (
        "The trained model names nothing on any page that was kept apart: use more rows with mentions, fewer negatives "
        "(NEGATIVES_PER_POSITIVE) or more epochs (--epochs), and do not use this adapter."
    )

    def found(self, answer: str, expects: int) -> Counter[str] | None:
        try:
            said: Any = get_stage(self.process).parse(answer, expects)
        except InvalidAnswer:
            return None
        return Counter({key(one.raw_name) for passage in said.data_mentions for one in passage.datasets})


class JudgeTask(Task):
    """Decide which mentions are valid. The answer finds the numbers of the valid ones."""

    process = "judge"
    prompt = "judge_finetuned"
    no = '{"verdicts":[{"number":1,"reason":"","valid":false'
    yes = '{"verdicts":[{"number":1,"reason":"","valid":true'
    deciding = re.compile(r'"valid":(true|false)')
    # A reason without a label is empty in the rows. A model that has not learned this writes one without an end.
    always_taught = frozenset({"reason"})
    what = "valid mentions"
    if_always_nothing = (
        "The trained model rejects every mention that was kept apart: use more rows with valid mentions or more epochs "
        "(--epochs), and do not use this adapter."
    )

    def found(self, answer: str, expects: int) -> Counter[str] | None:
        try:
            said: Any = get_stage(self.process).parse(answer, expects)
        except InvalidAnswer:
            return None
        return Counter(str(verdict.number) for verdict in said.verdicts if verdict.valid)

    def expects(self, answer: str) -> int:
        return len(json.loads(answer)["verdicts"])


TASKS: dict[str, Task] = {task.process: task for task in (ExtractionTask(), JudgeTask())}
