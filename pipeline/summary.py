"""What a command says: what it is going to cost, what it did, what is open, what to run next."""

from __future__ import annotations

import sys

from pipeline.batches.estimate import Estimate, Quote
from pipeline.check import Checked
from pipeline.cli import NEEDS_ATTENTION, OK, PROCESSES
from pipeline.merge import Merged
from pipeline.runner import Report, Runner

NEXT = {"extraction": "judge", "judge": "reasoning"}
SHOWN_PROBLEMS = 20


def exit_status(report: Report) -> int:
    return NEEDS_ATTENTION if report.needs_attention else OK


def print_problems(report: Report) -> None:
    """A sentence for each paper that could not be read; --check lists all, and those that could be in part."""
    for entry in report.problems[:SHOWN_PROBLEMS]:
        print(f"problem: {entry.file}: {entry.problem}.", file=sys.stderr)
    if len(report.problems) > SHOWN_PROBLEMS:
        print(
            f"problem: … and {len(report.problems) - SHOWN_PROBLEMS} more: see  python run_batch.py --check  for all.",
            file=sys.stderr,
        )


def print_checked(checked: Checked) -> int:
    """The totals of --check; returns the exit status."""
    kinds = {"text": "with text to ask about", "image": "only pictures", "unreadable": "that cannot be read"}
    order = sorted(checked.pages, key=lambda kind: (kind != "text", kind))
    pages = ", ".join(f"{checked.pages[kind]:,} {kinds.get(kind, kind)}" for kind in order if checked.pages[kind])
    languages = ", ".join(f"{count:,} {language}" for language, count in checked.languages.most_common())
    print(
        f"\n{checked.documents:,} documents, {checked.problems:,} of them unreadable, {checked.duplicates:,} duplicates"
    )
    print(f"{checked.pages.total():,} pages: {pages or 'none'}")
    print(f"documents by language: {languages or 'none could be told'}")
    return NEEDS_ATTENTION if checked.problems or checked.remarks else OK


def print_quote(quote: Quote) -> None:
    """Before anything is sent: how much it is, and what it will cost."""
    made, process = quote.plan, quote.recipe.process
    if not made.to_send:
        standing = f"{made.answered:,} answered, {made.in_flight:,} on their way, {made.given_up:,} given up"
        print(f"{process}: nothing to send: {standing}")
        return
    print(
        f"{process}: {made.to_send:,} requests for {made.pages:,} pages of {made.documents:,} documents, "
        f"in {len(made.shards):,} {'batch' if len(made.shards) == 1 else 'batches'}, to {quote.recipe.model}"
    )
    for line in _estimate_lines(quote.estimate):
        print(f"  {line}")
    if quote.limit is not None:
        print(f"  queue   {quote.rounds} rounds of up to {quote.limit:,} input tokens")
    if quote.over_budget:
        print(f"  limit   {quote.over_budget}")
    for reason, count in made.asked_anew.most_common():
        print(f"  anew    {count:,} of these requests are about pages that were asked before: {reason}")
    if made.asked_anew and quote.anew.cost:
        print(f"          asking them anew costs about {_dollars(quote.anew)}")


def _estimate_lines(estimate: Estimate) -> list[str]:
    how = "counted" if estimate.counted else "estimated: the model's own tokenizer may count otherwise"
    basis = f"from {estimate.past:,} past answers" if estimate.past else "a rough guess: there are no past answers yet"
    output = f"{estimate.output.low:,.0f} to {estimate.output.high:,.0f}"
    lines = [f"input   {estimate.input_tokens:,} tokens ({how})", f"output  {output} tokens ({basis})"]
    if estimate.price is None:
        return [*lines, "cost    unknown: neither PRICES in config.yaml nor the package genai-prices has this model"]
    if not estimate.price.input and not estimate.price.output:
        return [*lines, "cost    nothing: it runs on this machine"]
    per_million = f"${estimate.price.input * 1e6:g} in, ${estimate.price.output * 1e6:g} out"
    return [*lines, f"cost    {_dollars(estimate)} ({per_million} per million tokens, batch price)"]


def _dollars(estimate: Estimate) -> str:
    cost = estimate.cost
    return f"{dollars(cost.low)} to {dollars(cost.high)}" if cost else "unknown"


