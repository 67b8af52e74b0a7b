"""Which asks have to be sent: those without an answer and without an attempt on its way."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from pipeline.batches.ledger import Ledger, Shard
from pipeline.batches.requests import OpenShard, RequestBuilder, ShardCaps, check_size
from pipeline.batches.standing import standing
from pipeline.config import Config
from pipeline.records import Ask, Outcome
from pipeline.workspace import Workspace, replacing


@dataclass
class Plan:
    """How the asks of one run stand, each counted once."""

    answered: int = 0
    in_flight: int = 0
    given_up: int = 0
    to_send: int = 0
    shards: int = 0
    tokens: int = 0
    first: Ask | None = None

    @property
    def asks(self) -> int:
        return self.answered + self.in_flight + self.given_up + self.to_send


def plan(asks: Iterable[Ask], builder: RequestBuilder, ledger: Ledger, workspace: Workspace, config: Config) -> Plan:
    """Make `asks` the current ones, and write those that have to be sent into shard files.

    All or nothing: the ledger knows of the files only when all of them are on disk.
    """
    drop_unsent(builder.recipe.process, ledger, workspace)
    made = Plan()
    with ledger.transaction(), ExitStack() as files:
        recipe = ledger.recipe_id(builder.recipe)
        writer = _ShardWriter(builder, ledger, workspace, ShardCaps.of(config), files)
        for ask in asks:
            key = builder.key(ask)
            generation = ledger.generation(ask.process, key)
            ledger.set_current(ask, key, generation, recipe)
            stand = standing(ledger.attempts(ask.process, key, generation), config.max_attempts)
            setattr(made, stand.state, getattr(made, stand.state) + 1)
            if stand.state == "to_send":
                made.first = made.first or ask
                writer.add(ask, key, generation, stand.next_number, stand.larger_budget)
        writer.close()
        made.shards, made.tokens = writer.shards, writer.tokens
    return made


def drop_unsent(process: str, ledger: Ledger, workspace: Workspace) -> None:
    """Forget files of which no batch was made: what they ask may have changed since."""
    for shard in ledger.shards(process):
        if shard.state in ("written", "uploaded"):
            ledger.drop_shard(shard.id)
            workspace.shard(process, shard.id).unlink(missing_ok=True)


def drop_outdated_local(process: str, ledger: Ledger) -> None:
    """Give up local batches that nobody asks for any more: they are not paid for, and would take their time."""
    for shard in ledger.shards(process, "submitted"):
        if shard.provider == "local" and not ledger.is_wanted(shard.id):
            outcome = Outcome("cancelled", message="asked differently since")
            with ledger.transaction():
                for key, generation, number in ledger.open_attempts(shard.id):
                    ledger.record(process, key, generation, number, outcome, None)
                ledger.update_shard(shard.id, state="collected", status="cancelled")


class _ShardWriter:
    """Fills one file after another; a file takes its name only when it is whole."""

    def __init__(
        self, builder: RequestBuilder, ledger: Ledger, workspace: Workspace, caps: ShardCaps, files: ExitStack
    ) -> None:
        self._builder, self._ledger, self._workspace, self._caps, self._files = builder, ledger, workspace, caps, files
        self._open: OpenShard | None = None
        self._number = ledger.next_shard_number()
        self.shards = 0
        self.tokens = 0

    def add(self, ask: Ask, key: str, generation: int, number: int, larger_budget: bool) -> None:
        line = self._builder.line(ask, key, generation, number, larger_budget)
        tokens = self._builder.tokens(ask)
        check_size(ask, len(line), tokens, self._caps)
        if self._open and not self._open.has_room(len(line), tokens):
            self.close()
        if self._open is None:
            path = self._workspace.shard(ask.process, self._number)
            self._open = OpenShard(self._files.enter_context(replacing(path, durable=True)), self._caps)
        self._open.add(line, tokens)
        self._ledger.add_attempt(ask.process, key, generation, number, self._number, ask.expects)

    def close(self) -> None:
        if self._open is None:
            return
        self._files.pop_all().close()  # the file takes its name now, before the ledger speaks of it
        recipe = self._builder.recipe
        path = self._workspace.shard(recipe.process, self._number).relative_to(self._workspace.root).as_posix()
        self._ledger.add_shard(
            Shard(
                self._number, recipe.process, path, "written", recipe.provider, recipe.base_url, recipe.model,
                self._open.n_requests, self._open.n_bytes, self._open.n_tokens,
            )
        )  # fmt: skip
        self.shards += 1
        self.tokens += self._open.n_tokens
        self._number += 1
        self._open = None
