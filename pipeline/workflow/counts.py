"""How far each stage is, read from the ledger alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.batches.session import Session
from pipeline.processes import PROCESSES
from pipeline.store import manifest_entries
from pipeline.workflow.findings import StageFindings, stage_findings


@dataclass
class StageCounts:
    """The documents that a stage has a file of, their pages by status, and what was found, if there are any."""

    documents: int = 0
    pages: Counter[str] = field(default_factory=Counter)
    found: StageFindings | None = None


def stage_counts(session: Session) -> dict[str, StageCounts]:
    """The counts of each stage and what it has found, for papers that are still there."""
    counts = page_counts(session)
    for process, stage in counts.items():
        if stage.documents:
            stage.found = stage_findings(session, process)
    return counts


def page_counts(session: Session) -> dict[str, StageCounts]:
    """The counts of each stage without what it has found."""
    counts, present = {process: StageCounts() for process in PROCESSES}, readable_papers(session)
    for process, stage in counts.items():
        for source, statuses in session.ledger.documents.page_counts(process):
            if source in present:
                stage.documents += 1
                stage.pages.update(statuses)
    return counts


def readable_papers(session: Session) -> set[str]:
    """The documents that were read without a problem; none before the papers are read for the first time."""
    if not session.workspace.manifest.exists():
        return set()
    return {entry.source for entry in manifest_entries(session.workspace) if not entry.problem}
