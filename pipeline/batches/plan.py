"""Which questions must be sent: those without an answer and without an attempt in progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipeline.batches.request_files import RequestFileWriter, limits_for
from pipeline.batches.session import StageRun
from pipeline.errors import ConfigError, ConsentError
from pipeline.ledger.asks import CurrentAsk
from pipeline.ledger.batches import Destination
from pipeline.ledger.ids import AskId
from pipeline.ledger.state import NEVER_SENT, AskState, ask_state
from pipeline.processes import FIRST
from pipeline.providers import answers_here, is_free
from pipeline.records import Ask, Outcome, Recipe
from pipeline.words import counted


@dataclass(frozen=True)
class DocumentQuestions:
    """The questions about the selected pages of one document.

    `open_pages`: all its pages that may be asked about, now or when the previous stage has finished them.
    `left_out`: the questions about selected pages that the prefilter leaves out. These pages are not open.
    """

    source: str
    asks: list[Ask]
    open_pages: set[int]
    left_out: list[Ask] = field(default_factory=list)


@dataclass(frozen=True)
class PlanOptions:
    """`again`: which questions are asked again on purpose. `dry`: write no file and keep nothing."""

    again: str | None = None  # all, failed
    dry: bool = False


@dataclass
class Plan:
    """The state of all questions of a run. Each is counted once.

    `documents` and `pages` count those with something to send, `tokens` the input tokens of that.
    `tokens_by_batch`: input tokens of each new request file. `asked_again`: requests that replace a question that was
    asked before, by reason, `again_tokens` their input tokens, `paid_again` those whose answer was or will be paid for.
    `left_out` questions, about `pages_left_out` pages, are not asked because of the prefilter. `tokens_left_out`: their
    input tokens, which only a dry run counts, because that takes time.
    """

    answered: int = 0
    in_progress: int = 0
    given_up: int = 0
    to_send: int = 0
    pages: int = 0
    documents: int = 0
    tokens: int = 0
    tokens_by_batch: list[int] = field(default_factory=list)
    asked_again: Counter[str] = field(default_factory=Counter)
    again_tokens: int = 0
    paid_again: int = 0
    left_out: int = 0
    pages_left_out: int = 0
    tokens_left_out: int = 0
    first: Ask | None = None

    @property
    def asks(self) -> int:
        return self.answered + self.in_progress + self.given_up + self.to_send


class _Discard(Exception):
    """Ends a transaction without keeping anything."""


def plan(
    run: StageRun, documents: Iterable[DocumentQuestions], options: PlanOptions, agree: Callable[[Plan], bool]
) -> Plan:
    """Make these the current questions, and write those that must be sent to request files.

    All or nothing: if `agree` returns False or raises, or the run is dry, the ledger stays as it was.
    """
    recipe = run.requests.recipe
    destination = Destination(recipe.provider, recipe.base_url, recipe.model)
    made = Plan()
    with (
        suppress(_Discard),
        RequestFileWriter(run, destination, limits_for(run, destination), options.dry) as writer,
        run.ledger.transaction(),
    ):
        planner = _Planner(run, writer, options, made)
        for document in documents:
            planner.take(document)
        writer.close()
        made.tokens_by_batch = writer.tokens_by_batch
        if not agree(made) or options.dry:
            raise _Discard
    return made


class _Planner:
    """Decides question by question, and counts."""

    def __init__(self, run: StageRun, writer: RequestFileWriter, options: PlanOptions, made: Plan) -> None:
        self._run, self._ledger, self._writer, self._options, self._made = run, run.ledger, writer, options, made
        self._recipe = run.ledger.asks.recipe_number(run.requests.recipe)
        self._old_recipe = cache(run.ledger.asks.recipe)
        self._new_generation = run.ledger.attempts.generation_for_again(run.process) if options.again else 0
        self._current: dict[tuple[int, int], CurrentAsk] = {}  # of the document being planned
        self._counted_pages: set[int] = set()

    def take(self, document: DocumentQuestions) -> None:
        current = self._ledger.asks.of_document(self._run.process, document.source)
        self._current = {(ask.page, ask.part): ask for ask in current}
        self._counted_pages = set()
        self._ledger.asks.drop(self._run.process, document.source, self._obsolete(document))
        changed = [self._take(ask) for ask in document.asks]
        if any(changed):
            self._ledger.documents.mark_outdated(self._run.process, document.source)
        self._made.pages += len(self._counted_pages)
        self._made.documents += bool(self._counted_pages)
        self._made.left_out += len(document.left_out)
        self._made.pages_left_out += len({ask.page for ask in document.left_out})
        if self._options.dry:
            self._made.tokens_left_out += sum(map(self._run.requests.tokens, document.left_out))

    def _obsolete(self, document: DocumentQuestions) -> list[tuple[int, int]]:
        """The (page, part) that are not asked any more: the page is gone or was cut into other parts."""
        asked = {(ask.page, ask.part) for ask in document.asks}
        pages = {page for page, _ in asked}
        return [
            (page, part)
            for page, part in self._current
            if page not in document.open_pages or (page in pages and (page, part) not in asked)
        ]

    def _take(self, ask: Ask) -> bool:
        """Returns whether the document must be written again."""
        before = self._current.get((ask.page, ask.part))
        ask_id, state = self._wanted(ask, before)
        changed = self._ledger.asks.set_current(ask, ask_id, self._recipe, before)
        # The counters of a plan have the names of the states.
        setattr(self._made, state.state, getattr(self._made, state.state) + 1)
        if state.state == "to_send":
            tokens = self._send(ask, ask_id, state)
            # The page may have been cut into other parts before.
            replaced = before or next((old for old in self._current.values() if old.page == ask.page), None)
            if replaced and replaced.id != ask_id:
                self._count_asked_again(ask, replaced, ask_id, tokens)
        # MAX_ATTEMPTS may have changed since: a page that is given up now may be `pending` in its file.
        return changed or state.state == "given_up"

    def _wanted(self, ask: Ask, before: CurrentAsk | None) -> tuple[AskId, AskState]:
        """The question in the generation that counts, and its state."""
        key = self._run.requests.key(ask)
        if before and before.key == key:
            known: int | None = before.generation
        else:
            known = self._ledger.attempts.generation(ask.process, key)
        ask_id = AskId(ask.process, key, known or 0)
        state = NEVER_SENT if known is None else self._state(ask_id)
        repeatable = ("given_up",) if self._options.again == "failed" else ("given_up", "answered")
        if self._options.again and state.state in repeatable and ask_id.generation < self._new_generation:
            ask_id = ask_id._replace(generation=self._new_generation)
            state = self._state(ask_id)
        return ask_id, state

    def _state(self, ask: AskId) -> AskState:
        return ask_state(self._ledger.attempts.of_ask(ask), self._run.config.max_attempts)

    def _send(self, ask: Ask, ask_id: AskId, state: AskState) -> int:
        """Write the request; returns its input tokens."""
        attempt = ask_id.attempt(state.next_number)
        line = self._run.requests.line(ask, attempt, state.larger_budget)
        tokens = self._run.requests.tokens(ask)
        limits = self._run.config
        if len(line) > limits.max_bytes_per_batch or tokens > (limits.max_enqueued_tokens or tokens):
            raise ConfigError(
                f"Page {ask.page} of document '{ask.source}' ({len(line):,} bytes, {tokens:,} tokens) does not fit in "
                "a batch: raise MAX_BYTES_PER_BATCH or MAX_ENQUEUED_TOKENS in config.yaml."
            )
        self._ledger.attempts.add(attempt, self._writer.add(line, tokens), ask.expects, tokens)
        self._made.first = self._made.first or ask
        self._made.tokens += tokens
        self._counted_pages.add(ask.page)
        return tokens

    def _count_asked_again(self, ask: Ask, old: CurrentAsk, ask_id: AskId, tokens: int) -> None:
        """Count a question that replaces one that was answered or is in progress."""
        unsent = self._ledger.attempts.is_unsent(old.id)
        if self._state(old.id).state not in ("answered", "in_progress") or unsent:
            return
        recipe = self._old_recipe(old.recipe)
        on_purpose = old.key == ask_id.key
        reason = (
            "--again"
            if on_purpose
            else what_changed(recipe, self._run.requests.recipe, input_changed=old.input_hash != ask.input_hash)
        )
        self._made.asked_again[reason] += 1
        self._made.again_tokens += tokens
        self._made.paid_again += not (on_purpose or is_free(recipe.provider) or self._run.provider.is_free)


def check_ledger_is_complete(run: StageRun) -> None:
    """Raises ConsentError if batches were submitted from this folder that the ledger does not know."""
    path = run.workspace.batch_ids(run.process)
    known = {batch.batch_id or Path(batch.path).name.partition(".")[0] for batch in run.batches()}
    unknown = [batch_id for batch_id in run.workspace.listed_batches(run.process) if batch_id not in known]
    if unknown:
        more = " …" if len(unknown) > 1 else ""
        batches = counted(len(unknown), "batch", "batches")
        raise ConsentError(
            f"{path} lists {batches} that {run.ledger.path} does not know: the ledger was replaced or lost. Import "
            f"the answers with `python retrieve_results.py --process {run.process} --results {unknown[0]}{more}`, or "
            "add --yes to ask (and pay for) these pages again."
        )


def what_changed(old: Recipe, new: Recipe, input_changed: bool) -> str:
    """Why an answered page would be asked again, in a few words."""
    chunks_changed = (old.max_page_tokens, old.page_context_chars) != (new.max_page_tokens, new.page_context_chars)
    input_name = "the text changed" if new.process == FIRST else "the page or its datasets changed"
    reasons = {
        "another provider": (old.provider, old.base_url) != (new.provider, new.base_url),
        "another model": old.model != new.model,
        "the prompt changed": old.prompt_sha256 != new.prompt_sha256,
        "the answer format changed": old.schema_sha256 != new.schema_sha256,
        "the parameters changed": old.params != new.params,
        "MAX_PAGE_TOKENS or PAGE_CONTEXT_CHARS changed": chunks_changed,
        input_name: input_changed and not chunks_changed,
    }
    return (
        ", ".join(reason for reason, holds in reasons.items() if holds)
        or "the endpoint or the wording of the question changed"
    )


def drop_obsolete_local_batches(run: StageRun) -> None:
    """End batches that are answered on this machine and that no page asks any more: they would only take time."""
    outcome = Outcome("cancelled", message="the question has changed since")
    for batch in run.batches("submitted"):
        if answers_here(batch.provider) and not run.ledger.attempts.wanted_in_batch(batch.id):
            with run.ledger.transaction():
                run.ledger.batches.close(batch.id, outcome, "cancelled")
