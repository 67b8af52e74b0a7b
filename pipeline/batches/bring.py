"""In by another road: result files that were made or fetched elsewhere. Custom ids say what each row answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.batches.collect import Accept, Collected, accepted, result_files, rows
from pipeline.batches.cost import Pricing
from pipeline.batches.ledger import CurrentAsk, Ledger, OpenAttempt, Shard, parse_custom_id
from pipeline.batches.outcomes import outcome_of
from pipeline.batches.requests import RequestBuilder
from pipeline.batches.shards import first_free_number
from pipeline.config import Config
from pipeline.errors import ProviderError
from pipeline.providers.base import BatchInfo, BatchProvider
from pipeline.records import Ask, Outcome, Recipe
from pipeline.workspace import Workspace


def bring_in(
    files: Sequence[Path], process: str, ledger: Ledger, workspace: Workspace, config: Config, accept: Accept
) -> Collected:
    """Record the answers in `files` to what the pages of `process` ask now; bringing them twice changes nothing.

    Raises WorkspaceError where a file cannot be read.
    """
    result = Collected()
    for file in files:
        with ledger.transaction():
            bringer = _Bringer(file, process, ledger, workspace, config, accept, result)
            for row in rows(file):
                bringer.take(row)
            bringer.close()
        result.batches += 1
    return result


def adopt(asks: Iterable[Ask], builder: RequestBuilder, ledger: Ledger) -> None:
    """Make `asks` the current ones of pages that were never asked anything: all of them after the ledger was lost."""
    with ledger.transaction():
        recipe = ledger.recipe_id(builder.recipe)
        process = builder.recipe.process
        for source, of_document in groupby(asks, key=lambda ask: ask.source):
            sent = {now.page for now in ledger.current(process, source) if ledger.was_sent(process, now)}
            for ask in (ask for ask in of_document if ask.page not in sent):
                before = ledger.current_of(ask)
                key = builder.key(ask)
                ledger.set_current(ask, key, ledger.generation(ask.process, key) or 0, recipe, before)


def fetched(names: Sequence[str], process: str, workspace: Workspace, provider: BatchProvider) -> list[Path]:
    """The result files that `names` stand for: paths, or ids of batches, which are downloaded.

    Raises ProviderError where a batch has not ended, or the provider does not know it.
    """
    files: list[Path] = []
    for name in names:
        if Path(name).exists() or "/" in name or "." in name:
            files.append(Path(name))
        else:
            files += result_files(_ended(name, provider), process, workspace, provider)
    return files


def _ended(batch_id: str, provider: BatchProvider) -> BatchInfo:
    info = provider.status(batch_id)
    if not info.ended:
        raise ProviderError(f"Batch {batch_id} is {info.status}: its results can be brought in when it has ended.")
    return info


class _Bringer:
    """One file. Attempts that the ledger does not know get a shard of their own, made when the first one comes."""

    def __init__(
        self, file: Path, process: str, ledger: Ledger, workspace: Workspace, config: Config, accept: Accept,
        result: Collected,
    ) -> None:  # fmt: skip
        self._file, self._process, self._accept, self._result = file, process, accept, result
        self._ledger, self._workspace = ledger, workspace
        self._pricing = Pricing(config)
        self._shard: int | None = None
        self._touched: set[int] = set()

    def take(self, row: dict[str, Any]) -> None:
        name = parse_custom_id(row.get("custom_id"))
        asked = self._ledger.asked(name[0], name[1]) if name and name[0] == self._process else None
        if name is None or asked is None or name[2] < asked.generation:  # set aside by --again
            self._result.strangers += 1
            return
        _, key, generation, number = name
        if generation > asked.generation:  # asked again before the ledger was lost
            self._ledger.raise_generation(self._process, key, generation)
            asked = replace(asked, generation=generation)
        self._result.strangers += not self._answer(row, number, key, asked)

    def _answer(self, row: dict[str, Any], number: int, key: str, asked: CurrentAsk) -> bool:
        """Whether the row is news: the first good answer to its ask, or the outcome of an attempt that had none."""
        attempts = self._ledger.attempts(self._process, key, asked.generation)
        outcome = accepted(outcome_of(row), asked.expects, self._accept)
        attempt = self._ledger.open_attempt(self._process, key, asked.generation, number)
        if any(old.outcome == "ok" for old in attempts) or (attempt is None and attempts and outcome.kind != "ok"):
            return False
        recipe = self._ledger.recipe(asked.recipe)
        if attempt is None:
            free = max([number, *(old.number + 1 for old in attempts)])
            shard = self._own_shard(recipe)
            attempt = self._ledger.add_attempt(self._process, key, asked.generation, free, shard, asked.expects, 0)
        self._record(attempt, outcome, recipe)
        return True

    def _own_shard(self, recipe: Recipe) -> int:
        if self._shard is None:
            self._shard = first_free_number(self._ledger, self._workspace)
            whose = (recipe.provider, recipe.base_url, recipe.model)
            made = Shard(self._shard, self._process, self._file.name, "collected", *whose, 0, 0, 0)
            self._ledger.add_shard(replace(made, status="brought in", cleaned=1))
        return self._shard

    def _record(self, attempt: OpenAttempt, outcome: Outcome, recipe: Recipe) -> None:
        cost = self._pricing.cost(outcome, recipe.provider, recipe.model)
        self._ledger.record(attempt.id, outcome, cost)
        self._result.count(outcome)
        self._touched.add(self._ledger.shard_of(attempt.id))

    def close(self) -> None:
        for shard in self._touched:
            self._ledger.mark_shard(shard)
