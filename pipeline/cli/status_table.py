"""The tables of `batch_status.py`. They fit into 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tabulate import tabulate

from pipeline.batches.status import BatchStatus, StatusReport
from pipeline.cli.arguments import NEEDS_ATTENTION, OK, READY
from pipeline.cli.found import found_sentence, stage_data
from pipeline.cli.output import Output
from pipeline.processes import PROCESSES
from pipeline.records import NOT_SENT
from pipeline.words import dollars
from pipeline.workflow.counts import StageCounts
from pipeline.workflow.next_step import Step

BATCH_LINE = "{:>4}  {:<11}  {:<11}  {:>13}  {:>6}  {:>9}  {}"
HEADERS = ("no.", "status", "since", "done", "failed", "cost", "next")
STAGE_HEADERS = ("stage", "documents", "pages", "answered", "waiting", "failed", "not asked")
UNKNOWN = "-"


def exit_status(report: StatusReport) -> int:
    return NEEDS_ATTENTION if report.unsettled else READY if report.ready else OK


def print_status(
    output: Output,
    report: StatusReport,
    stages: Mapping[str, StageCounts],
    step: Step | None,
    other: tuple[str, bool] | None,
) -> None:
    """The batches of each stage, two lines for each, then the pages of all stages, and the next step.

    `other`: a command that works here now, and whether it will collect the answers.
    """
    for process in PROCESSES:
        batches = [status for status in report.batches if status.batch.process == process]
        if batches:
            output.note(f"\n{process}")
            output.note(BATCH_LINE.format(*HEADERS))
        for status in batches:
            output.note("\n".join(_lines(status)))
    if not report.batches:
        output.note("No batches have been submitted yet.")
    output.note(
        "\n" + tabulate([_stage_row(process, counts) for process, counts in stages.items()], headers=STAGE_HEADERS)
    )
    for status in report.batches:
        if status.batch.state == "creating":
            output.problem(
                f"it is unknown whether batch {status.batch.id} was submitted: run `python batch_status.py --resolve "
                f"{status.batch.id} sent` to search for it, or give another answer (--help lists them)."
            )
    output.report |= {
        "batches": [_data(status) for status in report.batches],
        "ready": report.ready,
        "running": report.running,
        "unsettled": report.unsettled,
        "stages": {process: stage_data(one.documents, one.pages, one.found) for process, one in stages.items()},
    }
    found = [
        found_sentence(process, one.found, one.pages.total())
        for process, one in stages.items()
        if one.found and one.pages["answered"]
    ]
    if found:
        output.note("\n" + "\n".join(found))
    if other:
        command, collects = other
        output.note(f"\n{command} is running in this folder{' and will collect the answers' if collects else ''}.")
    elif step and not report.unsettled:  # the row of an unsettled submission has what must be done first
        output.note()
        output.next(step.command, step.remark, step.other)


def _data(status: BatchStatus) -> dict[str, Any]:
    """A batch for --json. Times are in seconds since 1970."""
    batch, (tokens_in, tokens_out, cost) = status.batch, status.usage
    return {
        "number": batch.id,
        "id": batch.batch_id,
        "process": batch.process,
        "state": batch.state,
        "status": batch.status,
        "requests": batch.requests,
        "done": batch.done,
        "failed": batch.failed,
        "created": batch.created,
        "expires": batch.expires,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cost_usd": cost,
        "next": status.next_step,
    }


def _lines(status: BatchStatus) -> tuple[str, str]:
    """The state of a batch; its id and its tokens."""
    batch, (tokens_in, tokens_out, cost) = status.batch, status.usage
    done = UNKNOWN if batch.done is None else f"{batch.done:,}"
    failed = UNKNOWN if batch.failed is None else f"{batch.failed:,}"
    first = BATCH_LINE.format(
        batch.id, batch.status or "not sent", _time(batch.since), f"{done}/{batch.requests:,}", failed,
        UNKNOWN if cost is None else dollars(cost), status.next_step,
    )  # fmt: skip
    tokens = f"{tokens_in:,} + {tokens_out:,} tokens" if tokens_in else f"~{batch.tokens:,} tokens"
    until = f", until {_time(batch.expires)}" if batch.expires and batch.state == "submitted" else ""
    return first, f"      {batch.batch_id or batch.path}  {tokens}{until}"


def _stage_row(process: str, counts: StageCounts) -> list[object]:
    """The last column is what remains, so that the row adds up."""
    pages = counts.pages
    failed = sum(count for status, count in pages.items() if status.startswith("failed:"))
    waiting = pages["pending"] + pages[NOT_SENT]
    rest = pages.total() - pages["answered"] - failed - waiting
    return [process, counts.documents, pages.total(), pages["answered"], waiting, failed, rest]


def _time(seconds: int | None) -> str:
    return datetime.fromtimestamp(seconds).strftime("%m-%d %H:%M") if seconds else UNKNOWN
