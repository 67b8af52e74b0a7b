"""What a plan will cost, before anything is sent: input tokens, a range of output tokens, dollars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.batches.plan import Plan
from pipeline.batches.price import Price, Pricing, counts_are_exact
from pipeline.batches.queue import Queue
from pipeline.batches.session import StageRun
from pipeline.config import Config
from pipeline.errors import ConsentError
from pipeline.ledger import Ledger
from pipeline.ledger.batches import Destination
from pipeline.ledger.usage import InProgress, PastAnswers
from pipeline.stages import get_stage
from pipeline.words import counted, dollars

ENOUGH_ANSWERS = 30  # past answers that are needed to predict better than a stage's usual answer length
Z_95 = 1.96  # standard deviations on each side of the mean for a 95 % interval


@dataclass(frozen=True)
class Range:
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """`output`: tokens. `past`: number of answers that it is based on (0: a rough guess). `price`: None if unknown."""

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


@dataclass(frozen=True)
class Quote:
    """A plan and what it costs. `model`: its name for people. `again`: the part that replaces earlier questions.

    `limit`: of the queue, in tokens. `rounds`: how often the queue has to be filled. `left_out`: what the questions
    would cost that the prefilter leaves out; only in a dry run. `over_budget`: why MAX_COST_USD forbids the plan.
    """

    process: str
    model: str
    plan: Plan
    estimate: Estimate
    again: Estimate
    left_out: Estimate
    limit: int | None
    rounds: int
    over_budget: str | None


def quote(run: StageRun, plan: Plan) -> Quote:
    """What the user is shown before anything is sent. Called while the plan is in the ledger, kept or not."""
    recipe, limit_of_answer = run.requests.recipe, run.requests.format.output_limit or math.inf
    destination = Destination(recipe.provider, recipe.base_url, recipe.model)
    waiting = [batch.tokens for batch in run.batches() if batch.unsent and batch.destination == destination]
    limit = Queue(run).limit(destination)

    def priced(requests: int, tokens: int) -> Estimate:
        sent = InProgress(run.process, recipe.provider, recipe.model, requests, tokens)
        return estimate(sent, limit_of_answer, run.ledger, run.config)

    return Quote(
        process=run.process,
        model=run.provider.model_name(run.process, recipe.model),
        plan=plan,
        estimate=priced(plan.to_send, plan.tokens),
        again=priced(plan.asked_again.total(), plan.again_tokens),
        left_out=priced(plan.left_out, plan.tokens_left_out),
        limit=limit,
        rounds=queue_rounds(waiting, limit),
        over_budget=over_budget(run.ledger, run.config),
    )


def estimate(sent: InProgress, limit_of_answer: float, ledger: Ledger, config: Config) -> Estimate:
    """The cost of requests of one stage. `limit_of_answer`: most output tokens of one answer."""
    most = sent.requests * limit_of_answer if sent.requests else 0.0
    past = ledger.usage.past_answers(sent.process, sent.model)
    enough = past.count >= ENOUGH_ANSWERS
    if enough:
        output = sum_of_answers(sent.requests, past)
    else:
        low, high = get_stage(sent.process).usual_output
        output = Range(sent.requests * low, sent.requests * high)
    return Estimate(
        requests=sent.requests,
        input_tokens=sent.tokens,
        output=Range(min(output.low, most), min(output.high, most)),
        past=past.count if enough else 0,
        counted=counts_are_exact(sent.model),
        price=Pricing(config).price(sent.model, sent.provider),
    )


def sum_of_answers(requests: int, past: PastAnswers) -> Range:
    """95 % prediction interval for the sum of `requests` answers like the past ones (normal approximation)."""
    spread = Z_95 * math.sqrt(past.variance * (requests + requests**2 / past.count))
    middle = requests * past.mean
    return Range(max(0.0, middle - spread), middle + spread)


def queue_rounds(sizes: Sequence[int], limit: int | None) -> int:
    """How often the queue has to be filled for batches of these sizes (input tokens), in this order."""
    count, room = 0, 0.0
    for size in sizes:
        if not count or room < size:
            count, room = count + 1, math.inf if limit is None else limit
        room -= size
    return count


def check_consent(quoted: Quote, yes: bool) -> None:
    """Raises ConsentError if the user must agree first, or if it may cost more than MAX_COST_USD allows."""
    paid_again = quoted.plan.paid_again
    if paid_again and not yes:
        raise ConsentError(
            f"{counted(paid_again, 'question')} of {quoted.process} would be asked (and paid for) again, for the "
            "reasons above. Nothing was sent: add --yes to send them, or undo the change."
        )
    if quoted.over_budget:
        raise ConsentError(quoted.over_budget)


def over_budget(ledger: Ledger, config: Config) -> str | None:
    """Why everything spent, in progress and waiting may exceed MAX_COST_USD; None if it cannot."""
    if config.max_cost_usd is None:
        return None
    spent, most = ledger.usage.spent(), 0.0
    for sent in ledger.usage.in_progress():
        cost = estimate(sent, math.inf, ledger, config).cost
        if cost is None:
            return (
                f"The price of {sent.model} is unknown, so MAX_COST_USD cannot be checked: add the model to PRICES in "
                "config.yaml, or remove MAX_COST_USD. Nothing was sent."
            )
        most += cost.high
    if not most or spent + most <= config.max_cost_usd:
        return None
    together = dollars(spent + most, up=True)
    return (
        f"MAX_COST_USD is {_exactly(config.max_cost_usd)}, but {dollars(spent)} was already spent, and the requests in "
        f"progress, these included, may cost up to {dollars(most, up=True)}, together {together}. "
        "Nothing was sent: raise MAX_COST_USD in config.yaml, or send less (--limit, --documents, --pages)."
    )


def _exactly(limit: float) -> str:
    """A limit as the user has set it: rounded, it could look as if it were not exceeded."""
    shown, exact = dollars(limit), f"${limit:,.10f}".rstrip("0")
    return shown if len(exact) <= len(shown) and "<" not in shown else exact
