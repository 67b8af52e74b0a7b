"""Stage 4, as somebody would add it: does the dataset have an owner?"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import MentionPage, Page, PageText
from pipeline.stages.base import Answer, Answered
from pipeline.stages.verdicts import VerdictStage, apply_verdict, update_dataset_used, verdicts_on


class AuditVerdict(Answer):
    """The auditor's verdict on one numbered dataset."""

    number: int
    valid: bool
    owner: str


class Audited(Answer):
    """The answer about one page."""

    verdicts: list[AuditVerdict]


class Audit(VerdictStage):
    """The last verdict."""

    process = "audit"
    schema_name = "dataset_audit"
    answer_type = Audited
    usual_output = (20, 90)

    def merge(self, text: PageText, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        assert found is not None
        audited = found.model_copy(deep=True)
        for dataset, verdict in verdicts_on(audited, answers):
            said = {"valid": verdict.valid, "owner": verdict.owner}
            apply_verdict(dataset, self.process, said, {"valid": verdict.valid})
        return update_dataset_used(audited)
