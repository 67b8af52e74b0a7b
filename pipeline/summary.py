"""The last words of a command: what it did, what is open, what to run next."""

from __future__ import annotations

import sys

from pipeline.cli import NEEDS_ATTENTION, OK
from pipeline.merge import Merged
from pipeline.runner import Report
from pipeline.workspace import Workspace

NEXT = {"extraction": "judge", "judge": "reasoning"}
SHOWN_PROBLEMS = 20


def exit_status(report: Report) -> int:
    return NEEDS_ATTENTION if report.needs_attention else OK


def print_problems(report: Report) -> None:
    """A sentence for each paper that could not be read; the manifest has all of them."""
    for entry in report.problems[:SHOWN_PROBLEMS]:
        print(f"problem: {entry.file}: {entry.problem}.", file=sys.stderr)
    if len(report.problems) > SHOWN_PROBLEMS:
        print(f"problem: … and {len(report.problems) - SHOWN_PROBLEMS} more: see manifest.jsonl.", file=sys.stderr)


def print_run(process: str, report: Report, local: bool) -> None:
    """After planning and submitting."""
    plan = report.plan
    print(f"{process}: {_documents(report.merged)}")
    print(
        f"{process}: {plan.asks} pages to ask = {plan.to_send} sent now in {report.batches} batches, "
        f"{plan.in_flight} on their way, {plan.answered} answered before, {plan.given_up} given up"
    )
    if plan.to_send + plan.in_flight:
        done = "Answered here." if local else "The batches take up to 24 hours; python batch_status.py shows them."
        print(f"{done} Next: python retrieve_results.py --process {process}")
    elif process in NEXT:
        print(f"Nothing to wait for. Next: python run_batch.py --process {NEXT[process]}")


def print_retrieved(process: str, report: Report, workspace: Workspace, then: bool = True) -> None:
    """After collecting and merging; `then` adds what to run next."""
    got, merged = report.collected, report.merged
    outcomes = ", ".join(f"{count} {kind}" for kind, count in sorted(got.outcomes.items())) or "no new answers"
    print(f"{process}: {got.batches} batches collected ({outcomes}), {got.running} still running")
    for failed in got.failed:
        again = "Run the same command later" if "token_limit_exceeded" in failed else "It is not sent again as it is"
        print(f"problem: batch {failed}. Nothing of it was answered. {again}.", file=sys.stderr)
    if got.strangers:
        print(f"{process}: {got.strangers} rows were for no open request and are only kept in the result files")
    if got.elsewhere:
        print(f"{process}: {got.elsewhere} batches belong to another PROVIDER or base URL and were not looked at")
    print(f"{process}: {_documents(merged)}")
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(merged.statuses.items()))
    print(f"{process}: {merged.pages} pages = {statuses or 'none'}")
    if any(status.startswith("failed:") for status in merged.statuses):
        print(f"problem: pages were given up: see {workspace.failures(process)}", file=sys.stderr)
    if then:
        _print_next(process, got.running, merged)


def _print_next(process: str, running: int, merged: Merged) -> None:
    if running:
        print(f"Next: python retrieve_results.py --process {process}  again later")
    elif merged.statuses["pending"]:
        print(f"Next: python run_batch.py --process {process}  asks the pending pages again")
    elif process in NEXT:
        print(f"Next: python run_batch.py --process {NEXT[process]}")
    else:
        print("Next: python generate_finetune_data.py")


def _documents(merged: Merged) -> str:
    return f"{merged.documents} documents, {merged.unreadable} of them unreadable"
