"""Stage 3: strategy, rubric, analysis, devil's advocate: does the verdict hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.records import Context, Dataset, MentionPage, OptionalText, Page, Specificity
from pipeline.stages.base import Answer, Answered
from pipeline.stages.verdicts import VerdictStage, apply_verdict, reason_for, update_dataset_used, verdicts_on


class ReasonedVerdict(Answer):
    """The reasoner's verdict on one numbered dataset. The arguments come first, so that the verdict follows them."""

    number: int
    analysis: str
    devils_advocate: str
    valid: bool
    invalid_reason: OptionalText
    context: Context
    specificity: Specificity


class Reasoned(Answer):
    """The answer about one page."""

    strategy: str
    rubric: str
    verdicts: list[ReasonedVerdict]


class Reasoning(VerdictStage):
    """The final verdict on every dataset of a page, including those that the judge rejected."""

    process = "reasoning"
    schema_name = "dataset_reasoning"
    answer_type = Reasoned
    usual_output = (130, 1200)  # from the same answers as those of the extraction

    def shown(self, dataset: Dataset) -> dict[str, Any]:
        verdict = dataset.verdicts.get("judge")
        said = None
        if verdict is not None:
            said = {name: verdict[name] for name in ("valid", "invalid_reason") if verdict[name] is not None}
        return super().shown(dataset) | {"judge": said}

    def merge(self, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        assert found is not None
        reasoned = found.model_copy(deep=True)
        reasoned.strategy = "\n\n".join(one.answer.strategy for one in answers)
        reasoned.rubric = "\n\n".join(one.answer.rubric for one in answers)
        for dataset, verdict in verdicts_on(reasoned, answers):
            self._apply(dataset, verdict)
        return update_dataset_used(reasoned)

    def _apply(self, dataset: Dataset, verdict: ReasonedVerdict) -> None:
        judged = dataset.valid
        said = {
            "valid": verdict.valid,
            "invalid_reason": reason_for(verdict.valid, verdict.invalid_reason),
            "analysis": verdict.analysis,
            "devils_advocate": verdict.devils_advocate,
        }
        fields = {name: said[name] for name in ("valid", "invalid_reason")}
        fields |= {"context": verdict.context, "specificity": verdict.specificity}
        apply_verdict(dataset, self.process, said, fields)
        dataset.verdicts[self.process]["overrides_judge"] = judged is not None and judged != verdict.valid
