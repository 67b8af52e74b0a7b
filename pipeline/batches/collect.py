"""In: everything that an ended batch brought, each of its requests with exactly one outcome."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.batches.cost import cost_of
from pipeline.batches.ledger import Ledger, Shard, parse_custom_id
from pipeline.batches.outcomes import Unacceptable, outcome_of
from pipeline.errors import WorkspaceError
from pipeline.providers.base import BatchInfo, BatchProvider
from pipeline.records import Outcome
from pipeline.workspace import Workspace

Accept = Callable[[str, int], object]  # (content, expects): raises Unacceptable for an answer that cannot be used


@dataclass
class Collected:
    """What one round of collecting brought. `strangers` are rows that no attempt of ours was waiting for."""

    batches: int = 0
    running: int = 0
    elsewhere: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    strangers: int = 0
    failed: list[str] = field(default_factory=list)


def collect(
    process: str, ledger: Ledger, workspace: Workspace, provider: BatchProvider, accept: Accept,
    locked: Callable[[], Any], watch: Callable[[BatchInfo], object] = lambda info: None,
) -> Collected:  # fmt: skip
    """Look at every submitted batch, and bring in those that have ended.

    `locked()` is the lock, taken for each batch that is brought in and never while a provider is asked how it is doing.
    """
    result = Collected()
    for shard in ledger.shards(process, "submitted"):
        if (shard.provider, shard.base_url) != (provider.kind, provider.base_url):
            result.elsewhere += 1
            continue
        info = provider.status(shard.batch_id or "")
        watch(info)
        if not info.ended:
            result.running += 1
            ledger.update_shard(shard.id, status=info.status)
            continue
        with locked():
            if any(other.id == shard.id for other in ledger.shards(process, "submitted")):
                _collect(shard, info, ledger, workspace, provider, accept, result)
    return result


def _collect(
    shard: Shard, info: BatchInfo, ledger: Ledger, workspace: Workspace, provider: BatchProvider, accept: Accept,
    result: Collected,
) -> None:  # fmt: skip
    files = [
        _fetched(file_id, workspace.results(shard.process, info.id, kind), provider)
        for file_id, kind in ((info.output_file_id, "output"), (info.error_file_id, "errors"))
        if file_id
    ]
    with ledger.transaction():
        for file in files:
            for row in rows(file):
                _record(row, shard, ledger, accept, result)
        rest = _without_row(info)
        for key, generation, number in ledger.open_attempts(shard.id):
            ledger.record(shard.process, key, generation, number, rest, None)
            result.outcomes[rest.kind] += 1
        ledger.update_shard(shard.id, state="collected", status=info.status, message=info.message)
    result.batches += 1
    if info.status == "failed":
        result.failed.append(f"{info.id}: {info.message or 'the provider gave no reason'}")


def _record(row: dict[str, Any], shard: Shard, ledger: Ledger, accept: Accept, result: Collected) -> None:
    name = parse_custom_id(row.get("custom_id"))
    expects = ledger.open_attempt(*name) if name and name[0] == shard.process else None
    if name is None or expects is None:
        result.strangers += 1
        return
    outcome = accepted(outcome_of(row), expects, accept)
    ledger.record(*name, outcome, cost_of(outcome, shard.provider, shard.model))
    result.outcomes[outcome.kind] += 1


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
                except ValueError:
                    continue
                if isinstance(row, dict):
                    yield row
    except OSError as error:
        raise WorkspaceError(f"{file} cannot be read ({error.strerror}): run the same command again.") from None


def _fetched(file_id: str, path: Path, provider: BatchProvider) -> Path:
    if not path.exists():
        provider.download(file_id, path)
    return path


def _without_row(info: BatchInfo) -> Outcome:
    """The outcome of a request that stands in neither file."""
    if info.status == "expired":
        return Outcome("expired", message="the batch expired before this was answered")
    if info.status == "cancelled":
        return Outcome("cancelled", message="the batch was cancelled before this was answered")
    if info.status == "failed" and "token_limit_exceeded" not in (info.message or ""):
        return Outcome("api_error", code="batch_failed", message=info.message or "the batch failed")
    return Outcome("missing", message=info.message or "the answer is in neither file of the batch")
