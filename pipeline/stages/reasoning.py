"""Stage 3: strategy, rubric, analysis, devil's advocate: does the verdict hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.records import Context, Dataset, MentionPage, Page, PageText, Specificity
from pipeline.stages.base import Answer, Answered
from pipeline.stages.verdicts import (
    NO_REASON,
    ReasonedAnswer,
    VerdictStage,
    apply_verdict,
    reason_in,
    update_dataset_used,
    verdicts_on,
)
from pipeline.text.occurrence import occurs_in


class ReasonedVerdict(ReasonedAnswer):
    """The reasoner's verdict on one numbered dataset. The arguments come first, so that the verdict follows them."""

    number: int
    analysis: str
    devils_advocate: str
    reason: str
    valid: bool
    context: Context | None
    specificity: Specificity | None


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
            # The question must not change for answers of older versions: a change would ask it again.
            reason = None if verdict["valid"] else reason_in(verdict) or NO_REASON
            shown = {"valid": verdict["valid"], "invalid_reason": reason, "note": verdict.get("note")}
            said = {name: value for name, value in shown.items() if value is not None}
        return super().shown(dataset) | {"judge": said}

    def merge(self, text: PageText, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        assert found is not None
        reasoned = found.model_copy(deep=True)
        reasoned.strategy = "\n\n".join(one.answer.strategy for one in answers)
        reasoned.rubric = "\n\n".join(one.answer.rubric for one in answers)
        for dataset, verdict in verdicts_on(reasoned, answers):
            self._apply(dataset, verdict, text)
        return update_dataset_used(reasoned)

    def _apply(self, dataset: Dataset, verdict: ReasonedVerdict, text: PageText) -> None:
        judged = dataset.valid
        said = verdict.model_dump(include={"analysis", "devils_advocate", "reason", "valid"})
        if verdict.valid:
            # A model that leaves a class out of a valid verdict has said nothing about it.
            fields = {name: getattr(verdict, name) or getattr(dataset, name) for name in ("context", "specificity")}
        else:
            fields = {"context": None, "specificity": None, "note": None}
        if dataset.harmonized_name and not occurs_in(text, dataset.harmonized_name):
            fields["harmonized_name"] = None
        apply_verdict(dataset, self.process, said, fields)
        dataset.verdicts[self.process]["overrides_judge"] = judged is not None and judged != verdict.valid
