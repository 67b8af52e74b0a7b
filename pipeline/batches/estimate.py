"""What a plan will cost, before anything is sent: tokens in, a range of tokens out, dollars, rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.batches.accounts import PastAnswers
from pipeline.batches.cost import Price, Pricing, counts_are_exact
from pipeline.batches.ledger import Ledger
from pipeline.batches.plan import Plan
from pipeline.batches.queue import Queue
from pipeline.batches.requests import BUDGETS
from pipeline.config import Config
from pipeline.errors import ConsentError
from pipeline.records import Recipe

ENOUGH = 30  # past answers from which on they tell more than the figures below
SURE = 1.96  # standard deviations: 95 of 100 sums of many answers lie within
# Output tokens of one answer, in the mean of a paper with few and of one with many mentions: from the real answers to
# a 47-page paper (19 of its pages with mentions), with a factor of three to either side.
USUAL = {"extraction": (30, 260), "judge": (45, 400), "reasoning": (130, 1200)}


@dataclass(frozen=True)
class Range:
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """`output`: tokens; `past`: answers that it is drawn from (0: a rough guess). `price` is None where not known."""

    requests: int
    input_tokens: int
    output: Range
    past: int
    counted: bool
    price: Price | None

    @property
    def cost(self) -> Range | None:
        """Dollars."""
        if self.price is None:
            return None
        paid = self.input_tokens * self.price.input
        return Range(paid + self.output.low * self.price.output, paid + self.output.high * self.price.output)


def estimate(recipe: Recipe, requests: int, tokens: int, ledger: Ledger, config: Config) -> Estimate:
    """The cost of `requests` of one stage with `tokens` input tokens in all."""
    budget = next((recipe.params[name] for name in BUDGETS if isinstance(recipe.params.get(name), int)), math.inf)
    return _estimate(recipe.process, recipe.model, recipe.provider, requests, tokens, budget, ledger, config)


def _estimate(
    process: str, model: str, provider: str, requests: int, tokens: int, budget: float, ledger: Ledger, config: Config
) -> Estimate:
    most = requests * budget if requests else 0.0
    past = ledger.past_answers(process, model)
    enough = past.count >= ENOUGH
    output = _sum_of_answers(requests, past) if enough else Range(*(requests * usual for usual in USUAL[process]))
    return Estimate(
        requests=requests,
        input_tokens=tokens,
        output=Range(min(output.low, most), min(output.high, most)),
        past=past.count if enough else 0,
        counted=counts_are_exact(model),
        price=Pricing(config).price(model, provider),
    )


def _sum_of_answers(requests: int, past: PastAnswers) -> Range:
    """95 % prediction interval for the sum of `requests` answers like the past ones (normal approximation)."""
    spread = SURE * math.sqrt(past.variance * (requests + requests**2 / past.count))
    middle = requests * past.mean
    return Range(max(0.0, middle - spread), middle + spread)


def rounds(sizes: Sequence[int], limit: int | None) -> int:
    """How often the queue has to be filled for shards of these sizes (input tokens), in their order."""
    count, room = 0, 0.0
    for size in sizes:
        if not count or room < size:
            count, room = count + 1, math.inf if limit is None else limit
        room -= size
    return count


@dataclass(frozen=True)
class Quote:
    """A plan and its price. `anew`: the part that replaces earlier questions; `limit`: of the queue, in tokens;
    `over_budget`: why MAX_COST_USD does not allow it, if so.
    """

    recipe: Recipe
    plan: Plan
    estimate: Estimate
    anew: Estimate
    limit: int | None
    rounds: int
    over_budget: str | None


def quote(made: Plan, recipe: Recipe, ledger: Ledger, config: Config) -> Quote:
    """What the user is shown before anything is sent. Called while the plan is in the ledger, kept or not."""
    to = (recipe.provider, recipe.base_url, recipe.model)
    waiting = [s for s in ledger.shards(recipe.process) if s.unsent and (s.provider, s.base_url, s.model) == to]
    limit = Queue(ledger, config).limit(*to)

    def priced(requests: int, tokens: int) -> Estimate:
        return estimate(recipe, requests, tokens, ledger, config)

    return Quote(
        recipe=recipe,
        plan=made,
        estimate=priced(made.to_send, made.tokens),
        anew=priced(made.asked_anew.total(), made.anew_tokens),
        limit=limit,
        rounds=rounds([shard.tokens for shard in waiting], limit),
        over_budget=over_budget(ledger, config),
    )


def check_consent(quoted: Quote, yes: bool) -> None:
    """Raises ConsentError where the user has to say yes first, or more money is needed than MAX_COST_USD allows."""
    if quoted.plan.paid_anew and not yes:
        raise ConsentError(
            f"{quoted.plan.paid_anew} pages of {quoted.recipe.process} that were asked before would be asked (and paid "
            "for) anew, for the reasons above. Nothing was sent: add --yes to do so, or undo the change."
        )
    if quoted.over_budget:
        raise ConsentError(quoted.over_budget)


def over_budget(ledger: Ledger, config: Config) -> str | None:
    """Why what was spent, and all that is on its way or waits, may not keep under MAX_COST_USD; None where it does."""
    if config.max_cost_usd is None:
        return None
    spent, most = ledger.spent(), 0.0
    for process, provider, model, requests, tokens in ledger.under_way():
        planned = _estimate(process, model, provider, requests, tokens, math.inf, ledger, config)
        if planned.cost is None:
            return (
                f"The price of {model} is not known, so MAX_COST_USD cannot be kept: add the model to PRICES in "
                "config.yaml, or take MAX_COST_USD out. Nothing was sent."
            )
        most += planned.cost.high
    if not most or spent + most <= config.max_cost_usd:
        return None
    return (
        f"With ${spent:.6f} spent so far, and up to ${most:.6f} for what would be on its way, this may come to more "
        f"than MAX_COST_USD ${config.max_cost_usd:g}. Nothing was sent: raise it in config.yaml, or send "
        "less (--limit, --documents, --pages)."
    )
