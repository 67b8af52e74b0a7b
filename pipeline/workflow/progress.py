"""A progress bar over the requests of all submitted batches."""

from __future__ import annotations

from tqdm import tqdm

from pipeline.batches.session import StageRun
from pipeline.providers.base import BatchInfo


class BatchProgress:
    """One bar for all batches of a stage."""

    def __init__(self, run: StageRun) -> None:
        self._run = run
        self._requests: dict[str | None, int] = {}
        self._done: dict[str, int] = {}
        self._bar = tqdm(desc=f"Waiting for {run.process}", unit=" requests", disable=None)

    def see(self, info: BatchInfo) -> None:
        """Show what the provider reports. If it gives no counts, the bar moves when the batch has ended."""
        if info.id not in self._requests:
            batches = [batch for batch in self._run.batches() if batch.unsent or batch.batch_id]
            self._requests = {batch.batch_id: batch.requests for batch in batches}
            self._bar.total = sum(batch.requests for batch in batches if batch.state != "collected")
        done = (info.done or 0) + (info.failed or 0)
        self._done[info.id] = self._requests.get(info.id, done) if info.ended else done
        self._bar.n = sum(self._done.values())
        self._bar.set_postfix_str(info.status)

    def close(self) -> None:
        self._bar.close()