def dollars(amount: float | None) -> str:
    """With as many places as show something: pages cost fractions of a cent."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}" if amount >= 0.01 else f"${amount:.6f}"


def print_run(process: str, report: Report, runner: Runner) -> None:
    """After planning and submitting."""
    plan = report.plan
    print(f"{process}: {_documents(report.merged)}")
    print(
        f"{process}: {plan.asks} pages to ask = {plan.to_send} new, {plan.in_flight} on their way, "
        f"{plan.answered} answered before, {plan.given_up} given up"
    )
    print(f"{process}: {report.sent} sent now in {report.batches} batches")
    _print_waiting(process, report)
    if report.open + report.waiting:
        local = runner.provider.kind == "local"
        done = "Answered here." if local else "The batches take up to 24 hours; python batch_status.py shows them."
        print(f"{done} Next: python retrieve_results.py --process {process}")
    elif process in NEXT:
        print(f"Nothing to wait for. Next: python run_batch.py --process {NEXT[process]}")


def print_retrieved(process: str, report: Report, runner: Runner, then: bool = True) -> None:
    """After collecting and merging; `then` adds what to run next."""
    got, merged = report.collected, report.merged
    outcomes = ", ".join(f"{count} {kind}" for kind, count in sorted(got.outcomes.items())) or "no new answers"
    print(f"{process}: {got.batches} batches collected ({outcomes}), {got.running} still running")
    _print_trouble(process, report)
    _print_waiting(process, report)
    print(f"{process}: {_documents(merged)}")
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(merged.statuses.items()))
    print(f"{process}: {merged.pages} pages = {statuses or 'none'}")
    if any(status.startswith("failed:") for status in merged.statuses):
        print(f"problem: pages were given up: see {runner.workspace.failures(process)}", file=sys.stderr)
    print_costs(runner)
    if then:
        _print_next(process, report.open + report.waiting, merged)


def _print_trouble(process: str, report: Report) -> None:
    got = report.collected
    for failed in got.failed:
        print(
            f"problem: batch {failed}. Nothing of it was answered, and it is not sent again as it is: mend what it "
            f"says, then run  python run_batch.py --process {process} --again failed",
            file=sys.stderr,
        )
    for said, count in got.refused.most_common(3):
        print(f"problem: {count} requests were refused: {said} Mend REQUEST_PARAMS or MODEL.", file=sys.stderr)
    for unknown in got.unknown[:SHOWN_PROBLEMS]:
        print(f"problem: {unknown}", file=sys.stderr)
    for silent in got.silent[:SHOWN_PROBLEMS]:
        print(f"problem: {silent}", file=sys.stderr)
    if got.full:
        print(
            f"problem: the provider's queue had no room for {got.full} single requests, though nothing else of ours "
            "was in it: run the same command again when your other jobs there have ended.",
            file=sys.stderr,
        )
    if got.strangers:
        print(f"{process}: {got.strangers} rows were for no open request and are only kept in the result files")
    if got.elsewhere:
        print(f"{process}: {got.elsewhere} batches belong to another PROVIDER or base URL and were not looked at")
    if got.requeued:
        print(f"{process}: {got.requeued} batches found the provider's queue full; their requests are lined up again")


def _print_waiting(process: str, report: Report) -> None:
    if report.held:
        print(f"problem: {report.held}", file=sys.stderr)
    elif report.waiting:
        print(
            f"{process}: {report.waiting} batches wait for room in the queue: running the commands again sends them, "
            "and --wait does so by itself"
        )


def print_costs(runner: Runner) -> None:
    """What was spent in this folder so far, by stage, from the usage that the answers report."""
    parts, unknown = [], False
    for process in PROCESSES:
        usage = runner.ledger.usage(process)
        unknown |= usage.cost_usd is None
        if usage.requests:
            tokens_in = f"{usage.prompt_tokens:,} tokens in, {usage.cached_tokens:,} of them cached"
            tokens_out = f"{usage.completion_tokens:,} out, {usage.reasoning_tokens:,} of them reasoning"
            parts.append(f"{process} {dollars(usage.cost_usd)} ({tokens_in}; {tokens_out})")
    if parts:
        at_least = "at least " if unknown else ""
        print(f"cost so far: {at_least}{dollars(runner.ledger.spent())} = " + " + ".join(parts))


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
