"""Collecting and merging answers: once, while waiting for all batches, or from files produced elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from pipeline.batches.collect import collect
from pipeline.batches.import_results import find_result_files, import_results, make_current, unreadable_sentences
from pipeline.batches.session import Session, StageRun
from pipeline.batches.submit import write_batch_ids
from pipeline.errors import LockedError, StageOrderError, UnreachableError
from pipeline.processes import PROCESSES
from pipeline.selection import Selection
from pipeline.workflow.merge import merge_outdated, merge_stage, started_stages
from pipeline.workflow.next_step import RUN_ALL, Progress
from pipeline.workflow.next_step import run as run_command
from pipeline.workflow.notify import notify
from pipeline.workflow.progress import BatchProgress
from pipeline.workflow.questions import Readiness, document_questions
from pipeline.workflow.report import Merged, Report
from pipeline.workflow.run_stage import RunOptions, count_open, run_stage, submit_waiting
from pipeline.workflow.upgrade import upgrade_asks

MAX_UNREACHABLE_ROUNDS = 20  # rounds in a row without a reply, while waiting: networks come and go


def retrieve(session: Session, process: str) -> Report:
    """Collect the batches that have ended, merge, and send what waits for the queue.

    Raises StageOrderError if nothing of the stage was ever sent, UnreachableError.
    """
    report, run = Report(), session.stage_run(process)
    _check_submitted(session, process)
    _retrieve(session, run, report)
    return report


def retrieve_all(session: Session, process: str, announce: Callable[[Report], object]) -> Report:
    """Wait for all batches of a stage. They are collected and merged as they end. `announce`: called before."""
    report, run = Report(), session.stage_run(process)
    _check_submitted(session, process)
    is_waiting = bool(run.batches("submitted"))
    count_open(run, report)
    announce(report)
    _follow(session, run, report)
    _retrieve(session, run, report)
    if is_waiting:
        _notify(session, process, report)
    return report


def run_and_wait(session: Session, process: str, options: RunOptions, announce: Callable[[Report], object]) -> Report:
    """Run a stage and wait, until nothing is left that may still succeed, or MAX_ATTEMPTS rounds have been made.

    `announce`: called with what was sent, before waiting.
    Batches that are cancelled meanwhile are not sent again: whoever cancels a batch wants to stop.
    """
    run = session.stage_run(process)
    report = run_stage(session, process, options)
    first, cancelled = report.plan, _count_cancelled(run)
    announce(report)
    for _ in range(session.config.max_attempts - 1):
        _follow(session, run, report)
        if report.must_stop or _count_cancelled(run) != cancelled:
            break
        with session.lock():
            pending = merge_stage(session, process).statuses["pending"]
        if not pending:
            break
        again = run_stage(session, process, replace(options, again=None))
        report.batches, report.sent = report.batches + again.batches, report.sent + again.sent
    _follow(session, run, report)
    _retrieve(session, run, report)
    report.plan = first  # what the command was to send; later rounds repeat a part of it
    if report.collected.batches:
        _notify(session, process, report)
    return report


def _notify(session: Session, process: str, report: Report) -> None:
    statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(report.merged.statuses.items()))
    notify(session.config, process, f"{process} has ended: {statuses}")


def retrieve_from(session: Session, process: str, names: Sequence[str]) -> Report:
    """Import results produced elsewhere, and merge them. `names`: files, or ids of batches, which are downloaded.

    Works without the earlier ledger: custom ids are derived from the questions, which are worked out again.
    """
    report, run = Report(), session.stage_run(process)
    with session.lock():
        upgrade_asks(session)
        files = find_result_files(run, names)
        # Without the prefilter: there may be answers about pages that it would leave out.
        with closing(document_questions(session, run, Selection(), Readiness())) as documents:
            make_current(run, documents)
        imported = import_results(run, files)
        report.collected, report.unreadable = imported.collected, unreadable_sentences(imported)
        report.merged = merge_stage(session, process)
    count_open(run, report)
    return report


def update_documents(session: Session) -> Merged:
    """Update the documents of all stages that were started. Raises StageOrderError if nothing was ever sent."""
    started = started_stages(session, PROCESSES)
    if not started:
        raise StageOrderError(f"No batches have been submitted: run `{RUN_ALL}` first.")
    with session.lock():
        upgrade_asks(session)
        return merge_stage(session, started[-1])


def _check_submitted(session: Session, process: str) -> None:
    """Raises StageOrderError if nothing of the stage was ever sent."""
    if session.ledger.asks.any(process) or (session.workspace.root / process).exists():
        return
    command, step = run_command(process), Progress.now(session).step_before(process)
    advice = f"run `{step.command}` first, and then `{command}`." if step else f"run `{command}` first."
    raise StageOrderError(f"No {process} batches have been submitted: {advice}")


def _retrieve(session: Session, run: StageRun, report: Report) -> None:
    write_batch_ids(run)
    if not report.rejected:
        collect(run, session.lock, report.collected)
    with session.lock():
        upgrade_asks(session)
        report.merged = merge_stage(session, run.process)
        if not report.rejected and run.unsent():
            report.collected.running += submit_waiting(run, report)
    count_open(run, report)
    if report.collected.unreachable and not report.collected.batches:
        raise UnreachableError(report.collected.unreachable[0])


def _follow(session: Session, run: StageRun, report: Report) -> None:
    """Collect, merge and submit until nothing is running, or the user has to do something."""
    progress, unreachable_rounds = BatchProgress(run), 0
    with closing(progress):
        while True:
            try:
                sent = report.batches
                _round(session, run, report, progress)
                unreachable_rounds = unreachable_rounds + 1 if report.collected.unreachable else 0
                # What waits although nothing is running, and was not sent now, will not be sent by waiting.
                running = report.collected.running or report.batches > sent
            except LockedError:  # another command is collecting
                running = True
            if not running or report.rejected or unreachable_rounds > MAX_UNREACHABLE_ROUNDS:
                return
            session.clock.sleep(session.config.poll_seconds)


def _round(session: Session, run: StageRun, report: Report, progress: BatchProgress) -> None:
    """One look at the batches. Nothing is locked if there is nothing to do."""
    before = report.collected.batches
    collect(run, session.lock, report.collected, progress.see)
    if report.collected.batches > before:
        with session.lock():
            upgrade_asks(session)
            merge_outdated(session, run.process)
    if run.unsent() and not report.rejected:
        with session.lock():
            report.collected.running += submit_waiting(run, report)
    count_open(run, report)


def _count_cancelled(run: StageRun) -> int:
    return sum(batch.status in ("cancelled", "cancelling") for batch in run.batches())
