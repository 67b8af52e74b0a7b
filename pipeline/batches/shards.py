"""The files of requests: written under the caps, and written anew where what they ask has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.batches.ledger import Ledger, Shard, custom_id, parse_custom_id
from pipeline.config import Config
from pipeline.errors import WorkspaceError
from pipeline.workspace import ReplacedFile, Workspace


@dataclass(frozen=True)
class ShardCaps:
    """No batch may have more of any of these. A single request over `max_tokens` still gets a batch of its own."""

    max_requests: int
    max_bytes: int
    max_tokens: int | None

    @classmethod
    def of(cls, config: Config, learned: int | None = None) -> ShardCaps:
        """`learned`: the input tokens that the provider is known to queue, if it has refused more."""
        tokens = [limit for limit in (config.max_enqueued_tokens, learned) if limit is not None]
        return cls(config.max_requests_per_batch, config.max_bytes_per_batch, min(tokens, default=None))

    def hold(self, requests: int, size: int, tokens: int) -> bool:
        within = requests <= self.max_requests and size <= self.max_bytes
        return within and (self.max_tokens is None or tokens <= self.max_tokens or requests == 1)


@dataclass(frozen=True)
class Destination:
    """Whose batch a shard becomes."""

    process: str
    provider: str
    base_url: str
    model: str

    @classmethod
    def of(cls, shard: Shard) -> Destination:
        return cls(shard.process, shard.provider, shard.base_url, shard.model)


class ShardWriter:
    """Fills one file after another. Closed inside a transaction of the ledger; if that fails, the files go too.

    With `dry` nothing is written, and the shards are only counted.
    """

    def __init__(
        self, destination: Destination, ledger: Ledger, workspace: Workspace, caps: ShardCaps, dry: bool = False
    ) -> None:
        self.sizes: list[int] = []  # input tokens of each finished shard
        self._destination, self._ledger, self._workspace, self._caps = destination, ledger, workspace, caps
        self._dry = dry
        self._file: ReplacedFile | None = None
        self._made: list[Path] = []
        self._number = first_free_number(ledger, workspace)
        self._requests = self._bytes = self._tokens = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file:
            self._file.discard()
        for path in self._made if kind else ():
            path.unlink(missing_ok=True)

    def add(self, line: bytes, tokens: int) -> int:
        """Write a request; returns the number of the shard that it is in."""
        if self._requests and not self._caps.hold(self._requests + 1, self._bytes + len(line), self._tokens + tokens):
            self.close()
        if self._file is None and not self._dry:
            self._file = ReplacedFile(self._path(), durable=True)
        if self._file:
            self._file.write(line)
        self._requests, self._bytes, self._tokens = self._requests + 1, self._bytes + len(line), self._tokens + tokens
        return self._number

    def close(self) -> None:
        """Finish the file that is being filled: it takes its name before the ledger speaks of it."""
        if not self._requests:
            return
        if self._file:
            self._made.append(self._path())
            self._file.keep()
        to = self._destination
        path = self._path().relative_to(self._workspace.root).as_posix()
        whose = (to.provider, to.base_url, to.model)
        counts = (self._requests, self._bytes, self._tokens)
        self._ledger.add_shard(Shard(self._number, to.process, path, "written", *whose, *counts))
        self.sizes.append(self._tokens)
        self._number, self._file = self._number + 1, None
        self._requests = self._bytes = self._tokens = 0

    def _path(self) -> Path:
        return self._workspace.shard(self._destination.process, self._number)


def first_free_number(ledger: Ledger, workspace: Workspace) -> int:
    """Of a shard. After a lost ledger the files of before are still there, and are not written over."""
    return max(ledger.next_shard_number(), workspace.last_shard() + 1)


def request_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """(custom id, line) of every request of a shard's file. Raises WorkspaceError where it cannot be read."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield json.loads(line)["custom_id"], line
    except (OSError, ValueError, KeyError) as error:
        raise WorkspaceError(f"{path} cannot be read ({error}): restore it, then run the same command again.") from None


def tidy_unsent(ledger: Ledger, workspace: Workspace, config: Config) -> None:
    """Take out of the files that were not sent yet what nobody asks any more, and split those that are over the caps.

    A file that is gone is forgotten: what it asked is planned again.
    """
    for shard in ledger.shards():
        if shard.state not in ("written", "uploaded"):
            continue
        caps = ShardCaps.of(config, ledger.queue_limit(shard.provider, shard.base_url, shard.model))
        if not (workspace.root / shard.path).exists():
            with ledger.transaction():
                ledger.mark_shard(shard.id)
                ledger.forget_shard(shard.id)
            continue
        wanted = ledger.wanted_attempts(shard.id)
        if len(wanted) < shard.requests or not caps.hold(shard.requests, shard.bytes, shard.tokens):
            _regroup(shard, wanted, caps, ledger, workspace)


def _regroup(shard: Shard, wanted: set[str], caps: ShardCaps, ledger: Ledger, workspace: Workspace) -> None:
    """The wanted requests of a shard in new files."""
    path = workspace.root / shard.path
    with ShardWriter(Destination.of(shard), ledger, workspace, caps) as writer, ledger.transaction():
        ledger.mark_shard(shard.id)
        for name, line in request_lines(path) if wanted else ():
            attempt = parse_custom_id(name)
            if name in wanted and attempt:
                _, tokens = ledger.attempt_tokens(*attempt)
                ledger.move_attempt(*attempt, shard=writer.add(line, tokens))
        writer.close()
        ledger.forget_shard(shard.id)
    path.unlink(missing_ok=True)


def send_again(shard: Shard, caps: ShardCaps, ledger: Ledger, workspace: Workspace) -> None:
    """The requests of a batch that the provider's queue had no room for, as new attempts in new files.

    Called inside the transaction in which the old attempts get their outcome.
    """
    with ShardWriter(Destination.of(shard), ledger, workspace, caps) as writer:
        for name, line in request_lines(workspace.root / shard.path):
            attempt = parse_custom_id(name)
            if attempt is None or not ledger.is_open_question(attempt):
                continue
            process, key, generation, number = attempt
            expects, tokens = ledger.attempt_tokens(*attempt)
            renamed = json.loads(line) | {"custom_id": custom_id(process, key, generation, number + 1)}
            shard_number = writer.add(json.dumps(renamed, separators=(",", ":")).encode("ascii") + b"\n", tokens)
            ledger.add_attempt(process, key, generation, number + 1, shard_number, expects, tokens)
        writer.close()
