"""How many input tokens a provider queues: what may be in progress, and what is learned when it refuses more."""

from __future__ import annotations

import json

from pipeline.batches.request_files import Limits, RequestFileWriter, limits_for, request_lines
from pipeline.batches.session import StageRun
from pipeline.ledger.batches import Batch, Destination
from pipeline.ledger.ids import AttemptId
from pipeline.providers.base import ENDED, BatchInfo

REFUSED = "token_limit_exceeded"


def was_refused(info: BatchInfo) -> bool:
    """Whether a batch failed only because the provider's queue was full. Nothing of it was answered or billed."""
    return info.status == "failed" and REFUSED in (info.message or "")


class Queue:
    """The input tokens that are queued for one model, compared with MAX_ENQUEUED_TOKENS and with past refusals."""

    def __init__(self, run: StageRun) -> None:
        self._run, self._batches = run, run.ledger.batches

    def has_room(self, batch: Batch) -> bool:
        """A batch that is alone is always submitted: only the provider knows whether it is too large."""
        others, limit = self._queued_beside(batch), self.limit(batch.destination)
        return not others or limit is None or sum(other.tokens for other in others) + batch.tokens <= limit

    def limit(self, destination: Destination) -> int | None:
        """Input tokens that may be queued there, or None if no limit is known."""
        return limits_for(self._run, destination).max_tokens if self._run.provider.has_queue else None

    def note_accepted(self, batch: Batch) -> None:
        """The provider has queued this batch: remember its size if that is more than what was known."""
        learned = self._batches.queue_limit(batch.destination)
        if learned is not None and batch.tokens > learned:
            self._batches.set_queue_limit(batch.destination, batch.tokens)

    def send_again(self, batch: Batch) -> bool:
        """Put the requests of a refused batch into new files; smaller ones if no other batch of ours was queued.

        Called inside the transaction in which the old attempts got their outcome. Returns False for a single request
        that was refused although no other batch of ours was queued. It is left to a later run.
        """
        others = sum(other.tokens for other in self._queued_beside(batch))
        if not others and batch.requests == 1:
            return False
        limit = max(others, batch.tokens) if others else (batch.tokens + 1) // 2
        self._batches.set_queue_limit(batch.destination, limit)
        ledger = self._run.ledger
        with RequestFileWriter(self._run, batch.destination, Limits.of(self._run.config, limit)) as writer:
            for attempt_id, line in request_lines(self._run.workspace.root / batch.path):
                if attempt_id and self._is_unanswered(attempt_id):
                    again = attempt_id._replace(number=attempt_id.number + 1)
                    renamed = json.loads(line) | {"custom_id": again.custom_id}
                    expects, tokens = ledger.attempts.expected(attempt_id)
                    number = writer.add(json.dumps(renamed, separators=(",", ":")).encode("ascii") + b"\n", tokens)
                    ledger.attempts.add(again, number, expects, tokens)
            writer.close()
        return True

    def _is_unanswered(self, attempt: AttemptId) -> bool:
        """Whether some page still asks this, and there is neither an accepted answer nor a later attempt."""
        if not self._run.ledger.asks.is_current(attempt.ask):
            return False
        attempts = self._run.ledger.attempts.of_ask(attempt.ask)
        return all(other.outcome != "ok" and other.number <= attempt.number for other in attempts)

    def _queued_beside(self, batch: Batch) -> list[Batch]:
        """Our other batches in the same queue."""
        submitted = self._batches.all(state="submitted")
        same = (other for other in submitted if other.destination == batch.destination)
        return [other for other in same if other.id != batch.id and other.status not in ENDED]
