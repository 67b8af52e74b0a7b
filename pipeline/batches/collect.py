"""In: everything that an ended batch brought, each of its requests with exactly one outcome."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.batches.cost import Pricing
from pipeline.batches.ledger import Ledger, OpenAttempt, Shard
from pipeline.batches.outcomes import Unacceptable, outcome_of
from pipeline.batches.queue import Queue, was_refused
from pipeline.batches.submit import told
from pipeline.config import Config
from pipeline.errors import UnknownBatchError, UnreachableError, WorkspaceError
from pipeline.providers.base import BatchInfo, BatchProvider
from pipeline.records import Outcome
from pipeline.workspace import Workspace

Accept = Callable[[str, int], object]  # (content, expects): raises Unacceptable for an answer that cannot be used
TRIES = 3  # batches in one round that may be asked for in vain before the others are left for the next
QUEUED = ("in_progress", "finalizing", "completed")  # statuses in which a batch has been let into the queue


@dataclass
class Collected:
    """What collecting brought, over all rounds of a command.

    `strangers`: rows that no attempt of ours was waiting for. `failed`: batches that were not let in, with the reason;
    `full`: single requests for which the queue had no room; `refused`: requests that are refused however often they are
    sent, by what was said. Of the last round alone: `running`, `elsewhere` (batches of another provider), `unknown`
    (batches, or their files, that the provider does not know) and `silent` (what it could not be asked for now).
    """

    batches: int = 0
    running: int = 0
    elsewhere: int = 0
    requeued: int = 0
    full: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    strangers: int = 0
    failed: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    def new_round(self) -> None:
        self.running = self.elsewhere = 0
        self.unknown, self.silent = [], []

    def count(self, outcome: Outcome) -> None:
        self.outcomes[outcome.kind] += 1
        if outcome.parameter:
            self.refused[outcome.message or outcome.parameter] += 1


@dataclass(frozen=True)
class Collector:
    """What collecting a stage needs. `locked()` is the lock: taken to write, never while a provider is asked."""

    process: str
    ledger: Ledger
    workspace: Workspace
    provider: BatchProvider
    config: Config
    accept: Accept
    locked: Callable[[], Any]

    def collect(self, result: Collected, watch: Callable[[BatchInfo], object] = lambda info: None) -> None:
        """Look at every submitted batch, and bring in those that have ended; what came is counted in `result`.

        A batch that cannot be asked for, or brought in, does not stop the others.
        Raises ProviderError where the provider refuses to be asked, LockedError where another command is at work.
        """
        result.new_round()
        news = list(self._news(result, watch))
        if not news:
            return
        with self.locked():
            for shard, info in news:
                if self._is_open(shard):
                    self.ledger.update_shard(shard.id, **told(info))
        for shard, info in news:
            with self.locked(), _noted(result):
                if self._is_open(shard):
                    self._take(shard, info, result)

    def _news(self, result: Collected, watch: Callable[[BatchInfo], object]) -> Iterator[tuple[Shard, BatchInfo]]:
        """The batches of which the provider says something new."""
        for shard in self.ledger.shards(self.process, "submitted"):
            if not shard.is_for(self.provider.kind, self.provider.base_url):
                result.elsewhere += 1
                continue
            if len(result.silent) >= TRIES:
                result.running += 1
                continue
            with _noted(result):
                info = self.provider.status(shard.batch_id or "")
                watch(info)
                result.running += not info.ended
                if info.ended or told(info) != {name: getattr(shard, name) for name in told(info)}:
                    yield shard, info

    def _is_open(self, shard: Shard) -> bool:
        """Whether nobody else has brought it in meanwhile."""
        now = self.ledger.shard(shard.id)
        return now is not None and now.state == "submitted"

    def _take(self, shard: Shard, info: BatchInfo, result: Collected) -> None:
        if info.status in QUEUED:
            Queue(self.ledger, self.config).passed(shard)
        if _files_are_late(info, shard):
            result.running += 1
        elif info.ended:
            self._bring_in(shard, info, result)

    def _bring_in(self, shard: Shard, info: BatchInfo, result: Collected) -> None:
        files = result_files(info, shard.process, self.workspace, self.provider)
        recorder = Recorder(shard, self.ledger, self.config, self.accept, result)
        with self.ledger.transaction():
            for file in files:
                for row in rows(file):
                    recorder.take(row)
            recorder.close(_without_row(info))
            self.ledger.update_shard(shard.id, state="collected")
            requeued = was_refused(info) and Queue(self.ledger, self.config).refused(shard, self.workspace)
        result.batches += 1
        result.requeued += requeued
        result.full += was_refused(info) and not requeued
        if info.status == "failed" and not was_refused(info):
            result.failed.append(f"{info.id}: {info.message or 'the provider gave no reason'}")


@contextmanager
def _noted(result: Collected) -> Iterator[None]:
    """What keeps one batch from being brought in is noted, and the next one has its turn."""
    try:
        yield
    except UnknownBatchError as error:
        result.unknown.append(str(error))
    except UnreachableError as error:
        result.silent.append(str(error))
        result.running += 1


def result_files(info: BatchInfo, process: str, workspace: Workspace, provider: BatchProvider) -> list[Path]:
    """The output and the error file of a batch that has ended, downloaded if they are not here yet."""
    files = []
    for file_id, kind in ((info.output_file_id, "output"), (info.error_file_id, "errors")):
        path = workspace.results(process, info.id, kind)
        if file_id and not path.exists():
            provider.download(file_id, path)
        if file_id:
            files.append(path)
    return files


class Recorder:
    """Gives the attempts of one shard their outcomes, row by row."""

    def __init__(self, shard: Shard, ledger: Ledger, config: Config, accept: Accept, result: Collected) -> None:
        self._shard, self._ledger, self._accept, self._result = shard, ledger, accept, result
        self._pricing = Pricing(config)
        self._open = ledger.open_attempts(shard.id)

    def take(self, row: dict[str, Any]) -> None:
        name = row.get("custom_id")
        attempt = self._open.pop(name, None) if isinstance(name, str) else None
        if attempt is None:
            self._result.strangers += 1
        else:
            self._record(attempt, accepted(outcome_of(row), attempt.expects, self._accept))

    def close(self, rest: Outcome) -> None:
        """All that has no row gets the outcome `rest`."""
        for attempt in self._open.values():
            self._record(attempt, rest)
        self._open = {}
        self._ledger.mark_shard(self._shard.id)

    def _record(self, attempt: OpenAttempt, outcome: Outcome) -> None:
        cost = self._pricing.cost(outcome, self._shard.provider, self._shard.model)
        self._ledger.record(attempt.id, outcome, cost)
        self._result.count(outcome)


def accepted(outcome: Outcome, expects: int, accept: Accept) -> Outcome:
    """The outcome, or `invalid_…` where its content is no answer of the stage."""
    if outcome.kind != "ok" or outcome.content is None:
        return outcome
    try:
        accept(outcome.content, expects)
    except Unacceptable as reason:
        return replace(outcome, kind=reason.kind, message=str(reason))
    return outcome


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a result file. Lines end with \\n alone; a line that is no JSON object is passed over."""
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
        raise WorkspaceError(f"{file} cannot be read ({error.strerror}): run the same command again.") from None


def _files_are_late(info: BatchInfo, before: Shard) -> bool:
    """Some servers say `completed` a moment before they name the file; it is looked at once more."""
    return info.status == "completed" != before.status and not info.output_file_id and info.done != 0


def _without_row(info: BatchInfo) -> Outcome:
    """The outcome of a request that stands in neither file."""
    if info.status == "expired":
        return Outcome("expired", message="the batch expired before this was answered")
    if info.status == "cancelled":
        return Outcome("cancelled", message="the batch was cancelled before this was answered")
    if info.status == "failed" and not was_refused(info):
        return Outcome("api_error", code="batch_failed", message=info.message or "the batch failed")
    return Outcome("missing", message=info.message or "the answer is in neither file of the batch")
