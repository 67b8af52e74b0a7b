"""What a command prints when it is done: what it did, what is open, what to run next."""

from __future__ import annotations

from dataclasses import replace

from pipeline.batches.session import Session
from pipeline.cli.arguments import NEEDS_ATTENTION, OK
from pipeline.cli.found import found_sentence, print_frequent, stage_data
from pipeline.cli.output import Output
from pipeline.processes import PROCESSES, next_process, previous_process
from pipeline.words import counted, dollars, dollars_by_part
from pipeline.workflow.findings import stage_findings
from pipeline.workflow.next_step import Progress, Step, retrieve, run
from pipeline.workflow.report import Merged, Report

SHOWN_PROBLEMS = 20


def exit_status(report: Report) -> int:
    return NEEDS_ATTENTION if report.needs_attention else OK


def print_problems(output: Output, merged: Merged) -> None:
    """A line for each paper that cannot be read."""
    for entry in merged.problems[:SHOWN_PROBLEMS]:
        output.problem(f"{entry.file}: {entry.problem}.")
    more = len(merged.problems) - SHOWN_PROBLEMS
    if more > 0:
        output.problem(f"{more} more papers cannot be read: run `python run_batch.py --check` to see all.")


def print_submitted(output: Output, process: str, report: Report, session: Session) -> None:
    """The summary of planning and submitting. What was planned has been printed with its price."""
    plan = report.plan
    _add_data(output, process, report)
    if plan.to_send and plan.to_send < plan.asks:
        output.note(
            f"{process}: {counted(plan.asks, 'question')} = {plan.to_send:,} new, {plan.in_progress:,} in progress, "
            f"{plan.answered:,} answered, {plan.given_up:,} given up"
        )
    if report.sent:
        output.note(
            f"{process}: sent {counted(report.sent, 'request')} in {counted(report.batches, 'batch', 'batches')}"
        )
    _print_blocked(output, process, report)
    _print_waiting(output, process, report)
    if report.open + report.waiting:
        if session.provider.answers_here:
            output.note("All requests were answered on this machine.")
        else:
            output.note(
                f"A batch takes up to {session.config.completion_window}. To see its status: `python batch_status.py`"
            )
        output.next(retrieve(process))
    else:
        _print_next(output, process, report, session)


def print_waiting(output: Output, process: str, session: Session, report: Report) -> None:
    """What was sent, and that the command waits now. In a log file there is no progress bar."""
    if session.provider.answers_here or not report.open + report.waiting:
        return
    start = "waiting"
    if report.sent:
        batches = counted(report.batches, "batch", "batches")
        start = f"sent {counted(report.sent, 'request')} in {batches}. Waiting"
    window = session.config.completion_window
    output.note(
        f"{process}: {start} for the answers, which can take up to {window}. "
        "The command can be interrupted and repeated."
    )


def print_retrieved(
    output: Output, process: str, report: Report, session: Session, is_last: bool = True, is_retrieval: bool = True
) -> None:
    """The summary of collecting and merging.

    `is_last`: no stage follows, so the cost and the next step are printed. `is_retrieval`: the command was to collect
    answers, and says so if there were none.
    """
    got, merged = report.collected, report.merged
    _add_data(output, process, report)
    if got.batches or got.outcomes or got.running or is_retrieval:
        outcomes = ", ".join(f"{count:,} {kind}" for kind, count in sorted(got.outcomes.items())) or "no new answers"
        collected = f"collected {counted(got.batches, 'batch', 'batches')} ({outcomes})" if got.batches else outcomes
        running = f", {counted(got.running, 'batch', 'batches')} still running" if got.running else ""
        output.note(f"{process}: {collected}{running}")
    if got.repaired:
        were = "answer was" if got.repaired == 1 else "answers were"
        repairs = ", ".join(counted(count, repair) for repair, count in got.repairs.most_common())
        output.note(f"{process}: {got.repaired:,} {were} repaired ({repairs})")
    _print_troubles(output, process, report)
    _print_blocked(output, process, report)
    _print_waiting(output, process, report)
    output.note(f"{process}: {pages_sentence(merged)}")
    _print_failed(output, process, merged, session)
    found = stage_findings(session, process)
    output.add_to("stages", process, **stage_data(merged.documents, merged.statuses, found))
    if merged.pages:
        output.note(found_sentence(process, found, merged.pages))
    if next_process(process) is None:
        print_frequent(output, found)
    if is_last or report.must_stop:
        print_costs(output, session)
        _print_next(output, process, report, session)


def print_stages(output: Output, merged: Merged, session: Session) -> int:
    """How far all stages are, what they cost, and the next step. Returns the exit status."""
    status = exit_status(Report(merged=merged))
    for process, statuses in merged.stages.items():
        stage = replace(merged, statuses=statuses)
        found = stage_findings(session, process)
        output.add_to("stages", process, **stage_data(merged.documents, statuses, found))
        output.note(f"{process}: {pages_sentence(stage)}")
        if merged.pages:
            output.note(found_sentence(process, found, merged.pages))
        _print_failed(output, process, stage, session)
        status = max(status, exit_status(Report(merged=stage)))
    print_costs(output, session)
    step = Progress.after(session, merged).next_step()
    if step:
        output.next(step.command, step.remark, step.other)
    return status


