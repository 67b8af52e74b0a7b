"""Planning one stage and submitting its batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from tqdm import tqdm

from pipeline.batches.estimate import Quote, check_consent, over_budget, quote
from pipeline.batches.plan import Plan, PlanOptions, check_ledger_is_complete, drop_obsolete_local_batches, plan
from pipeline.batches.session import Session, StageRun
from pipeline.batches.submit import submit
from pipeline.selection import Selection
from pipeline.workflow.merge import merge_stage
from pipeline.workflow.questions import Readiness, document_questions, drop_absent, unsent_pages
from pipeline.workflow.report import Report
from pipeline.workflow.upgrade import upgrade_asks


@dataclass(frozen=True)
class RunOptions:
    """What the user asked for. `announce` is shown the price before anything is sent.

    `yes`: answered pages may be asked again. `dry_run`: only show the price. `again`: ask again without a change, `all`
    or only `failed` questions.
    """

    announce: Callable[[Quote], object]
    selection: Selection = field(default_factory=Selection)
    yes: bool = False
    dry_run: bool = False
    again: str | None = None


def run_stage(session: Session, process: str, options: RunOptions) -> Report:
    """Plan and submit one stage.

    Raises StageOrderError if the previous stage has not answered anything, ConsentError if the user has to agree first.
    """
    run, report = session.stage_run(process), Report()
    if not options.dry_run:
        run.provider.check_ready()
    with session.lock():
        if not options.yes:
            check_ledger_is_complete(run)
        upgrade_asks(session)
        unsent = unsent_pages(session.ledger)
        readiness = Readiness(watched={source for _, source in unsent})
        with closing(document_questions(session, run, options.selection, readiness, session.prefilter)) as documents:
            planning = PlanOptions(options.again, options.dry_run)
            report.planned, report.plan = True, plan(run, documents, planning, lambda made: _agree(run, made, options))
        report.blocked = readiness.pending
        if options.dry_run:
            report.merged.problems = readiness.problems
            return report
        with session.ledger.transaction():
            drop_absent(session.ledger, unsent, readiness.n_pages)
        drop_obsolete_local_batches(run)
        submit_waiting(run, report)
        report.merged = merge_stage(session, process)
    count_open(run, report)
    if run.provider.answers_here:
        for batch in run.batches("submitted"):
            if batch.server == run.provider.server:
                run.provider.work(batch.batch_id or "")
    return report


def _agree(run: StageRun, made: Plan, options: RunOptions) -> bool:
    """Show the price and check that it may be spent. Raises ConsentError, ProviderError."""
    quoted = quote(run, made)
    options.announce(quoted)
    if options.dry_run:
        return False
    check_consent(quoted, options.yes)
    if made.first:
        run.provider.probe(run.requests.format.body(made.first.content, made.first.expects))
    return True


def submit_waiting(run: StageRun, report: Report) -> int:
    """Submit what may be sent now. Returns the number of batches."""
    report.held = over_budget(run.ledger, run.config)
    if report.held:
        return 0
    requests = sum(batch.requests for batch in run.unsent())
    title = f"Submitting {run.process}"
    with tqdm(total=requests, desc=title, unit=" requests", disable=None, leave=False) as bar:
        started = submit(run, bar.update)
    report.batches += len(started)
    report.sent += sum(batch.requests for batch in started)
    return len(started)


def count_open(run: StageRun, report: Report) -> None:
    """Count the batches that wait and those that were submitted."""
    report.waiting = len(run.unsent())
    report.open = len(run.batches("submitted"))
