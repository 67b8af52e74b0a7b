"""The batches of all stages as tables, and what is to be done about them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tabulate import tabulate

from pipeline.batches.ledger import Ledger, Shard
from pipeline.batches.submit import told
from pipeline.cli import NEEDS_ATTENTION, OK, READY
from pipeline.config import PROCESSES
from pipeline.errors import UnknownBatchError
from pipeline.providers.base import ENDED, BatchProvider

HEADERS = ("no.", "batch", "status", "since", "done", "failed", "tokens in", "out", "cost", "age", "expires", "next")
NO_COUNT = "-"

StageCounts = Mapping[str, tuple[int, Counter[str]]]  # by process: documents, and pages by status


@dataclass
class Seen:
    """One look at all batches. `ready`: have ended and are not retrieved; `unsettled`: wait for the user's word."""

    rows: dict[str, list[list[object]]] = field(default_factory=dict)
    ready: int = 0
    unsettled: int = 0
    running: bool = False

    @property
    def exit_status(self) -> int:
        return NEEDS_ATTENTION if self.unsettled else READY if self.ready else OK

    def text(self, stages: StageCounts) -> str:
        """Tables to print: the batches of each stage, then its pages."""
        parts = []
        for process in PROCESSES:
            rows = self.rows.get(process)
            nothing = f"  no batches; python run_batch.py --process {process}"
            parts.append(f"\n{process}\n" + (tabulate(rows, headers=HEADERS) if rows else nothing))
        return "\n".join([*parts, "", _stage_table(stages)])


def look(ledger: Ledger, provider: Callable[[], BatchProvider]) -> Seen:
    """Ask how the batches are doing. The provider is made, and asked, only where something is on its way."""
    seen = Seen()
    for shard in ledger.shards():
        current, step = _now(shard, provider)
        seen.ready += step == "retrieve_results.py"
        seen.unsettled += shard.state == "creating"
        seen.running |= step == "wait"
        seen.rows.setdefault(shard.process, []).append(_row(current, step, ledger))
    return seen


def _now(shard: Shard, provider: Callable[[], BatchProvider]) -> tuple[Shard, str]:
    """The shard as the provider tells of it now, and what comes next."""
    if shard.state == "creating":
        return shard, f"--resolve {shard.id}"
    if shard.unsent:
        return shard, "waits for room"
    if shard.state == "collected":
        return shard, "retrieved"
    if not shard.is_for(provider().kind, provider().base_url):
        return shard, f"PROVIDER {shard.provider}, {shard.base_url}"
    try:
        info = provider().status(shard.batch_id or "")
    except UnknownBatchError:
        return replace(shard, status="unknown there"), "another key? or --resolve"
    return replace(shard, **told(info)), "retrieve_results.py" if info.status in ENDED else "wait"  # type: ignore[arg-type]


def _row(shard: Shard, step: str, ledger: Ledger) -> list[object]:
    tokens_in, tokens_out, cost = ledger.shard_usage(shard.id)
    done = f"{NO_COUNT if shard.done is None else shard.done}/{shard.requests}"
    return [
        shard.id, shard.batch_id or NO_COUNT, shard.status or f"not sent ({shard.state})", _moment(shard.since), done,
        NO_COUNT if shard.failed is None else shard.failed, tokens_in or f"~{shard.tokens}", tokens_out or NO_COUNT,
        NO_COUNT if cost is None else f"${cost:.4f}", _age(shard.created), _moment(shard.expires), step,
    ]  # fmt: skip


def _stage_table(stages: StageCounts) -> str:
    rows = []
    for process, (documents, pages) in stages.items():
        failed = sum(count for status, count in pages.items() if status.startswith("failed:"))
        waiting = pages["pending"] + pages["not_sent"]
        rest = pages.total() - pages["answered"] - failed - waiting
        rows.append([process, documents, pages["answered"], waiting, failed, rest])
    return tabulate(rows, headers=("stage", "documents", "pages answered", "waiting", "failed", "nothing to ask"))


def _moment(seconds: int | None) -> str:
    return datetime.fromtimestamp(seconds).strftime("%m-%d %H:%M") if seconds else NO_COUNT


def _age(created: int | None) -> str:
    if not created:
        return NO_COUNT
    minutes = max(0, int(time.time()) - created) // 60
    return f"{minutes // 60}:{minutes % 60:02d} h"
