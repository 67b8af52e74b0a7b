"""Stage 3: plan, rubric, analysis, devil's advocate: does the verdict hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.records import Context, Dataset, MentionPage, Page, Specificity
from pipeline.stages.base import Answer, Answered
from pipeline.stages.extraction import OptionalText
from pipeline.stages.verdicts import VerdictStage, apply, summarize, verdicts_on


class ReasonedVerdict(Answer):
    """The reasoner on one numbered dataset. The order is that of the work: the verdict comes after the arguments."""

    number: int
    analysis: str
    devils_advocate: str
    valid: bool
    invalid_reason: OptionalText
    context: Context
    specificity: Specificity


class Reasoned(Answer):
    """The answer to one page."""

    strategy: str
    rubric: str
    verdicts: list[ReasonedVerdict]


class Reasoning(VerdictStage):
    """The last word on every dataset of a page, what the judge rejected included."""

    process = "reasoning"
    previous = "judge"
    schema_name = "dataset_reasoning"
    answer_type = Reasoned

    def details(self, dataset: Dataset) -> dict[str, Any]:
        verdict = dataset.verdicts.get("judge")
        if verdict is None:
            return {"judge": None}
        said = {name: verdict[name] for name in ("valid", "invalid_reason") if verdict[name] is not None}
        return {"judge": said}

    def merge(self, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        assert found is not None
        reasoned = found.model_copy(deep=True)
        reasoned.strategy = "\n\n".join(one.answer.strategy for one in answers)
        reasoned.rubric = "\n\n".join(one.answer.rubric for one in answers)
        for dataset, verdict in verdicts_on(reasoned, answers):
            _apply(dataset, verdict)
        return summarize(reasoned)


def _apply(dataset: Dataset, verdict: ReasonedVerdict) -> None:
    judged = dataset.valid
    reason = None if verdict.valid else verdict.invalid_reason or "no reason given"
    fields = {"valid": verdict.valid, "invalid_reason": reason}
    fields |= {"context": verdict.context, "specificity": verdict.specificity}
    said = {
        "valid": verdict.valid,
        "invalid_reason": reason,
        "analysis": verdict.analysis,
        "devils_advocate": verdict.devils_advocate,
    }
    apply(dataset, "reasoning", said, fields)
    dataset.verdicts["reasoning"]["overrides_judge"] = judged is not None and judged != verdict.valid
