"""Collects the results of ended batches. Every request gets exactly one outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from pipeline.batches.price import Pricing
from pipeline.batches.queue import Queue, was_refused
from pipeline.batches.results import Results
from pipeline.batches.session import StageRun
from pipeline.batches.submit import as_recorded
from pipeline.errors import IncompleteResultsError, OddReplyError, UnknownBatchError, UnreachableError
from pipeline.ledger.attempts import OpenAttempt
from pipeline.ledger.batches import Batch
from pipeline.providers.base import BatchInfo
from pipeline.records import Outcome
from pipeline.stages.base import InvalidAnswer
from pipeline.text.tokens import count_tokens

MAX_UNREACHABLE = 3  # batches in one round without a reply before the others are left to the next round
ENOUGH_REFUSALS = 5  # of a batch that prove that all requests are refused
MAX_ANSWER = 200_000  # characters; several times what a full page of mentions needs
IN_QUEUE = ("in_progress", "finalizing", "completed")  # statuses of batches that the queue accepted

Lock = Callable[[], AbstractContextManager[None]]


@dataclass
class Refusals:
    """A batch of which every request was refused: what the refusals name, and how often each message occurred."""

    batch: Batch
    parameters: set[str] = field(default_factory=set)
    messages: Counter[str] = field(default_factory=Counter)


@dataclass
class Collected:
    """What was collected in all rounds of a command.

    `ignored_rows`: rows that match no pending request. `failed`: batches that the provider rejected, with the reason.
    `no_room`: single requests for which the queue had no room. `refused`: requests that would be refused every time, by
    message. `repaired`: answers whose form was repaired; `repairs`: what was repaired in them. Of the last round alone:
    `running`, `elsewhere` (batches of another provider), `unknown` (batches or files that the provider does not know)
    and `unreachable` (requests to the provider that failed).
    """

    batches: int = 0
    running: int = 0
    silent: int = 0
    elsewhere: int = 0
    requeued: int = 0
    no_room: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    repairs: Counter[str] = field(default_factory=Counter)
    ignored_rows: int = 0
    failed: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusals] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)

    def start_round(self) -> None:
        self.running = self.elsewhere = self.silent = 0
        self.unknown, self.unreachable = [], []

    def count(self, outcome: Outcome) -> None:
        self.outcomes[outcome.kind] += 1
        if outcome.repairs and outcome.kind == "ok":
            self.repaired += 1
            self.repairs.update(outcome.repairs)

    @contextmanager
    def noting_errors(self, batch: Batch) -> Iterator[None]:
        """An error that concerns one batch is noted, so that the others can be collected."""
        try:
            yield
        except UnknownBatchError as error:
            self.unknown.append(
                f"{error} If its results were saved elsewhere, run `python retrieve_results.py --process "
                f"{batch.process} --results FILE`. If they are lost, run `python batch_status.py --resolve {batch.id} "
                "lost` to ask its requests again."
            )
        except IncompleteResultsError as error:
            self.unreachable.append(
                f"{error} They will be downloaded again: run the same command again later. If that does not help, run "
                f"`python batch_status.py --resolve {batch.id} lost` to keep the answers that can be read, and ask the "
                "other requests again."
            )
            self.running += 1
        except UnreachableError as error:
            self.unreachable.append(str(error))
            self.running += 1
            self.silent += not isinstance(error, OddReplyError)


def collect(
    run: StageRun, lock: Lock, result: Collected, see: Callable[[BatchInfo], object] = lambda info: None
) -> None:
    """Ask for the status of every submitted batch and collect those that have ended; counted in `result`.

    `see` gets what the provider reports. `lock` is taken to write, never while waiting for the provider's status.
    Raises ProviderError if the provider refuses to answer, LockedError if another command is working.
    """
    result.start_round()
    changed = list(_changed(run, result, see))
    if not changed:
        _judge_refusals(run, result)
        return
    with lock():
        for batch, info in changed:
            if _is_submitted(run, batch):
                run.ledger.batches.update(batch.id, **as_recorded(info))
    ended = sum(batch.requests for batch, info in changed if info.ended)
    title = f"Collecting {run.process}"
    with tqdm(total=ended, desc=title, unit=" requests", leave=False, disable=None if ended else True) as bar:
        for batch, info in changed:
            with lock(), result.noting_errors(batch):
                if _is_submitted(run, batch):
                    _take(run, batch, info, result)
            bar.update(batch.requests if info.ended else 0)
    _judge_refusals(run, result)


def _judge_refusals(run: StageRun, result: Collected) -> None:
    """Which refusals every request would get.

    A model that has answered a request of the same kind does not refuse all of them. Its refusals are about single
    pages, unless they name a parameter of REQUEST_PARAMS or the model. One or a few requests prove nothing while other
    batches are running.
    """
    undecided = []
    for one in result.refusals:
        settings = {*run.config.params_for(one.batch.model), "model", "model_not_found"}
        if one.parameters & settings:
            result.refused += one.messages
        elif run.ledger.attempts.any_answered_like(one.batch.id):
            continue
        elif one.messages.total() >= ENOUGH_REFUSALS or not result.running:
            result.refused += one.messages
        else:
            undecided.append(one)
    result.refusals = undecided


def _changed(run: StageRun, result: Collected, see: Callable[[BatchInfo], object]) -> Iterator[tuple[Batch, BatchInfo]]:
    """The batches that have ended or whose status has changed."""
    for batch in run.batches("submitted"):
        if batch.server != run.provider.server:
            result.elsewhere += 1
            continue
        if result.silent >= MAX_UNREACHABLE:
            result.running += 1
            continue
        with result.noting_errors(batch):
            info = run.provider.status(batch.batch_id or "")
            see(info)
            result.running += not info.ended
            new = as_recorded(info)
            if info.ended or new != {name: getattr(batch, name) for name in new}:
                yield batch, info


def _is_submitted(run: StageRun, batch: Batch) -> bool:
    """Whether no other command has collected it since."""
    now = run.ledger.batches.get(batch.id)
    return now is not None and now.state == "submitted"


def _take(run: StageRun, batch: Batch, info: BatchInfo, result: Collected) -> None:
    if info.status in IN_QUEUE:
        Queue(run).note_accepted(batch)
    # Some servers report the end a moment before they name the files; they are collected in the next round.
    just_ended = info.ended and info.status not in ("failed", batch.status)  # `batch`: before this round
    has_no_file = not info.output_file_id and (info.done != 0 or not info.error_file_id)
    if just_ended and has_no_file:
        result.running += 1
    elif info.ended:
        _collect_batch(run, batch, info, result)


def _collect_batch(run: StageRun, batch: Batch, info: BatchInfo, result: Collected) -> None:
    """Raises IncompleteResultsError, and leaves the batch as it was, if answers may be missing in the files."""
    results = Results(run, info)
    try:
        requeued = _record_all(run, batch, info, results, result)
    except IncompleteResultsError:
        if not results.reused:
            raise
        requeued = _record_all(run, batch, info, Results(run, info), result)  # downloaded again
    result.batches += 1
    result.requeued += requeued
    result.no_room += was_refused(info) and not requeued
    if info.status == "failed" and not was_refused(info):
        reason = (info.message or "the provider gave no reason").rstrip(".")
        result.failed.append(f"{info.id} ({reason})")


def _record_all(run: StageRun, batch: Batch, info: BatchInfo, results: Results, result: Collected) -> bool:
    """Whether the requests were put into new files, because the queue was full."""
    recorder = Recorder(run, batch)
    with run.ledger.transaction():
        recorder.take_all(results)
        if recorder.missing:
            results.check()
        recorder.close(_outcome_without_row(info))
        run.ledger.batches.update(batch.id, state="collected")
        requeued = was_refused(info) and Queue(run).send_again(batch)
    recorder.add_to(result)
    return requeued


def collect_incomplete(run: StageRun, batch: Batch, info: BatchInfo) -> bool:
    """Collect what can be read of incomplete results; the other requests are `missing`, and can be asked again.

    Returns False, and changes nothing, if the results are complete.
    """
    recorder, results = Recorder(run, batch), Results(run, info, keep_old=True)
    try:
        with run.ledger.transaction():
            recorder.take_all(results)
            if not (recorder.missing and results.problem()):
                raise _CompleteError
            recorder.close(Outcome("missing", message="declared lost by the user"))
            run.ledger.batches.update(batch.id, state="collected", status="lost")
    except _CompleteError:
        return False
    return True


class _CompleteError(Exception):
    """Ends a transaction without keeping anything."""


class Recorder:
    """Gives the attempts of one batch their outcomes, row by row.

    What it counts is added to a `Collected` at the end, when the transaction around it cannot fail any more.
    """

    def __init__(self, run: StageRun, batch: Batch) -> None:
        self._run, self._batch = run, batch
        self._counted = Collected()
        self._pricing = Pricing(run.config)
        self._open = run.ledger.attempts.open_in_batch(batch.id)
        self._refusals = Refusals(batch)
        self._rows = 0

    @property
    def missing(self) -> int:
        """How many requests have no row so far."""
        return len(self._open)

    def take_all(self, results: Results) -> None:
        for row in results.rows():
            results.matched += self.take(row)

    def take(self, row: dict[str, Any]) -> bool:
        """Whether the row belongs to a request of the batch that had no outcome."""
        custom_id, outcome = self._run.provider.read_row(row)
        attempt = self._open.pop(custom_id, None) if isinstance(custom_id, str) else None
        if attempt is None:
            self._counted.ignored_rows += 1
            return False
        self._rows += 1
        if outcome.parameter:
            self._refusals.parameters.add(outcome.parameter)
            self._refusals.messages[outcome.message or outcome.parameter] += 1
        self._record(attempt, checked(self._run, outcome, attempt.expects))
        return True

    def close(self, rest: Outcome) -> None:
        """Requests without a row get the outcome `rest`."""
        for attempt in self._open.values():
            self._record(attempt, rest)
        self._open = {}
        self._run.ledger.documents.mark_askers_of_batch(self._batch.id)

    def add_to(self, result: Collected) -> None:
        result.outcomes += self._counted.outcomes
        if self._rows and self._refusals.messages.total() == self._rows:
            result.refusals.append(self._refusals)
        result.ignored_rows += self._counted.ignored_rows
        result.repaired += self._counted.repaired
        result.repairs += self._counted.repairs

    def _record(self, attempt: OpenAttempt, outcome: Outcome) -> None:
        if outcome.kind == "ok" and outcome.content and not outcome.prompt_tokens:
            # The server reports no usage, and MAX_COST_USD needs to know what was spent.
            outcome.prompt_tokens, outcome.completion_tokens = attempt.tokens, count_tokens(outcome.content)
        cost = self._pricing.cost(outcome, self._batch.provider, self._batch.model)
        self._run.ledger.attempts.record(attempt, outcome, cost)
        self._counted.count(outcome)


def checked(run: StageRun, outcome: Outcome, expects: int) -> Outcome:
    """The outcome with its answer in our own form, or `invalid_…` or `too_long` if the stage cannot use the answer.

    This is the only place where a model's text is parsed. The ledger keeps the accepted answer. A later stage is asked
    about everything in it, so its length is limited.
    """
    if outcome.kind != "ok" or outcome.content is None:
        return outcome
    try:
        if len(outcome.content) > MAX_ANSWER:
            raise InvalidAnswer("too_long", f"the answer has {len(outcome.content):,} characters")
        repairs = [*outcome.repairs]
        answer = run.stage.parse(outcome.content, expects, repairs)
        found = run.stage.mentions_in(answer)
        if found > run.config.max_mentions_per_page:
            raise InvalidAnswer("too_long", f"{found:,} mentions, more than MAX_MENTIONS_PER_PAGE allows")
        outcome.content, outcome.repairs = answer.model_dump_json(), tuple(repairs)
    except InvalidAnswer as reason:
        outcome.kind, outcome.message = reason.kind, str(reason)
    return outcome


def _outcome_without_row(info: BatchInfo) -> Outcome:
    """The outcome of a request that is in neither result file."""
    if info.status == "expired":
        return Outcome("expired", message="the batch expired before this was answered")
    if info.status == "cancelled":
        return Outcome("cancelled", message="the batch was cancelled before this was answered")
    if info.status == "failed" and not was_refused(info):
        return Outcome("api_error", code="batch_failed", message=info.message or "the batch failed")
    return Outcome("missing", message=info.message or "the answer is in neither result file of the batch")
