"""Stage 2: is each of these really a dataset mention?"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import field_validator

from pipeline.records import TEXT_FIELDS, Context, MentionPage, OptionalText, Page, PageText, Specificity
from pipeline.stages.base import Answer, Answered
from pipeline.stages.verdicts import ReasonedAnswer, VerdictStage, apply_verdict, update_dataset_used, verdicts_on


class Correction(Answer):
    """A field of the extraction that the page does not support, and the value that it does support."""

    field: str
    value: OptionalText

    @field_validator("field")
    @classmethod
    def _can_be_corrected(cls, name: str) -> str:
        if name not in TEXT_FIELDS:
            raise ValueError(f"the fields that can be corrected are {', '.join(TEXT_FIELDS)}")
        return name


class Verdict(ReasonedAnswer):
    """The judge's verdict on one numbered dataset. The reason comes first, so that the verdict follows it.

    `note`: what is uncertain about a valid mention.
    """

    number: int
    reason: str
    valid: bool
    note: OptionalText
    context: Context
    specificity: Specificity
    corrections: list[Correction]


class Judgement(Answer):
    """The answer about one page."""

    verdicts: list[Verdict]


class Judge(VerdictStage):
    """Validity and corrected metadata for all datasets of a page."""

    process = "judge"
    schema_name = "dataset_judgement"
    answer_type = Judgement
    usual_output = (45, 400)  # from the same answers as those of the extraction

    def merge(self, text: PageText, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        assert found is not None
        judged = found.model_copy(deep=True)
        for dataset, verdict in verdicts_on(judged, answers):
            note = verdict.note if verdict.valid else None
            said = {"valid": verdict.valid, "reason": verdict.reason, "note": note}
            fields = {"note": note, "context": verdict.context, "specificity": verdict.specificity}
            fields |= {correction.field: correction.value for correction in verdict.corrections}
            apply_verdict(dataset, self.process, said, fields)
        return update_dataset_used(judged)
