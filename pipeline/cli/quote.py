"""The price of a stage, printed before anything is sent."""

from __future__ import annotations

from pipeline.batches.estimate import ENOUGH_ANSWERS, Estimate, Quote
from pipeline.words import counted


def print_quote(quote: Quote) -> None:
    """How much would be sent, and what it would cost."""
    plan, process = quote.plan, quote.process
    if not plan.to_send:
        states = f"{plan.answered:,} answered, {plan.in_progress:,} in progress, {plan.given_up:,} given up"
        print(f"{process}: nothing to send ({states})")
        _print_left_out(quote)
        return
    print(
        f"{process}: {counted(plan.to_send, 'request')} for {counted(plan.pages, 'page')} of "
        f"{counted(plan.documents, 'document')}, in {counted(len(plan.tokens_by_batch), 'batch', 'batches')}, to "
        f"{quote.model}"
    )
    for line in _estimate_lines(quote.estimate):
        print(f"  {line}")
    if quote.limit is not None:
        print(f"  queue   {counted(quote.rounds, 'round')} of up to {quote.limit:,} input tokens")
    _print_left_out(quote)
    if quote.over_budget:
        print("  limit   this is over MAX_COST_USD")
    for reason, count in plan.asked_again.most_common():
        print(f"  again   {counted(count, 'request')} for pages that were asked before ({reason})")
    if plan.asked_again and quote.again.cost:
        print(f"          asking them again costs about {_cost_range(quote.again)}")


def _print_left_out(quote: Quote) -> None:
    """What the prefilter saves. Only a dry run counts the tokens, and so knows the price."""
    plan = quote.plan
    if plan.left_out:
        saved = f", which saves {_cost_range(quote.left_out)}" if plan.tokens_left_out and quote.left_out.cost else ""
        print(f"  skipped {counted(plan.pages_left_out, 'page')} because of PREFILTER{saved}")


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
    return f"{dollars(cost.low)} to {dollars(cost.high)}" if cost else "unknown"


def _rate(per_token: float) -> str:
    """Dollars per million tokens: `$0.30`, `$0.075`."""
    text = f"{per_token * 1e6:.6f}".rstrip("0")
    return f"${text}{'0' * (2 - len(text.partition('.')[2]))}"


def dollars(amount: float | None) -> str:
    """With enough decimal places to show something: a page costs fractions of a cent."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}" if amount >= 0.01 else f"${amount:.6f}"
