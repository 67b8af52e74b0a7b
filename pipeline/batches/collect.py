"""Downloads the results of ended batches. Every request gets exactly one outcome."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.batches.price import Pricing
from pipeline.batches.queue import Queue, was_refused
from pipeline.batches.session import StageRun
from pipeline.batches.submit import as_recorded
from pipeline.errors import UnknownBatchError, UnreachableError, WorkspaceError
from pipeline.ledger.attempts import OpenAttempt
from pipeline.ledger.batches import Batch
from pipeline.providers.base import BatchInfo
from pipeline.records import Outcome
from pipeline.stages import Stage
from pipeline.stages.base import InvalidAnswer

MAX_UNREACHABLE = 3  # batches in one round without a reply before the others are left to the next round
IN_QUEUE = ("in_progress", "finalizing", "completed")  # statuses of batches that the queue accepted

Lock = Callable[[], AbstractContextManager[None]]


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
    elsewhere: int = 0
    requeued: int = 0
    no_room: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    repairs: Counter[str] = field(default_factory=Counter)
    ignored_rows: int = 0
    failed: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)

    def start_round(self) -> None:
        self.running = self.elsewhere = 0
        self.unknown, self.unreachable = [], []

    def count(self, outcome: Outcome) -> None:
        self.outcomes[outcome.kind] += 1
        if outcome.repairs and outcome.kind == "ok":
            self.repaired += 1
            self.repairs.update(outcome.repairs)
        if outcome.parameter:
            self.refused[outcome.message or outcome.parameter] += 1

    @contextmanager
    def noting_errors(self, batch: Batch) -> Iterator[None]:
        """An error that concerns one batch is noted, so that the others can be collected."""
        try:
            yield
        except UnknownBatchError as error:
            self.unknown.append(
                f"{error} If its results were saved elsewhere, run  python retrieve_results.py --process "
                f"{batch.process} --results FILE . If they are lost, run  python batch_status.py --resolve {batch.id} "
                "lost  to ask its requests again."
            )
        except UnreachableError as error:
            self.unreachable.append(str(error))
            self.running += 1


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
        return
    with lock():
        for batch, info in changed:
            if _is_submitted(run, batch):
                run.ledger.batches.update(batch.id, **as_recorded(info))
    for batch, info in changed:
        with lock(), result.noting_errors(batch):
            if _is_submitted(run, batch):
                _take(run, batch, info, result)


def _changed(run: StageRun, result: Collected, see: Callable[[BatchInfo], object]) -> Iterator[tuple[Batch, BatchInfo]]:
    """The batches that have ended or whose status has changed."""
    for batch in run.batches("submitted"):
        if batch.server != run.provider.server:
            result.elsewhere += 1
            continue
        if len(result.unreachable) >= MAX_UNREACHABLE:
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
    # Some servers report `completed` a moment before they name the file; it is collected in the next round.
    just_completed = info.status == "completed" and batch.status != "completed"  # `batch`: before this round
    if just_completed and not info.output_file_id and info.done != 0:
        result.running += 1
    elif info.ended:
        _collect_batch(run, batch, info, result)


def _collect_batch(run: StageRun, batch: Batch, info: BatchInfo, result: Collected) -> None:
    files = result_files(run, info)
    recorder = Recorder(run, batch, result)
    with run.ledger.transaction():
        for file in files:
            for row in rows(file):
                recorder.take(row)
        recorder.close(_outcome_without_row(info))
        run.ledger.batches.update(batch.id, state="collected")
        requeued = was_refused(info) and Queue(run).send_again(batch)
    result.batches += 1
    result.requeued += requeued
    result.no_room += was_refused(info) and not requeued
    if info.status == "failed" and not was_refused(info):
        reason = (info.message or "the provider gave no reason").rstrip(".")
        result.failed.append(f"{info.id} ({reason})")


def result_files(run: StageRun, info: BatchInfo) -> list[Path]:
    """The output and the error file of an ended batch, downloaded if they are not here yet. Raises ProviderError."""
    files = []
    for file_id, kind in ((info.output_file_id, "output"), (info.error_file_id, "errors")):
        path = run.workspace.results(run.process, info.id, kind)
        if file_id and not path.exists():
            run.provider.download(file_id, path)
        if file_id:
            files.append(path)
    return files


class Recorder:
    """Gives the attempts of one batch their outcomes, row by row."""

    def __init__(self, run: StageRun, batch: Batch, result: Collected) -> None:
        self._run, self._batch, self._result = run, batch, result
        self._pricing = Pricing(run.config)
        self._open = run.ledger.attempts.open_in_batch(batch.id)

    def take(self, row: dict[str, Any]) -> None:
        custom_id, outcome = self._run.provider.read_row(row)
        attempt = self._open.pop(custom_id, None) if isinstance(custom_id, str) else None
        if attempt is None:
            self._result.ignored_rows += 1
        else:
            self._record(attempt, checked(self._run.stage, outcome, attempt.expects))

    def close(self, rest: Outcome) -> None:
        """Requests without a row get the outcome `rest`."""
        for attempt in self._open.values():
            self._record(attempt, rest)
        self._open = {}
        self._run.ledger.documents.mark_askers_of_batch(self._batch.id)

    def _record(self, attempt: OpenAttempt, outcome: Outcome) -> None:
        cost = self._pricing.cost(outcome, self._batch.provider, self._batch.model)
        self._run.ledger.attempts.record(attempt, outcome, cost)
        self._result.count(outcome)


def checked(stage: Stage, outcome: Outcome, expects: int) -> Outcome:
    """The outcome with its answer in our own form, or `invalid_…` if the stage cannot use the answer.

    This is the only place where a model's text is parsed. The ledger keeps the accepted answer.
    """
    if outcome.kind != "ok" or outcome.content is None:
        return outcome
    try:
        repairs = [*outcome.repairs]
        outcome.content = stage.parse(outcome.content, expects, repairs).model_dump_json()
        outcome.repairs = tuple(repairs)
    except InvalidAnswer as reason:
        outcome.kind, outcome.message = reason.kind, str(reason)
    return outcome


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a result file. Lines end with \\n only. A line that is not a JSON object is skipped.

    Raises WorkspaceError if the file cannot be read.
    """
    try:
        with file.open("rb") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict):
                    yield row
    except OSError as error:
        raise WorkspaceError(
            f"Cannot read {file} ({error.strerror}): check the path, then run the same command again."
        ) from None


def _outcome_without_row(info: BatchInfo) -> Outcome:
    """The outcome of a request that is in neither result file."""
    if info.status == "expired":
        return Outcome("expired", message="the batch expired before this was answered")
    if info.status == "cancelled":
        return Outcome("cancelled", message="the batch was cancelled before this was answered")
    if info.status == "failed" and not was_refused(info):
        return Outcome("api_error", code="batch_failed", message=info.message or "the batch failed")
    return Outcome("missing", message=info.message or "the answer is in neither result file of the batch")
