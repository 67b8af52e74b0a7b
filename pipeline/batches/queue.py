"""How much a provider queues: what we may have on its way, and what we learn when it refuses more."""

from __future__ import annotations

from pipeline.batches.ledger import Ledger, Shard
from pipeline.batches.shards import ShardCaps, send_again
from pipeline.config import Config
from pipeline.providers.base import ENDED, BatchInfo
from pipeline.workspace import Workspace

REFUSED = "token_limit_exceeded"


class Queue:
    """The input tokens that are queued for one model, against MAX_ENQUEUED_TOKENS and what was refused before."""

    def __init__(self, ledger: Ledger, config: Config) -> None:
        self._ledger, self._config = ledger, config

    def has_room(self, shard: Shard) -> bool:
        """A shard that is alone is always tried: whether it is too large, only the provider can tell."""
        others, limit = self._others(shard), self.limit(*_place(shard))
        return not others or limit is None or sum(other.tokens for other in others) + shard.tokens <= limit

    def limit(self, provider: str, base_url: str, model: str) -> int | None:
        """Input tokens, or None where there is no limit that we know of."""
        if provider == "local":
            return None
        return ShardCaps.of(self._config, self._ledger.queue_limit(provider, base_url, model)).max_tokens

    def passed(self, shard: Shard) -> None:
        """The provider has taken this shard into its queue: remember the size if it is more than we knew of."""
        learned = self._ledger.queue_limit(*_place(shard))
        if learned is not None and shard.tokens > learned:
            self._ledger.set_queue_limit(*_place(shard), shard.tokens)

    def refused(self, shard: Shard, workspace: Workspace) -> bool:
        """Line the requests up again; in halves where nothing else of ours was in the way.

        Called inside a transaction, after the attempts have got their outcome. Returns False for a single request that
        is refused while nothing else of ours is queued: it is left to a later run.
        """
        others = sum(other.tokens for other in self._others(shard))
        if not others and shard.requests == 1:
            return False
        most = max(others, shard.tokens) if others else (shard.tokens + 1) // 2
        self._ledger.set_queue_limit(*_place(shard), most)
        send_again(shard, ShardCaps.of(self._config, most), self._ledger, workspace)
        return True

    def _others(self, shard: Shard) -> list[Shard]:
        """Our batches that take up room in the same queue."""
        sent = (other for other in self._ledger.shards(state="submitted") if _place(other) == _place(shard))
        return [other for other in sent if other.id != shard.id and other.status not in ENDED]


def _place(shard: Shard) -> tuple[str, str, str]:
    return shard.provider, shard.base_url, shard.model


def was_refused(info: BatchInfo) -> bool:
    """Whether a batch failed only because the provider's queue was full: nothing of it was run or billed."""
    return info.status == "failed" and REFUSED in (info.message or "")