def print_costs(output: Output, session: Session) -> None:
    """What was spent in this folder so far, by stage, from the usage that the answers report."""
    usages = {process: session.ledger.usage.total(process) for process in PROCESSES}
    used = {process: usage for process, usage in usages.items() if usage.requests}
    if not used:
        return
    costs = {process: usage.cost_usd for process, usage in used.items()}
    output.report["usage"] = {process: usage.model_dump() for process, usage in used.items()}
    spent, parts = dollars_by_part(costs)
    if None in costs.values():
        known = dollars(session.ledger.usage.spent())  # a part of the cost of such a stage may be known
        spent = f"at least {known} (the price of a model is unknown: add it to PRICES in config.yaml)"
    output.note(f"cost so far: {spent} ({parts})")


def _add_data(output: Output, process: str, report: Report) -> None:
    """What was sent and collected, for --json."""
    got = report.collected
    output.add_to(
        "stages", process, **stage_data(report.merged.documents, report.merged.statuses, None),
        sent={"requests": report.sent, "batches": report.batches},
        collected={"batches": got.batches, "outcomes": dict(got.outcomes), "repaired": got.repaired},
        open_batches=report.open, waiting_batches=report.waiting, running_batches=got.running,
    )  # fmt: skip


def _print_troubles(output: Output, process: str, report: Report) -> None:
    got = report.collected
    for failed in got.failed:
        output.problem(f"the provider rejected batch {failed}. None of its requests was answered.")
    for message, count in got.refused.most_common(3):
        was = "was" if count == 1 else "were"
        said = message.rstrip(".")
        output.problem(
            f"{counted(count, 'request')} {was} refused: {said}. Fix REQUEST_PARAMS or MODEL in config.yaml."
        )
    for problem in [*report.unreadable, *got.unknown[:SHOWN_PROBLEMS], *got.unreachable[:SHOWN_PROBLEMS]]:
        output.problem(problem)
    if got.no_room:
        output.problem(
            f"the provider's queue had no room for {counted(got.no_room, 'request')}, although no other batch from "
            "here was queued: run the same command again when your other jobs there have ended."
        )
    if got.ignored_rows:
        output.note(f"{process}: ignored {counted(got.ignored_rows, 'row')} that matched no pending request")
    if got.elsewhere:
        output.note(f"{process}: skipped {counted(got.elsewhere, 'batch', 'batches')} of another PROVIDER or base URL")
    if got.requeued:
        output.note(f"{process}: the queue was full; {counted(got.requeued, 'batch', 'batches')} will be sent again")


def _print_blocked(output: Output, process: str, report: Report) -> None:
    previous = previous_process(process)
    if report.blocked and previous:
        output.note(
            f"{process}: {previous} is pending for {counted(report.blocked, 'page')}. Run `python "
            f"retrieve_results.py --process {previous}` and then this stage again."
        )


def _print_waiting(output: Output, process: str, report: Report) -> None:
    for unsettled in report.unsettled:
        output.problem(unsettled)
    if report.held:
        output.problem(report.held)
    elif report.waiting:
        waiting = f"{process}: {counted(report.waiting, 'batch', 'batches')} not sent yet"
        if report.unsettled or report.collected.unknown or report.collected.unreachable:
            output.note(f"{waiting}, because of the problem above.")
        else:
            output.note(f"{waiting}, because the queue is full. Run the same command again later, or use --wait.")


def _print_next(output: Output, process: str, report: Report, session: Session) -> None:
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
        output.next(step.command, step.remark, step.other)


def _print_failed(output: Output, process: str, merged: Merged, session: Session) -> None:
    if _failed_pages(merged):
        output.problem(
            f"{counted(_failed_pages(merged), 'page')} of {process} failed: see {session.workspace.failures(process)}. "
            f"To ask again: `python run_batch.py --process {process} --again failed`"
        )


def _failed_pages(merged: Merged) -> int:
    return sum(count for status, count in merged.statuses.items() if status.startswith("failed:"))


def pages_sentence(merged: Merged) -> str:
    """`91 pages of 4 documents: 84 answered, 7 skipped:blank (2 documents are unreadable)`. The counts add up."""
    unreadable = counted(len(merged.problems), "document is", "documents are") + " unreadable"
    readable = merged.documents - len(merged.problems)
    if merged.problems and not readable:
        return unreadable
    order = sorted(merged.statuses.items(), key=lambda item: (item[0] != "answered", -item[1], item[0]))
    statuses = ", ".join(f"{count:,} {status}" for status, count in order)
    pages = f"{counted(merged.pages, 'page')} of {counted(readable, 'document')}"
    return f"{pages}{f': {statuses}' if statuses else ''}{f' ({unreadable})' if merged.problems else ''}"
