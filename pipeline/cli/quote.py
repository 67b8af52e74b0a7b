"""The price of a stage, printed before anything is sent."""

from __future__ import annotations

from typing import Any

from pipeline.batches.estimate import ENOUGH_ANSWERS, Estimate, Quote
from pipeline.cli.output import Output
from pipeline.words import counted, dollars


def print_quote(output: Output, quote: Quote) -> None:
    """How much would be sent, and what it would cost."""
    plan, process = quote.plan, quote.process
    output.add_to("stages", process, planned=_data(quote))
    if not plan.to_send:
        states = f"{plan.answered:,} answered, {plan.in_progress:,} in progress, {plan.given_up:,} given up"
        output.note(f"{process}: nothing to send ({states})")
        _print_left_out(output, quote)
        return
    output.note(
        f"{process}: {counted(plan.to_send, 'request')} for {counted(plan.pages, 'page')} of "
        f"{counted(plan.documents, 'document')}, in {counted(len(plan.tokens_by_batch), 'batch', 'batches')}, to "
        f"{quote.model}"
    )
    for line in _estimate_lines(quote.estimate):
        output.note(f"  {line}")
    if quote.limit is not None:
        output.note(f"  queue   {counted(quote.rounds, 'round')} of up to {quote.limit:,} input tokens")
    _print_left_out(output, quote)
    if quote.over_budget:
        output.note("  limit   this is over MAX_COST_USD")
    for reason, count in plan.asked_again.most_common():
        output.note(f"  again   {counted(count, 'request')} for pages that were asked before ({reason})")
    if plan.asked_again and quote.again.cost:
        output.note(f"          asking them again costs about {_cost_range(quote.again)}")


def _data(quote: Quote) -> dict[str, Any]:
    """The quote for --json."""
    plan, estimate = quote.plan, quote.estimate
    return {
        "model": quote.model,
        "requests": plan.to_send,
        "pages": plan.pages,
        "documents": plan.documents,
        "batches": len(plan.tokens_by_batch),
        "input_tokens": estimate.input_tokens,
        "output_tokens": [round(estimate.output.low), round(estimate.output.high)],
        "cost_usd": [estimate.cost.low, estimate.cost.high] if estimate.cost else None,
        "over_budget": bool(quote.over_budget),
        "asked_again": dict(plan.asked_again),
        "answered": plan.answered,
        "in_progress": plan.in_progress,
        "given_up": plan.given_up,
        "prefiltered_pages": plan.pages_left_out,
    }


def _print_left_out(output: Output, quote: Quote) -> None:
    """What the prefilter saves. Only a dry run counts the tokens, and so knows the price."""
    plan = quote.plan
    if plan.left_out:
        saved = f", which saves {_cost_range(quote.left_out)}" if plan.tokens_left_out and quote.left_out.cost else ""
        output.note(f"  skipped {counted(plan.pages_left_out, 'page')} because of PREFILTER{saved}")


def _estimate_lines(estimate: Estimate) -> list[str]:
    how = "counted" if estimate.counted else "estimated: the model may use another tokenizer"
    basis = (
        f"from {estimate.past:,} past answers"
        if estimate.past
        else f"a rough guess: there are fewer than {ENOUGH_ANSWERS} past answers"
    )
    output = f"{estimate.output.low:,.0f} to {estimate.output.high:,.0f}"
    lines = [f"input   {estimate.input_tokens:,} tokens ({how})", f"output  {output} tokens ({basis})"]
    price = estimate.price
    if price is None:
        return [*lines, "cost    unknown: add the model to PRICES in config.yaml"]
    if not price.input and not price.output:
        return [*lines, "cost    none"]
    per_million = f"{_rate(price.input)} in, {_rate(price.output)} out per million tokens"
    return [*lines, f"cost    {_cost_range(estimate)} (batch price {per_million})"]


def _cost_range(estimate: Estimate) -> str:
    cost = estimate.cost
    return f"{dollars(cost.low, beside=cost.high)} to {dollars(cost.high, up=True)}" if cost else "unknown"


def _rate(per_token: float) -> str:
    """Dollars per million tokens: `$0.30`, `$0.075`."""
    text = f"{per_token * 1e6:.6f}".rstrip("0")
    return f"${text}{'0' * (2 - len(text.partition('.')[2]))}"
