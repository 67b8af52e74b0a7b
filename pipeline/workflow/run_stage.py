"""Planning one stage and submitting its batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tqdm import tqdm

from pipeline.batches.estimate import Quote, check_consent, over_budget, quote
from pipeline.batches.plan import Plan, PlanOptions, check_ledger_is_complete, drop_obsolete_local_batches, plan
from pipeline.batches.session import Session, StageRun
from pipeline.batches.submit import submit
from pipeline.clock import Clock
from pipeline.selection import Selection
from pipeline.workflow.merge import merge_stage
from pipeline.workflow.questions import Readiness, document_questions, drop_absent, unsent_pages
from pipeline.workflow.report import Report
from pipeline.workflow.upgrade import upgrade_asks

SHUTDOWN_NOTICE = 90  # days before the end of a model from which on the user is warned


@dataclass(frozen=True)
class RunOptions:
    """What the user asked for. `announce` is shown the price before anything is sent, `warn` what may go wrong.

    `yes`: answered pages may be asked again. `dry_run`: only show the price. `again`: ask again without a change, `all`
    or only `failed` questions.
    """

    announce: Callable[[Quote], object]
    warn: Callable[[str], object]
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
            report.planned = True
            report.plan = plan(run, documents, planning, lambda made: _agree(run, made, options, session.clock))
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


def _agree(run: StageRun, made: Plan, options: RunOptions, clock: Clock) -> bool:
    """Show the price and check that it may be spent. Raises ConsentError, ProviderError."""
    quoted = quote(run, made)
    options.announce(quoted)
    if options.dry_run:
        return False
    check_consent(quoted, options.yes)
    if made.first:
        doubt = run.provider.probe(run.requests.format.body(made.first.content, made.first.expects))
        if doubt:
            options.warn(f"A test request was refused, and the batch may be too, which would cost nothing. {doubt}")
        _warn_of_shutdown(run, options, clock)
    return True


def _warn_of_shutdown(run: StageRun, options: RunOptions, clock: Clock) -> None:
    model = run.requests.recipe.model
    day = run.provider.shutdown_date(model)
    today = datetime.fromtimestamp(clock.time(), UTC).date()
    if day and (day - today).days <= SHUTDOWN_NOTICE:
        options.warn(
            f"The shutdown date of {model} is {day}, according to {run.provider.base_url}: set another MODEL in "
            "config.yaml."
        )


def submit_waiting(run: StageRun, report: Report) -> int:
    """Submit what may be sent now. Returns the number of batches."""
    report.held = over_budget(run.ledger, run.config)
    if report.held:
        return 0
    requests = sum(batch.requests for batch in run.unsent())
    title = f"Submitting {run.process}"
    with tqdm(total=requests, desc=title, unit=" requests", disable=None, leave=False) as bar:
        made = submit(run, bar.update)
    report.batches += len(made.started)
    report.sent += sum(batch.requests for batch in made.started)
    report.unsettled = made.unsettled
    return len(made.started)


def count_open(run: StageRun, report: Report) -> None:
    """Count the batches that wait and those that were submitted."""
    report.waiting = sum(batch.state != "creating" for batch in run.unsent())
    report.open = len(run.batches("submitted"))
