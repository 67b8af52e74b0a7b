"""The questions of one stage about the selected documents, as papers and answers are now."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.batches.plan import DocumentQuestions
from pipeline.batches.session import Session, StageRun
from pipeline.errors import StageOrderError
from pipeline.ledger import Ledger
from pipeline.pdf.discover import refreshed
from pipeline.processes import earlier_processes
from pipeline.records import Document, ManifestEntry
from pipeline.selection import Selection
from pipeline.stages.base import AskRules
from pipeline.store import load_text
from pipeline.words import counted
from pipeline.workflow.merge import Merger, updating

NOT_SENT = "not_sent"  # the previous stage has not finished the page: its question is not known yet


@dataclass
class Readiness:
    """The papers that cannot be read, and the selected pages in the previous stage.

    `pending`: submitted, but not answered. `answered`: no answer is expected any more. `asks`: questions of this stage.
    """

    problems: list[ManifestEntry] = field(default_factory=list)
    pending: int = 0
    answered: int = 0
    asks: int = 0

    def add(self, before: Document | None) -> None:
        statuses = list(before.page_status.values()) if before else []
        self.pending += statuses.count("pending")
        self.answered += len(statuses) - statuses.count("pending") - statuses.count(NOT_SENT)

    def check(self, process: str, previous: str) -> None:
        """Raises StageOrderError if nothing can be asked because the previous stage has not answered."""
        if self.asks:
            return
        if self.pending:
            raise StageOrderError(
                f"{process} has nothing to ask yet: {previous} is pending for {counted(self.pending, 'page')}. Run  "
                f"python retrieve_results.py --process {previous}  first."
            )
        if not self.answered:
            raise StageOrderError(
                f"{process} needs the answers of {previous}: run  python run_batch.py --process {previous}  first."
            )


def document_questions(
    session: Session, run: StageRun, selection: Selection, readiness: Readiness
) -> Generator[DocumentQuestions]:
    """Read new papers, update the earlier stages, and ask about the selected pages, document by document.

    This is one pass: the first questions are known while later papers are still being read. `readiness` is filled in.
    Raises StageOrderError if the previous stage has not answered anything, InputError.
    """
    stage, rules = run.stage, AskRules.of(session.config)
    earlier = [process for process in earlier_processes(run.process) if session.ledger.asks.any(process)]
    merger = Merger(session, earlier)
    entries = _without_absent(updating(merger, refreshed(session.workspace, session.config)), session.ledger)
    for entry in selection.of(_noting_problems(entries, readiness)):
        before = merger.document(stage.previous, entry.source) if stage.previous else None
        readiness.add(before)
        text = load_text(session.workspace, entry.source)
        asks = [ask for ask in stage.asks(text, before, rules) if selection.has_page(ask.page)]
        readiness.asks += len(asks)
        obstacles = {page.page: stage.obstacle(page, before, rules.skip) for page in text.pages}
        open_pages = {page for page, obstacle in obstacles.items() if obstacle in (None, NOT_SENT)}
        yield DocumentQuestions(entry.source, asks, open_pages)
    if stage.previous:
        readiness.check(run.process, stage.previous)


def _noting_problems(entries: Iterable[ManifestEntry], readiness: Readiness) -> Iterator[ManifestEntry]:
    for entry in entries:
        if entry.problem:
            readiness.problems.append(entry)
        yield entry


def _without_absent(entries: Iterable[ManifestEntry], ledger: Ledger) -> Iterator[ManifestEntry]:
    """The same entries. At the end, unsent questions about pages that no longer exist are dropped."""
    unsent = {(process, source) for process, source, _, _ in ledger.asks.unsent()}
    sources = {source for _, source in unsent}
    n_pages: dict[str, int] = {}
    for entry in entries:
        if entry.source in sources and not entry.problem:
            n_pages[entry.source] = entry.n_pages
        yield entry
    for process, source in sorted(unsent):
        asks = ledger.asks.of_document(process, source)
        last = n_pages.get(source, 0)
        ledger.asks.drop(process, source, [(ask.page, ask.part) for ask in asks if ask.page > last])
