"""Tokens and dollars, as the ledger has them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.batches.database import Database
from pipeline.records import Usage


@dataclass(frozen=True, slots=True)
class PastAnswers:
    """Output tokens of the accepted answers so far: how many, their mean and their variance."""

    count: int
    mean: float
    variance: float


class Accounts(Database):
    """The part of the ledger that adds up."""

    def usage(self, process: str, source: str | None = None) -> Usage:
        """What a stage has used so far, all attempts together: of one document's current asks, or in all."""
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
        *counts, cost, unpriced = self._one(query, *values)
        names = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
        known = None if unpriced else round(cost or 0.0, 9)
        return Usage(**dict(zip(names, counts, strict=True)), cost_usd=known)

    def spent(self) -> float:
        """Dollars of all answers whose price is known."""
        return float(self._one("SELECT coalesce(sum(cost_usd), 0) FROM attempt")[0])

    def shard_usage(self, shard: int) -> tuple[int, int, float | None]:
        """(input tokens, output tokens, dollars) of a shard's answers so far."""
        query = (
            "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), sum(cost_usd) FROM attempt"
            " WHERE shard = ?"
        )
        prompt, completion, cost = self._one(query, shard)
        return prompt, completion, cost

    def past_answers(self, process: str, model: str) -> PastAnswers:
        """Of this stage and model, whatever was asked."""
        query = (
            "SELECT count(*), avg(completion_tokens), avg(completion_tokens * completion_tokens) FROM attempt"
            " JOIN shard ON shard.id = shard WHERE attempt.process = ? AND model = ? AND outcome = 'ok'"
        )
        count, mean, square = self._one(query, process, model)
        return PastAnswers(count, mean or 0.0, max(0.0, (square or 0.0) - (mean or 0.0) ** 2))

    def under_way(self) -> list[tuple[str, str, str, int, int]]:
        """(process, provider, model, requests, input tokens) of all attempts that wait or are on their way."""
        query = (
            "SELECT attempt.process, provider, model, count(*), sum(attempt.tokens) FROM shard"
            " JOIN attempt ON shard = shard.id WHERE state != 'collected' AND outcome IS NULL GROUP BY 1, 2, 3"
        )
        return [(row[0], row[1], row[2], row[3], row[4]) for row in self._all(query)]
