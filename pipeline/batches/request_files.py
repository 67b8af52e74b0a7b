"""Request files: written within the limits of a batch, and written again if their questions have changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.batches.session import StageRun
from pipeline.config import Config
from pipeline.errors import WorkspaceError
from pipeline.files import ReplacedFile
from pipeline.ledger.batches import Batch, Destination
from pipeline.ledger.ids import AttemptId


@dataclass(frozen=True)
class Limits:
    """The largest batch. A single request with more than `max_tokens` still gets a batch of its own."""

    max_requests: int
    max_bytes: int
    max_tokens: int | None

    @classmethod
    def of(cls, config: Config, learned: int | None = None) -> Limits:
        """`learned`: input tokens that the provider is known to queue, if it has refused more."""
        tokens = [limit for limit in (config.max_enqueued_tokens, learned) if limit is not None]
        return cls(config.max_requests_per_batch, config.max_bytes_per_batch, min(tokens, default=None))

    def allow(self, requests: int, size: int, tokens: int) -> bool:
        within = requests <= self.max_requests and size <= self.max_bytes
        return within and (self.max_tokens is None or tokens <= self.max_tokens or requests == 1)


class RequestFileWriter:
    """Fills one file after another. Must be closed inside a transaction of the ledger.

    If that fails, the files are deleted. With `dry` no file is written, and batches are only counted.
    """

    def __init__(self, run: StageRun, destination: Destination, limits: Limits, dry: bool = False) -> None:
        self.tokens_by_batch: list[int] = []  # of finished files
        self._run, self._destination, self._limits, self._dry = run, destination, limits, dry
        # The ledger may have been lost while its files were kept: their numbers are not used again.
        self._number = max(run.ledger.batches.next_number(), run.workspace.last_request_file() + 1)
        self._file: ReplacedFile | None = None
        self._written: list[Path] = []
        self._requests = self._bytes = self._tokens = 0

    def __enter__(self) -> RequestFileWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file:
            self._file.discard()
        for path in self._written if kind else ():
            path.unlink(missing_ok=True)

    def add(self, line: bytes, tokens: int) -> int:
        """Write a request; returns the number of the batch that it is in."""
        if self._requests and not self._limits.allow(
            self._requests + 1, self._bytes + len(line), self._tokens + tokens
        ):
            self.close()
        if self._file is None and not self._dry:
            self._file = ReplacedFile(self._path(), durable=True)
        if self._file:
            self._file.write(line)
        self._requests, self._bytes, self._tokens = self._requests + 1, self._bytes + len(line), self._tokens + tokens
        return self._number

    def close(self) -> None:
        """Finish the current file. The file gets its name before the ledger mentions it."""
        if not self._requests:
            return
        if self._file:
            self._written.append(self._path())
            self._file.keep()
        path = self._path().relative_to(self._run.workspace.root).as_posix()
        counts = (self._requests, self._bytes, self._tokens)
        batch = Batch(self._number, self._run.process, path, "written", *self._destination, *counts)
        self._run.ledger.batches.add(batch)
        self.tokens_by_batch.append(self._tokens)
        self._number, self._file = self._number + 1, None
        self._requests = self._bytes = self._tokens = 0

    def _path(self) -> Path:
        return self._run.workspace.request_file(self._run.process, self._number)


def limits_for(run: StageRun, destination: Destination) -> Limits:
    """The limits of the settings, and what the provider was found to queue."""
    return Limits.of(run.config, run.ledger.batches.queue_limit(destination))


def request_lines(path: Path) -> Iterator[tuple[AttemptId | None, bytes]]:
    """(attempt, line) of every request in a file. Raises WorkspaceError if it cannot be read."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield AttemptId.parse(json.loads(line)["custom_id"]), line
    except (OSError, ValueError, KeyError) as error:
        raise WorkspaceError(f"Cannot read {path} ({error}): restore it, then run the same command again.") from None


def update_unsent_files(run: StageRun) -> None:
    """Remove requests that no page asks any more from files that were not sent, and split files over the limits.

    A file that is missing is forgotten: its questions are planned again.
    """
    for batch in run.batches():
        if batch.state not in ("written", "uploaded"):
            continue
        if not (run.workspace.root / batch.path).exists():
            with run.ledger.transaction():
                run.ledger.batches.forget(batch.id)
            continue
        limits = limits_for(run, batch.destination)
        wanted = run.ledger.attempts.wanted_in_batch(batch.id)
        if len(wanted) < batch.requests or not limits.allow(batch.requests, batch.bytes, batch.tokens):
            _rewrite(run, batch, wanted, limits)


def _rewrite(run: StageRun, batch: Batch, wanted: set[str], limits: Limits) -> None:
    """Move the wanted requests of a file to new files."""
    path, attempts = run.workspace.root / batch.path, run.ledger.attempts
    with RequestFileWriter(run, batch.destination, limits) as writer, run.ledger.transaction():
        for attempt_id, line in request_lines(path) if wanted else ():
            attempt = attempts.open(attempt_id) if attempt_id and attempt_id.custom_id in wanted else None
            if attempt:
                attempts.move(attempt, writer.add(line, attempt.tokens))
        writer.close()
        run.ledger.batches.forget(batch.id)
    path.unlink(missing_ok=True)
