"""Stage 2: is each of these really a dataset mention?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pipeline.records import Context, MentionPage, Page, Specificity
from pipeline.stages.base import Answer, Answered
from pipeline.stages.extraction import OptionalText
from pipeline.stages.verdicts import VerdictStage, apply, summarize, verdicts_on


class Correction(Answer):
    """A field of the extraction that the page does not bear out, and what it says instead."""

    field: Literal["harmonized_name", "acronym", "producer", "year", "data_type"]
    value: OptionalText


class Verdict(Answer):
    """The judge on one numbered dataset."""

    number: int
    valid: bool
    invalid_reason: OptionalText
    context: Context
    specificity: Specificity
    corrections: list[Correction]


class Judgement(Answer):
    """The answer to one page."""

    verdicts: list[Verdict]


class Judge(VerdictStage):
    """Validity, and corrected metadata, for all datasets of a page at once."""

    process = "judge"
    previous = "extraction"
    schema_name = "dataset_judgement"
    answer_type = Judgement

    def merge(self, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        assert found is not None
        judged = found.model_copy(deep=True)
        for dataset, verdict in verdicts_on(judged, answers):
            said = {"valid": verdict.valid, "invalid_reason": _reason(verdict.valid, verdict.invalid_reason)}
            fields = said | {"context": verdict.context, "specificity": verdict.specificity}
            fields |= {correction.field: correction.value for correction in verdict.corrections}
            apply(dataset, self.process, said, fields)
        return summarize(judged)


def _reason(valid: bool, reason: str | None) -> str | None:
    return None if valid else reason or "no reason given"
