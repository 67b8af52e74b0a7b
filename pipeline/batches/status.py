"""The batches of a stage as a table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pipeline.batches.ledger import Ledger, Shard
from pipeline.batches.submit import OPEN_STATES
from pipeline.providers.base import BatchInfo, BatchProvider

HEADERS = ("no.", "batch", "status", "created", "requests", "done", "failed", "next")


def status_rows(process: str, ledger: Ledger, provider: Callable[[], BatchProvider]) -> list[list[object]]:
    """A row a batch, oldest first. The provider is made, and asked, only where something is on its way."""
    return [_row(shard, provider) for shard in ledger.shards(process)]


def _row(shard: Shard, provider: Callable[[], BatchProvider]) -> list[object]:
    if shard.state in OPEN_STATES:
        step = "settle it: --resolve" if shard.state == "creating" else "run_batch.py"
        return [shard.id, "-", f"not sent ({shard.state})", "-", shard.requests, "-", "-", step]
    if shard.state == "collected":
        return [shard.id, shard.batch_id, shard.status, "-", shard.requests, "-", "-", "retrieved"]
    if (shard.provider, shard.base_url) != (provider().kind, provider().base_url):
        return [shard.id, shard.batch_id, shard.status, "-", shard.requests, "-", "-", f"PROVIDER {shard.provider}"]
    return _live(shard, provider().status(shard.batch_id or ""))


def _live(shard: Shard, info: BatchInfo) -> list[object]:
    created = datetime.fromtimestamp(info.created).strftime("%Y-%m-%d %H:%M") if info.created else "?"
    counts = ["?" if count is None else count for count in (info.done, info.failed)]
    step = "retrieve_results.py" if info.ended else "wait"
    return [shard.id, info.id, info.status, created, shard.requests, *counts, step]
