"""Sums of tokens and dollars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.ledger.schema import Database
from pipeline.records import Usage


@dataclass(frozen=True, slots=True)
class PastAnswers:
    """Output tokens of the accepted answers so far: their number, mean and variance."""

    count: int
    mean: float
    variance: float


class InProgress(NamedTuple):
    """Attempts that wait to be sent or have been sent. `tokens`: input tokens."""

    process: str
    provider: str
    model: str
    requests: int
    tokens: int


class UsageTotals:
    """Sums over the table `attempt`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def total(self, process: str, source: str | None = None) -> Usage:
        """What all attempts of a stage have used: of one document's current asks, or of all."""
        table, values = "attempt", [process]
        if source is not None:
            asked = "SELECT DISTINCT key, process, generation FROM ask WHERE process = ? AND source = ?"
            table, values = f"attempt JOIN ({asked}) USING (key, process, generation)", [process, source, process]
        query = (
            "SELECT count(outcome), coalesce(sum(prompt_tokens), 0), coalesce(sum(cached_tokens), 0),"
            " coalesce(sum(completion_tokens), 0), coalesce(sum(reasoning_tokens), 0), sum(cost_usd),"
            " coalesce(sum(prompt_tokens > 0 AND cost_usd IS NULL), 0)"
            f" FROM {table} WHERE process = ? AND outcome IS NOT NULL"
        )
        *counts, cost, without_price = self._db.one(query, *values)
        names = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
        known = None if without_price else round(cost or 0.0, 9)
        return Usage(**dict(zip(names, counts, strict=True)), cost_usd=known)

    def spent(self) -> float:
        """Dollars of all answers whose price is known."""
        return float(self._db.one("SELECT coalesce(sum(cost_usd), 0) FROM attempt")[0])

    def of_batch(self, batch: int) -> tuple[int, int, float | None]:
        """(input tokens, output tokens, dollars) of a batch's answers so far."""
        query = (
            "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), sum(cost_usd) FROM attempt"
            " WHERE batch = ?"
        )
        prompt, completion, cost = self._db.one(query, batch)
        return prompt, completion, cost

    def past_answers(self, process: str, model: str) -> PastAnswers:
        """The answers of this stage and model, whatever was asked."""
        query = (
            "SELECT count(*), avg(completion_tokens), avg(completion_tokens * completion_tokens) FROM attempt"
            " JOIN batch ON batch.id = batch WHERE attempt.process = ? AND model = ? AND outcome = 'ok'"
        )
        count, mean, square = self._db.one(query, process, model)
        return PastAnswers(count, mean or 0.0, max(0.0, (square or 0.0) - (mean or 0.0) ** 2))

    def in_progress(self) -> list[InProgress]:
        """All attempts that have no outcome yet, by stage, provider and model."""
        query = (
            "SELECT attempt.process, provider, model, count(*), sum(attempt.tokens) FROM batch"
            " JOIN attempt ON batch = batch.id WHERE state != 'collected' AND outcome IS NULL GROUP BY 1, 2, 3"
        )
        return [InProgress(*row) for row in self._db.all(query)]
