"""What a command prints when it is done: what it did, what is open, what to run next."""

from __future__ import annotations

import sys

from pipeline.batches.session import Session
from pipeline.cli.arguments import NEEDS_ATTENTION, OK
from pipeline.cli.found import found_sentence, print_frequent
from pipeline.cli.quote import dollars
from pipeline.processes import PROCESSES, next_process, previous_process
from pipeline.words import counted
from pipeline.workflow.findings import stage_findings
from pipeline.workflow.next_step import Progress, Step, retrieve, run
from pipeline.workflow.report import Merged, Report

SHOWN_PROBLEMS = 20


def exit_status(report: Report) -> int:
    return NEEDS_ATTENTION if report.needs_attention else OK


def print_problems(merged: Merged) -> None:
    """A line for each paper that cannot be read."""
    for entry in merged.problems[:SHOWN_PROBLEMS]:
        _problem(f"{entry.file}: {entry.problem}.")
    more = len(merged.problems) - SHOWN_PROBLEMS
    if more > 0:
        _problem(f"{more} more papers cannot be read: run  python run_batch.py --check  to see all.")


def print_submitted(process: str, report: Report, session: Session) -> None:
    """The summary of planning and submitting. What was planned has been printed with its price."""
    plan = report.plan
    print(f"{process}: {_documents(report.merged)}")
    if plan.to_send:
        print(
            f"{process}: {counted(plan.asks, 'question')} = {plan.to_send:,} new, {plan.in_progress:,} in progress, "
            f"{plan.answered:,} answered, {plan.given_up:,} given up"
        )
    if report.sent:
        print(f"{process}: sent {counted(report.sent, 'request')} in {counted(report.batches, 'batch', 'batches')}")
    _print_blocked(process, report)
    _print_waiting(process, report)
    if report.open + report.waiting:
        if session.provider.answers_here:
            print("All requests were answered on this machine.")
        else:
            print(f"A batch takes up to {session.config.completion_window}. To see its status: python batch_status.py")
        print(f"Next: python retrieve_results.py --process {process}")
    else:
        _print_next(process, report, session)


def print_retrieved(process: str, report: Report, session: Session, show_next: bool = True) -> None:
    """The summary of collecting and merging."""
    got, merged = report.collected, report.merged
    outcomes = ", ".join(f"{count:,} {kind}" for kind, count in sorted(got.outcomes.items())) or "no new answers"
    print(f"{process}: collected {counted(got.batches, 'batch', 'batches')} ({outcomes}), {got.running} still running")
    if got.repaired:
        were = "answer was" if got.repaired == 1 else "answers were"
        repairs = ", ".join(counted(count, repair) for repair, count in got.repairs.most_common())
        print(f"{process}: {got.repaired:,} {were} repaired ({repairs})")
    _print_troubles(process, report)
    _print_blocked(process, report)
    _print_waiting(process, report)
    print(f"{process}: {_documents(merged)}")
    statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(merged.statuses.items()))
    if merged.pages:  # otherwise no paper can be read, which is said above
        print(f"{process}: {counted(merged.pages, 'page')} = {statuses}")
    if _failed_pages(merged):
        _problem(
            f"{counted(_failed_pages(merged), 'page')} of {process} failed: see {session.workspace.failures(process)}. "
            f"To ask again: python run_batch.py --process {process} --again failed"
        )
    found = stage_findings(session, process)
    if merged.pages:
        print(found_sentence(process, found, merged.pages))
    if next_process(process) is None:
        print_frequent(found)
    print_costs(session)
    if show_next or report.must_stop:
        _print_next(process, report, session)


def print_costs(session: Session) -> None:
    """What was spent in this folder so far, by stage, from the usage that the answers report."""
    usages = {process: session.ledger.usage.total(process) for process in PROCESSES}
    used = {process: usage for process, usage in usages.items() if usage.requests}
    if not used:
        return
    unpriced = [process for process, usage in used.items() if usage.cost_usd is None]
    spent = dollars(session.ledger.usage.spent())
    if unpriced:
        spent = f"at least {spent} (the price of a model is unknown: add it to PRICES in config.yaml)"
    print(f"cost so far: {spent}")
    for process, usage in used.items():
        print(
            f"  {process:<11} {dollars(usage.cost_usd)}: {usage.prompt_tokens:,} tokens in ({usage.cached_tokens:,} "
            f"cached), {usage.completion_tokens:,} out ({usage.reasoning_tokens:,} reasoning)"
        )


def _print_troubles(process: str, report: Report) -> None:
    got = report.collected
    for failed in got.failed:
        _problem(f"the provider rejected batch {failed}. None of its requests was answered.")
    for message, count in got.refused.most_common(3):
        was = "was" if count == 1 else "were"
        said = message.rstrip(".")
        _problem(f"{counted(count, 'request')} {was} refused: {said}. Fix REQUEST_PARAMS or MODEL in config.yaml.")
    for problem in [*report.unreadable, *got.unknown[:SHOWN_PROBLEMS], *got.unreachable[:SHOWN_PROBLEMS]]:
        _problem(problem)
    if got.no_room:
        _problem(
            f"the provider's queue had no room for {counted(got.no_room, 'request')}, although no other batch from "
            "here was queued: run the same command again when your other jobs there have ended."
        )
    if got.ignored_rows:
        print(f"{process}: ignored {counted(got.ignored_rows, 'row')} that matched no pending request")
    if got.elsewhere:
        print(f"{process}: skipped {counted(got.elsewhere, 'batch', 'batches')} of another PROVIDER or base URL")
    if got.requeued:
        print(f"{process}: the queue was full; {counted(got.requeued, 'batch', 'batches')} will be sent again")


def _print_blocked(process: str, report: Report) -> None:
    previous = previous_process(process)
    if report.blocked and previous:
        print(
            f"{process}: {previous} is pending for {counted(report.blocked, 'page')}. Run  python "
            f"retrieve_results.py --process {previous}  and then this stage again."
        )


def _print_waiting(process: str, report: Report) -> None:
    for unsettled in report.unsettled:
        _problem(unsettled)
    if report.held:
        _problem(report.held)
    elif report.waiting:
        waiting = f"{process}: {counted(report.waiting, 'batch', 'batches')} not sent yet"
        if report.unsettled or report.collected.unknown or report.collected.unreachable:
            print(f"{waiting}, because of the problem above.")
        else:
            print(f"{waiting}, because the queue is full. Run the same command again later, or use --wait.")


def _print_next(process: str, report: Report, session: Session) -> None:
    """The next step that really helps, if there is one."""
    if report.unsettled:
        return  # the problem has the commands
    got, waiting = report.collected, 0 if report.held else report.waiting
    if got.failed:
        step: Step | None = Step(f"{run(process)} --again failed", "after fixing the cause")
    elif got.refused:
        step = Step(run(process), "after fixing the setting")
    elif report.open + report.waiting:
        can_be_collected = report.open > len(got.unknown) + got.elsewhere
        step = Step(retrieve(process), "again, later") if can_be_collected or waiting else None
    else:
        step = Progress.after(session, report.merged).next_step(process, report.sent_nothing)
    if step:
        print(f"Next: {step}")


def _failed_pages(merged: Merged) -> int:
    return sum(count for status, count in merged.statuses.items() if status.startswith("failed:"))


def _documents(merged: Merged) -> str:
    unreadable = f", {len(merged.problems):,} of them unreadable" if merged.problems else ""
    return f"{counted(merged.documents, 'document')}{unreadable}"


def _problem(message: str) -> None:
    print(f"problem: {message}", file=sys.stderr)
