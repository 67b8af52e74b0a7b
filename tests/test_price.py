"""Costs are shown before anything is sent, kept under MAX_COST_USD, and totalled afterwards."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING

from pipeline.batches.estimate import Range, queue_rounds, sum_of_answers
from pipeline.batches.price import Pricing
from pipeline.config import Config
from pipeline.ledger.usage import PastAnswers
from pipeline.providers.openai_format import outcome_of
from pipeline.records import Outcome
from pipeline.words import dollars, dollars_by_part

DRY = "run_batch.py --process extraction --dry-run"


def number(pattern: str, printed: str) -> float:
    found = re.search(pattern, printed)
    assert found, printed
    return float(found[1].replace(",", ""))


def planned_by(project: Project, line: str) -> dict[str, Any]:
    """What the extraction would send, with exact numbers."""
    return json.loads(project.run(f"{line} --json").splitlines()[0])["stages"]["extraction"]["planned"]


def test_dry_run_needs_no_key_and_sends_nothing(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    project.paper("a.pdf", HOUSEHOLDS, NOTHING)
    project.paper("b.pdf", CENSUS)
    printed = project.run(DRY)
    assert "3 requests for 3 pages of 2 documents, in 1 batch, to gpt-4o-mini" in printed
    assert "tokens (counted)" in printed and "a rough guess" in printed and "Dry run: nothing was sent." in printed
    assert not server.requests
    assert not (project.output / "batches").exists() and not (project.output / "extraction").exists()
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    assert "sent 3 requests" in project.run("run_batch.py --process extraction")
    assert "nothing to send (0 answered, 3 in progress, 0 given up)" in project.run(DRY)


def test_price_follows_from_the_token_counts(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    planned = planned_by(project, DRY)
    low, high = ((planned["input_tokens"] * 0.075 + tokens * 0.30) / 1e6 for tokens in planned["output_tokens"])
    assert planned["cost_usd"] == pytest.approx([low, high])
    printed = project.run(DRY)
    assert number(r"input +([\d,]+)", printed) == planned["input_tokens"]
    assert f"cost    {dollars(low)} to {dollars(high, up=True)} (batch" in printed


@pytest.mark.parametrize(
    ("amount", "shown", "most"),
    [
        (None, "unknown", "unknown"), (0, "$0", "$0"), (3e-5, "<$0.0001", "$0.0001"), (6e-5, "$0.0001", "$0.0001"),
        (0.0073, "$0.0073", "$0.0073"), (0.01531, "$0.0153", "$0.0154"), (0.5, "$0.5000", "$0.5000"),
        (0.99999, "$1.00", "$1.00"), (12.401, "$12.40", "$12.41"), (1234.5, "$1,234.50", "$1,234.50"),
    ],
)  # fmt: skip
def test_amounts_are_rounded_by_one_rule(amount: float | None, shown: str, most: str) -> None:
    assert (dollars(amount), dollars(amount, up=True)) == (shown, most)
    assert dollars(0.951, beside=1.23) == "$0.95"


def test_printed_costs_add_up() -> None:
    costs = {"extraction": 0.000588, "judge": 0.000446, "reasoning": 0.000847}
    assert dollars_by_part(costs) == ("$0.0018", "extraction $0.0006, judge $0.0004, reasoning $0.0008")
    assert dollars_by_part({"extraction": 0.9, "judge": 0.333}) == ("$1.23", "extraction $0.90, judge $0.33")
    assert dollars_by_part({"extraction": None, "judge": 0.2}) == ("$0.2000", "extraction unknown, judge $0.2000")


# USD per million tokens, input and output: half of OpenAI's list prices.
BATCH_PRICES = {
    "gpt-4o-mini": ("0.075", "0.30"),
    "gpt-6-luna": ("0.05", "0.25"),
    "gpt-4.1-mini": ("0.20", "0.80"),
    "gpt-5-mini": ("0.125", "1.00"),
    "gpt-5.4-mini": ("0.375", "2.25"),
    "o4-mini": ("0.55", "2.20"),
}


@pytest.mark.parametrize("model", BATCH_PRICES)
def test_batch_price_of_known_models(project: Project, model: str) -> None:
    project.configure(MODEL=model)
    project.paper("a.pdf", HOUSEHOLDS)
    printed, (price_in, price_out) = project.run(DRY), BATCH_PRICES[model]
    assert f"(batch price ${price_in} in, ${price_out} out per million tokens)" in printed
    planned = planned_by(project, DRY)
    low = planned["input_tokens"] * float(price_in) + planned["output_tokens"][0] * float(price_out)
    assert planned["cost_usd"][0] == pytest.approx(low / 1e6)


def test_the_tokens_of_a_model_that_nobody_lists_are_estimated(project: Project) -> None:
    """Its name looks like those of the models whose tokenizer is known."""
    project.paper("a.pdf", HOUSEHOLDS)
    for model in ("gpt-99", "gpt-9-mini"):
        project.configure(MODEL=model)
        assert "tokens (estimated: " in project.run(DRY)


def test_dry_run_of_all_stages_prices_those_that_can_be_planned(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    assert "judge: no price yet, because it depends on the answers of extraction" in project.run(
        "run_batch.py --process all --dry-run"
    )
    project.run("run_batch.py --process extraction --wait")
    assert "judge: 1 request for 1 page of 1 document" in project.run("run_batch.py --process all --dry-run")


def test_prices_setting_and_unknown_model(project: Project, server: Server) -> None:
    server.models.add("mine-7b")
    project.paper("a.pdf", HOUSEHOLDS)
    project.configure(MODEL="mine-7b")
    printed = project.run(DRY)
    assert "estimated" in printed and "cost    unknown" in printed and "$" not in printed
    project.configure(MODEL="mine-7b", PRICES={"mine-*": {"input": 2, "output": 8}})
    assert "$2.00 in, $8.00 out per million" in project.run(DRY)
    printed = project.run("run_batch.py --process extraction --wait")
    usage = project.document("extraction", "a")["usage"]["extraction"]
    assert usage["cost_usd"] == pytest.approx((usage["prompt_tokens"] * 2 + usage["completion_tokens"] * 8) / 1e6)
    project.configure(MODEL="mine-7b", PRICES={"mine-*": {"in": 2}})
    assert "PRICES" in project.run(DRY, expect=1)


def test_output_range_from_past_answers(project: Project, server: Server) -> None:
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(30)))
    project.run("run_batch.py --process extraction --wait")
    project.paper("b.pdf", *(f"{HOUSEHOLDS} b {n}" for n in range(10)))
    printed = project.run(DRY)
    assert "from 30 past answers" in printed
    low, high = number(r"output +([\d,]+)", printed), number(r"to ([\d,]+) tokens", printed)
    project.run("run_batch.py --process extraction --wait")
    used = project.document("extraction", "b")["usage"]["extraction"]["completion_tokens"]
    assert low * 0.9 <= used <= high * 1.1


def test_interval_of_a_sum_of_answers() -> None:
    """100 answers of mean 50 and variance 100, after 400 seen: 5000 ± 1.96·sqrt(100·(100 + 100²/400))."""
    found = sum_of_answers(100, PastAnswers(400, 50.0, 100.0))
    assert found == Range(pytest.approx(5000 - 219.1, abs=0.1), pytest.approx(5000 + 219.1, abs=0.1))


def test_queue_rounds() -> None:
    assert queue_rounds([], None) == 0 and queue_rounds([5, 5, 5], None) == 1
    assert queue_rounds([5, 5, 5], 10) == 2 and queue_rounds([11], 10) == 1


def test_max_cost_stops_before_anything_is_uploaded(project: Project, server: Server) -> None:
    project.configure(MAX_COST_USD=0.000001)
    project.paper("a.pdf", HOUSEHOLDS)
    refused = project.run("run_batch.py --process extraction", expect=1)
    assert "error: MAX_COST_USD is $0.000001, but $0 was already spent, and the requests in progress" in refused
    assert "may cost up to $0.0002, together $0.0002. Nothing was sent" in refused
    assert not server.files and not server.seen
    project.configure(MAX_COST_USD=1)
    assert "sent 1 request in 1 batch" in project.run("run_batch.py --process extraction")


def test_max_cost_includes_spent_and_in_progress(project: Project, server: Server) -> None:
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(20)))
    highest = planned_by(project, DRY)["cost_usd"][1]
    project.configure(MAX_COST_USD=highest * 1.2)
    project.run("run_batch.py --process extraction")
    project.paper("b.pdf", *(f"{HOUSEHOLDS} b {n}" for n in range(10)))
    assert "the requests in progress, these included, may cost up to $" in project.run(
        "run_batch.py --process extraction", expect=1
    )
    project.run("retrieve_results.py --process extraction --wait")
    project.run("run_batch.py --process extraction --wait")  # allowed: the answers were shorter than the estimate
    server.models.add("mine-7b")
    project.configure(MAX_COST_USD=1, MODEL={"extraction": "mine-7b"})
    assert "price of mine-7b is unknown" in project.run("run_batch.py --process extraction --yes", expect=1)


def test_dry_run_shows_how_often_the_queue_is_filled(project: Project) -> None:
    project.configure(MAX_ENQUEUED_TOKENS=2000)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(6)))
    printed = project.run(DRY)
    assert "3 rounds of up to 2,000 input tokens" in printed and "in 3 batches" in printed


def test_costs_are_shown_by_stage_and_in_total(project: Project) -> None:
    project.configure(MODEL="gpt-5-mini")
    project.paper("a.pdf", HOUSEHOLDS)
    printed = project.run("run_batch.py --process all")
    costs = printed[printed.rindex("cost so far") :]
    usage = project.document("reasoning", "a")["usage"]
    total = sum(stage["cost_usd"] for stage in usage.values())
    assert number(r"so far: \$([\d.]+)", costs) == pytest.approx(total, abs=2e-4)
    for process, stage in usage.items():
        assert number(rf"{process} \$([\d.]+)", costs) == pytest.approx(stage["cost_usd"], abs=1e-4)
    printed = project.run("retrieve_results.py --process all --json")
    assert json.loads(printed.splitlines()[0])["usage"] == usage
    assert usage["reasoning"]["reasoning_tokens"] == 64


def test_max_cost_includes_priced_models_although_one_has_no_price(project: Project, server: Server) -> None:
    server.models.add("mine-7b")
    project.paper("a.pdf", HOUSEHOLDS)
    project.configure(MODEL="mine-7b")
    project.run("run_batch.py --process extraction --wait")
    project.paper("b.pdf", CENSUS)
    prices = {"gpt-*": {"input": 1000, "output": 1000}}
    project.configure(PRICES=prices)
    assert "cost so far: at least $" in project.run("run_batch.py --process extraction --documents b --wait")
    project.paper("c.pdf", NOTHING)
    project.configure(PRICES=prices, MAX_COST_USD=0.6)
    refused = project.run("run_batch.py --process extraction --documents c", expect=1)
    assert "was already spent" in refused and "MAX_COST_USD" in project.run(f"{DRY} --documents c")


def test_lower_max_cost_stops_waiting_requests(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    project.run("run_batch.py --process extraction")
    project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800, MAX_COST_USD=0.00001)
    for command in ("retrieve_results.py --process extraction --wait", "run_batch.py --process extraction --wait"):
        assert "MAX_COST_USD" in project.run(command, expect=3 if "retrieve" in command else 1)
    assert server.attempts.total() == 1
    project.configure(MAX_REQUESTS_PER_BATCH=1, MAX_ENQUEUED_TOKENS=800)
    project.run("run_batch.py --process extraction --wait")
    assert server.attempts.total() == 4 and set(server.seen.values()) == {1}


# USD per million tokens in a batch: input, read from the cache, written to it, output; and the same above the border.
DETAILED = {
    "gpt-4o-mini": ((0.075, 0.075, 0.075, 0.30), None),
    "gpt-4.1": ((1.0, 0.5, 1.0, 4.0), None),
    "gpt-5-mini": ((0.125, 0.0125, 0.125, 1.0), None),
    "gpt-5.4-mini": ((0.375, 0.0375, 0.375, 2.25), None),
    "o3": ((1.0, 0.5, 1.0, 4.0), None),
    "gpt-6-luna": ((0.05, 0.005, 0.0625, 0.25), (0.10, 0.01, 0.125, 0.375)),
    "gpt-5.4": ((1.25, 0.13, 1.25, 7.5), (2.5, 0.25, 2.5, 11.25)),
    "ft:gpt-4o-mini-2024-07-18:acme::abc": ((0.15, 0.15, 0.15, 0.60), None),
}
BORDER = 272_000  # input tokens of one request


@pytest.mark.parametrize("model", DETAILED)
@pytest.mark.parametrize("prompt", [2_000, 99_999, 100_001, BORDER, BORDER + 1, 300_000])
def test_each_kind_of_token_has_its_price_on_both_sides_of_a_border(model: str, prompt: int) -> None:
    pricing = Pricing(Config())
    below, above = DETAILED[model]
    input_, cached, written, output = above if above and prompt > BORDER else below
    for reads, writes in ((0, 0), (prompt, 0), (0, prompt), (prompt // 2, prompt // 4)):
        outcome = Outcome("ok", prompt_tokens=prompt, cached_tokens=reads, written_tokens=writes, completion_tokens=500)
        dollars = (prompt - reads - writes) * input_ + reads * cached + writes * written + 500 * output
        assert pricing.cost(outcome, "openai", model) == pytest.approx(dollars / 1e6, rel=1e-6), (reads, writes)


def test_the_estimate_is_that_of_short_requests_however_many_there_are() -> None:
    price = Pricing(Config()).price("gpt-6-luna", "openai")
    assert price and (price.input * 1e6, price.output * 1e6) == pytest.approx((0.05, 0.25))


def test_written_tokens_are_read_from_either_place() -> None:
    for usage in (
        {"prompt_tokens": 9, "cache_write_tokens": 4},
        {"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 4}},
    ):
        body = {"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}], "usage": usage}
        assert outcome_of({"response": {"status_code": 200, "body": body}}).written_tokens == 4
