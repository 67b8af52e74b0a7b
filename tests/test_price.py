"""What it costs: told before anything is sent, kept under the limit, and added up afterwards."""

from __future__ import annotations

import re

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING

from pipeline.batches.accounts import PastAnswers
from pipeline.batches.estimate import Range, _sum_of_answers, rounds

DRY = "run_batch.py --process extraction --dry-run"


def number(pattern: str, printed: str) -> float:
    found = re.search(pattern, printed)
    assert found, printed
    return float(found[1].replace(",", ""))


def test_a_dry_run_needs_no_key_and_leaves_no_trace(
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
    assert "3 sent now" in project.run("run_batch.py --process extraction")
    assert "nothing to send: 0 answered, 3 on their way, 0 given up" in project.run(DRY)


def test_the_price_is_that_of_the_tokens(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    printed = project.run(DRY)
    tokens_in, low = number(r"input +([\d,]+)", printed), number(r"output +([\d,]+)", printed)
    high = number(r"to ([\d,]+) tokens", printed)
    assert number(r"cost +\$([\d.]+)", printed) == pytest.approx((tokens_in * 0.075 + low * 0.30) / 1e6, abs=1e-6)
    assert number(r"cost .* to \$([\d.]+)", printed) == pytest.approx((tokens_in * 0.075 + high * 0.30) / 1e6, abs=1e-6)


def test_all_stages_are_priced_as_far_as_they_are_known(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    assert "judge: cannot be priced yet" in project.run("run_batch.py --process all --dry-run")
    project.run("run_batch.py --process extraction --wait")
    assert "judge: 1 requests" in project.run("run_batch.py --process all --dry-run")


def test_prices_of_ones_own_and_unknown_ones(project: Project, server: Server) -> None:
    server.models.add("mine-7b")
    project.paper("a.pdf", HOUSEHOLDS)
    project.configure(MODEL="mine-7b")
    printed = project.run(DRY)
    assert "estimated" in printed and "cost    unknown" in printed and "$" not in printed
    project.configure(MODEL="mine-7b", PRICES={"mine-*": {"input": 2, "output": 8}})
    assert "$2 in, $8 out per million" in project.run(DRY)
    printed = project.run("run_batch.py --process extraction --wait")
    usage = project.document("extraction", "a")["usage"]["extraction"]
    assert usage["cost_usd"] == pytest.approx((usage["prompt_tokens"] * 2 + usage["completion_tokens"] * 8) / 1e6)
    project.configure(MODEL="mine-7b", PRICES={"mine-*": {"in": 2}})
    assert "PRICES" in project.run(DRY, expect=1)


def test_a_range_from_past_answers(project: Project, server: Server) -> None:
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(30)))
    project.run("run_batch.py --process extraction --wait")
    project.paper("b.pdf", *(f"{HOUSEHOLDS} b {n}" for n in range(10)))
    printed = project.run(DRY)
    assert "from 30 past answers" in printed
    low, high = number(r"output +([\d,]+)", printed), number(r"to ([\d,]+) tokens", printed)
    project.run("run_batch.py --process extraction --wait")
    used = project.document("extraction", "b")["usage"]["extraction"]["completion_tokens"]
    assert low * 0.9 <= used <= high * 1.1


def test_the_interval_of_a_sum() -> None:
    """100 answers of mean 50 and variance 100, after 400 seen: 5000 ± 1.96·sqrt(100·(100 + 100²/400))."""
    found = _sum_of_answers(100, PastAnswers(400, 50.0, 100.0))
    assert found == Range(pytest.approx(5000 - 219.1, abs=0.1), pytest.approx(5000 + 219.1, abs=0.1))


def test_rounds() -> None:
    assert rounds([], None) == 0 and rounds([5, 5, 5], None) == 1
    assert rounds([5, 5, 5], 10) == 2 and rounds([11], 10) == 1


def test_max_cost_stops_before_anything_is_uploaded(project: Project, server: Server) -> None:
    project.configure(MAX_COST_USD=0.000001)
    project.paper("a.pdf", HOUSEHOLDS)
    assert "MAX_COST_USD" in project.run("run_batch.py --process extraction", expect=1)
    assert not server.files and not server.seen
    project.configure(MAX_COST_USD=1)
    assert "1 sent now" in project.run("run_batch.py --process extraction")


def test_max_cost_counts_what_was_spent_and_is_on_its_way(project: Project, server: Server) -> None:
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(20)))
    highest = number(r"cost .* to \$([\d.]+)", project.run(DRY))
    project.configure(MAX_COST_USD=highest * 1.2)
    project.run("run_batch.py --process extraction")
    project.paper("b.pdf", *(f"{HOUSEHOLDS} b {n}" for n in range(10)))
    assert "on its way" in project.run("run_batch.py --process extraction", expect=1)
    project.run("retrieve_results.py --process extraction --wait")
    project.run("run_batch.py --process extraction --wait")  # the answers were shorter than they might have been
    server.models.add("mine-7b")
    project.configure(MAX_COST_USD=1, MODEL={"extraction": "mine-7b"})
    assert "price of mine-7b is not known" in project.run("run_batch.py --process extraction --yes", expect=1)


def test_the_queue_is_told_in_rounds(project: Project) -> None:
    project.configure(MAX_ENQUEUED_TOKENS=2000)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(6)))
    printed = project.run(DRY)
    assert "3 rounds of up to 2,000 input tokens" in printed and "in 3 batches" in printed


def test_costs_are_told_by_stage_and_in_total(project: Project) -> None:
    project.configure(MODEL="gpt-5-mini")
    project.paper("a.pdf", HOUSEHOLDS)
    printed = project.run("run_batch.py --process all")
    line = printed[printed.rindex("cost so far") :].splitlines()[0]
    usage = project.document("reasoning", "a")["usage"]
    assert sum(stage["cost_usd"] for stage in usage.values()) == pytest.approx(
        number(r"so far: \$([\d.]+)", line), abs=1e-4
    )
    assert all(process in line for process in usage) and "64 of them reasoning" in line
    assert usage["reasoning"]["reasoning_tokens"] == 64


def test_max_cost_counts_what_has_a_price_although_something_has_none(project: Project, server: Server) -> None:
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
    told = project.run("run_batch.py --process extraction --documents c", expect=1)
    assert "spent so far" in told and "MAX_COST_USD" in project.run(f"{DRY} --documents c")


def test_a_limit_lowered_holds_what_waits(project: Project, server: Server) -> None:
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
