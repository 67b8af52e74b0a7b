"""The questions of one stage about the selected documents, given the current papers and answers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.batches.plan import DocumentQuestions
from pipeline.batches.session import Session, StageRun
from pipeline.errors import InputError, StageOrderError
from pipeline.ledger import Ledger
from pipeline.pdf.discover import refreshed
from pipeline.prefilter import Prefilter
from pipeline.processes import earlier_processes
from pipeline.records import NOT_SENT, Document, ManifestEntry, PageText
from pipeline.selection import Selection
from pipeline.stages.base import AskRules
from pipeline.store import load_text
from pipeline.words import counted
from pipeline.workflow.merge import Merger, started_stages, updating
from pipeline.workflow.next_step import Progress, Step
from pipeline.workflow.next_step import run as run_command


@dataclass
class Readiness:
    """What was found on the way through the papers.

    `problems`: papers that cannot be read. `selected_pages`: their number. Of these, in the previous stage, `pending`
    are submitted but not answered, `failed` were given up, and `answered` expect no answer for another reason.
    `asks`: questions of this stage. `n_pages`: pages of the `watched` documents that are still there.
    """

    watched: set[str] = field(default_factory=set)
    problems: list[ManifestEntry] = field(default_factory=list)
    selected_pages: int = 0
    pending: int = 0
    failed: int = 0
    answered: int = 0
    asks: int = 0
    n_pages: dict[str, int] = field(default_factory=dict)

    def add_paper(self, entry: ManifestEntry) -> None:
        if entry.problem:
            self.problems.append(entry)
        elif entry.source in self.watched:
            self.n_pages[entry.source] = entry.n_pages

    def add_previous(self, before: Document | None, selection: Selection) -> None:
        """Count the selected pages of a document after the previous stage."""
        pages = before.page_status.items() if before else ()
        statuses = [status for page, status in pages if selection.has_page(int(page))]
        unanswered = ("pending", NOT_SENT)
        failed = [one for one in statuses if one.startswith("failed:") or one.endswith("_failed")]
        self.pending += statuses.count("pending")
        self.failed += len(failed)
        self.answered += sum(one not in unanswered for one in statuses) - len(failed)

    @property
    def is_stuck(self) -> bool:
        """Whether nothing can be asked because of the previous stage."""
        return not self.asks and bool(self.pending or not self.answered)

    def error(self, process: str, previous: str, step: Step) -> StageOrderError:
        """Why a stage is stuck, and the step that helps."""
        if self.pending:
            reason = f"has nothing to ask yet: {previous} is pending for {counted(self.pending, 'page')}. Run"
        elif self.failed:
            reason = f"has nothing to ask: {counted(self.failed, 'page')} failed before, and no other was answered. Run"
        else:
            reason = f"needs the answers of {previous}: run"
        remark = f" ({step.remark})" if step.remark else ""
        return StageOrderError(f"{process} {reason} `{step.command}` first{remark}.")


def document_questions(
    session: Session, run: StageRun, selection: Selection, readiness: Readiness, prefilter: Prefilter | None = None
) -> Generator[DocumentQuestions]:
    """Read new papers, update the earlier stages, and ask about the selected pages, document by document.

    This is one pass: the first questions are known while later papers are still being read. `readiness` is filled in.
    `prefilter`: leaves out pages of the first stage. The later stages ask only about pages that the first has answered.
    Raises StageOrderError if the previous stage has not answered anything, InputError.
    """
    stage, rules = run.stage, AskRules.of(session.config, run.requests.recipe.max_page_tokens)
    merger = Merger(session, started_stages(session, earlier_processes(run.process)))
    papers = refreshed(session.workspace, session.config)
    updated = updating(merger, papers)
    noted = _noted(updated, readiness)
    for entry in selection.of(noted):
        text = entry.text or load_text(session.workspace, entry.source)
        before = merger.document(stage.previous, text) if stage.previous else None
        readiness.add_previous(before, selection)
        readiness.selected_pages += sum(selection.has_page(page.page) for page in text.pages)
        obstacles = {page.page: stage.obstacle(page, before, rules.skip) for page in text.pages}
        open_pages = {page for page, obstacle in obstacles.items() if obstacle in (None, NOT_SENT)}
        to_ask = [page for page in text.pages if obstacles[page.page] is None and selection.has_page(page.page)]
        asks = list(stage.asks(text, to_ask, before, rules.chunking))
        left_out: set[int] = set()
        if prefilter and stage.previous is None:
            left_out = _left_out(session.ledger, prefilter, run.process, text, open_pages)
        wanted = [ask for ask in asks if ask.page not in left_out]
        readiness.asks += len(wanted)
        yield DocumentQuestions(
            entry.source, wanted, open_pages - left_out, [ask for ask in asks if ask.page in left_out]
        )
    if selection.pages and not readiness.selected_pages:
        raise InputError("No selected document has a page in the range of --pages: give other pages.")
    if stage.previous and readiness.is_stuck:
        step = Progress.now(session).step_before(run.process) or Step(run_command(stage.previous))
        raise readiness.error(run.process, stage.previous, step)


def _left_out(ledger: Ledger, prefilter: Prefilter, process: str, text: PageText, open_pages: set[int]) -> set[int]:
    """The pages that the prefilter skips, but for those that have an answer or may get one: it is paid for."""
    undecided = open_pages - ledger.asks.kept_pages(process, text.source)
    return undecided & prefilter.decide(text) if undecided else set()


def _noted(entries: Iterable[ManifestEntry], readiness: Readiness) -> Iterator[ManifestEntry]:
    for entry in entries:
        readiness.add_paper(entry)
        yield entry


def unsent_pages(ledger: Ledger) -> dict[tuple[str, str], set[int]]:
    """The pages whose requests were not sent yet, by stage and document."""
    pages: dict[tuple[str, str], set[int]] = {}
    for process, source, page, _ in ledger.asks.unsent():
        pages.setdefault((process, source), set()).add(page)
    return pages


def drop_absent(ledger: Ledger, unsent: dict[tuple[str, str], set[int]], n_pages: dict[str, int]) -> None:
    """Drop unsent questions about pages that no longer exist. `n_pages`: of the documents that are still there.

    Questions that were sent are kept: their answers count again if the paper comes back.
    """
    for (process, source), pages in unsent.items():
        gone = {page for page in pages if page > n_pages.get(source, 0)}
        # All parts of a page, because a document is built from the parts that the ledger has.
        asks = ledger.asks.of_document(process, source) if gone else []
        ledger.asks.drop(process, source, [(ask.page, ask.part) for ask in asks if ask.page in gone])
