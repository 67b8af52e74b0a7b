"""Which asks have to be sent: those without an answer and without an attempt on its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pipeline.batches.ledger import CurrentAsk, Ledger
from pipeline.batches.requests import RequestBuilder, check_size
from pipeline.batches.shards import Destination, ShardCaps, ShardWriter
from pipeline.batches.standing import NEVER_SENT, Standing, standing
from pipeline.config import Config
from pipeline.errors import ConsentError
from pipeline.records import Ask, Outcome, Recipe
from pipeline.workspace import Workspace


@dataclass
class Plan:
    """How the asks of one run stand, each counted once.

    `documents`: those with something to send. `asked_anew`: requests for pages that have been asked before, by reason;
    `paid_anew`: how many of them replace an answer that was or will be paid for.
    """

    answered: int = 0
    in_flight: int = 0
    given_up: int = 0
    to_send: int = 0
    pages: int = 0
    documents: int = 0
    tokens: int = 0
    shards: list[int] = field(default_factory=list)
    asked_anew: Counter[str] = field(default_factory=Counter)
    anew_tokens: int = 0
    paid_anew: int = 0
    first: Ask | None = None

    @property
    def asks(self) -> int:
        return self.answered + self.in_flight + self.given_up + self.to_send


@dataclass(frozen=True)
class Again:
    """What is asked again on purpose: everything that has an answer or was given up, or only what was given up."""

    only_failed: bool = False

    def includes(self, stand: Standing) -> bool:
        return stand.state == "given_up" or (stand.state == "answered" and not self.only_failed)


class _Undone(Exception):
    """Nothing of the plan is kept."""


def plan(
    asks: Iterable[Ask], builder: RequestBuilder, ledger: Ledger, workspace: Workspace, config: Config,
    agree: Callable[[Plan], bool], again: Again | None = None, dry: bool = False,
) -> Plan:  # fmt: skip
    """Make `asks` the current ones, and write those that have to be sent into shard files.

    All or nothing: if `agree`, which is shown the plan, returns False or raises, everything is as it was before.
    With `dry` no file is written.
    """
    recipe = builder.recipe
    to = Destination(recipe.process, recipe.provider, recipe.base_url, recipe.model)
    caps = ShardCaps.of(config, ledger.queue_limit(recipe.provider, recipe.base_url, recipe.model))
    made = Plan()
    with suppress(_Undone), ShardWriter(to, ledger, workspace, caps, dry) as writer, ledger.transaction():
        planner = _Planner(builder, ledger, config, writer, again, made)
        for ask in asks:
            planner.take(ask)
        writer.close()
        made.shards = writer.sizes
        if not agree(made):
            raise _Undone
    return made


class _Planner:
    """Decides ask by ask, and counts."""

    def __init__(
        self, builder: RequestBuilder, ledger: Ledger, config: Config, writer: ShardWriter, again: Again | None,
        made: Plan,
    ) -> None:  # fmt: skip
        self._builder, self._ledger, self._config, self._writer = builder, ledger, config, writer
        self._again, self._made = again, made
        self._recipe = ledger.recipe_id(builder.recipe)
        self._recipe_of = lru_cache(maxsize=256)(ledger.recipe)
        self._new_generation = ledger.generation_of_again(builder.recipe.process) if again else 0
        self._last, self._source = ("", 0), ""
        self._asked: dict[tuple[int, int], CurrentAsk] = {}

    def take(self, ask: Ask) -> None:
        key, before = self._builder.key(ask), self._before(ask)
        same = before is not None and before.key == key
        known = before.generation if before and same else self._ledger.generation(ask.process, key)
        generation = known or 0
        stand = NEVER_SENT if known is None else self._standing(ask.process, key, generation)
        if self._again and self._again.includes(stand) and generation < self._new_generation:
            generation = self._new_generation
            stand = self._standing(ask.process, key, generation)
        self._ledger.set_current(ask, key, generation, self._recipe, before)
        setattr(self._made, stand.state, getattr(self._made, stand.state) + 1)
        if stand.state == "given_up":
            self._ledger.mark_dirty(ask.process, ask.source)  # MAX_ATTEMPTS may have been another before
        if stand.state == "to_send":
            tokens = self._send(ask, key, generation, stand)
            replaced = before or self._of_page(ask.page)
            if replaced and (replaced.key, replaced.generation) != (key, generation):
                self._note_anew(ask, replaced, key, tokens)

    def _before(self, ask: Ask) -> CurrentAsk | None:
        """What this part of the page asked until now. Looked up once for each document."""
        if ask.source != self._source:
            self._source = ask.source
            self._asked = {(now.page, now.part): now for now in self._ledger.current(ask.process, ask.source)}
        return self._asked.get((ask.page, ask.part))

    def _of_page(self, page: int) -> CurrentAsk | None:
        """What any part of the page asked: it may have been cut otherwise."""
        return next((now for now in self._asked.values() if now.page == page), None)

    def _standing(self, process: str, key: str, generation: int) -> Standing:
        return standing(self._ledger.attempts(process, key, generation), self._config.max_attempts)

    def _send(self, ask: Ask, key: str, generation: int, stand: Standing) -> int:
        line = self._builder.line(ask, key, generation, stand.next_number, stand.larger_budget)
        tokens = self._builder.tokens(ask)
        check_size(ask, len(line), tokens, self._config)
        number = self._writer.add(line, tokens)
        self._ledger.add_attempt(ask.process, key, generation, stand.next_number, number, ask.expects, tokens)
        self._made.first = self._made.first or ask
        self._made.tokens += tokens
        self._made.documents += ask.source != self._last[0]
        self._made.pages += (ask.source, ask.page) != self._last
        self._last = ask.source, ask.page
        return tokens

    def _note_anew(self, ask: Ask, before: CurrentAsk, key: str, tokens: int) -> None:
        """Count an ask that takes the place of one that has its answer, or had it on the way."""
        old = self._recipe_of(before.recipe)
        stand = self._standing(ask.process, before.key, before.generation)
        if stand.state not in ("answered", "in_flight") or self._ledger.is_waiting(ask.process, before):
            return
        on_purpose = before.key == key
        reason = "on purpose" if on_purpose else what_changed(old, self._builder.recipe, before.basis != ask.basis)
        self._made.asked_anew[reason] += 1
        self._made.anew_tokens += tokens
        self._made.paid_anew += not on_purpose and "local" not in (old.provider, self._builder.recipe.provider)


def check_not_lost(process: str, ledger: Ledger, workspace: Workspace) -> None:
    """Raises ConsentError where batches were sent from here of which the ledger knows nothing: it was lost."""
    noted = workspace.batch_ids(process)
    known = {shard.batch_id or Path(shard.path).name.partition(".")[0] for shard in ledger.shards(process)}
    ids = noted.read_text(encoding="utf-8").split() if noted.exists() else []
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise ConsentError(
            f"{noted} names {len(unknown)} batches of which {ledger.path} knows nothing: it is not the one of before. "
            f"Bring their answers in with  python retrieve_results.py --process {process} --results {unknown[0]}"
            f"{' …' if len(unknown) > 1 else ''} , or add --yes to ask (and pay for) their pages anew."
        )


def what_changed(old: Recipe, new: Recipe, text_changed: bool) -> str:
    """Why an answered page is asked anew, in a few words."""
    cut_otherwise = (old.max_page_tokens, old.page_context_chars) != (new.max_page_tokens, new.page_context_chars)
    reasons = {
        "another provider": (old.provider, old.base_url) != (new.provider, new.base_url),
        "another model": old.model != new.model,
        "the prompt changed": old.prompt_sha256 != new.prompt_sha256,
        "the answer format changed": old.schema_sha256 != new.schema_sha256,
        "the parameters changed": old.params != new.params,
        "pages are cut or shown differently": cut_otherwise,
        "the text changed" if new.process == "extraction" else "what it asks about changed": text_changed
        and not cut_otherwise,
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds) or "the endpoint changed"


def drop_outdated_local(process: str, ledger: Ledger) -> None:
    """Give up local batches that nobody asks for any more: they are not paid for, and would take their time."""
    outcome = Outcome("cancelled", message="asked differently since")
    for shard in ledger.shards(process, "submitted"):
        if shard.provider == "local" and not ledger.wanted_attempts(shard.id):
            with ledger.transaction():
                ledger.close_shard(shard.id, outcome, "cancelled")
