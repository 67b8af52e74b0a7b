"""Request files, the batches that they became, and what the provider is known to queue."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from pipeline.clock import Clock
from pipeline.ledger.attempts import Attempts
from pipeline.ledger.documents import DocumentStates
from pipeline.ledger.schema import Database
from pipeline.records import Outcome

UNSENT = ("written", "uploaded", "creating")
QUEUE_MEMORY_S = 86_400  # after 24 hours every batch that filled the queue has ended, whoever submitted it


class Destination(NamedTuple):
    """Where a batch is sent: kind and base URL of the provider, and the model."""

    provider: str
    base_url: str
    model: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A request file and the batch that it became. Times are in seconds (Unix), as the provider reported them last.

    `state`: written, uploaded, creating, submitted, collected. `status`: the provider's word. `tokens`: input tokens.
    """

    id: int
    process: str
    path: str
    state: str
    provider: str
    base_url: str
    model: str
    requests: int
    bytes: int
    tokens: int
    file_id: str | None = None
    batch_id: str | None = None
    status: str | None = None
    message: str | None = None
    created: int | None = None
    since: int | None = None
    expires: int | None = None
    done: int | None = None
    failed: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    cleaned: int = 0

    @property
    def unsent(self) -> bool:
        return self.state in UNSENT

    @property
    def server(self) -> tuple[str, str]:
        """Kind and base URL of the provider, to compare with `BatchProvider.server`."""
        return self.provider, self.base_url

    @property
    def destination(self) -> Destination:
        return Destination(self.provider, self.base_url, self.model)


_NAMES = [field.name for field in fields(Batch)]
_COLUMNS = ", ".join(_NAMES)


class Batches:
    """The tables `batch` and `queue`."""

    def __init__(self, database: Database, attempts: Attempts, documents: DocumentStates, clock: Clock) -> None:
        self._db, self._attempts, self._documents, self._clock = database, attempts, documents, clock

    def next_number(self) -> int:
        """Numbers are never used twice, so neither are file names."""
        return int(self._db.one("SELECT coalesce(max(id), 0) + 1 FROM batch")[0])

    def all(self, process: str | None = None, state: str | None = None) -> list[Batch]:
        """Oldest first."""
        query = (
            f"SELECT {_COLUMNS} FROM batch WHERE (? IS NULL OR process = ?) AND (? IS NULL OR state = ?) ORDER BY id"
        )
        return [Batch(*row) for row in self._db.all(query, process, process, state, state)]

    def get(self, number: int) -> Batch | None:
        return next((Batch(*row) for row in self._db.all(f"SELECT {_COLUMNS} FROM batch WHERE id = ?", number)), None)

    def add(self, batch: Batch) -> None:
        query = f"INSERT INTO batch ({_COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))})"
        self._db.run(query, *(getattr(batch, name) for name in _NAMES))

    def update(self, number: int, **values: str | int | None) -> None:
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._db.run(f"UPDATE batch SET {assignments} WHERE id = ?", *values.values(), number)

    def close(self, number: int, outcome: Outcome, status: str) -> None:
        """End a batch of which nothing more will come: its open attempts get this outcome, at no cost."""
        for attempt in self._attempts.open_in_batch(number).values():
            self._attempts.record(attempt, outcome, None)
        self._documents.mark_askers_of_batch(number)
        self.update(number, state="collected", status=status)

    def forget(self, number: int) -> None:
        """Remove a batch that was never sent. If some of its requests were answered elsewhere, it stays, as ended."""
        self._documents.mark_askers_of_batch(number)
        if self._attempts.delete_open(number):
            self.update(number, state="collected", status="imported", cleaned=1)
        else:
            self._db.run("DELETE FROM batch WHERE id = ?", number)

    def queue_limit(self, destination: Destination) -> int | None:
        """Input tokens that the provider is known to queue, or None if it refused nothing in the last 24 hours."""
        query = "SELECT tokens FROM queue WHERE provider = ? AND base_url = ? AND model = ? AND since > ?"
        rows = self._db.all(query, *destination, int(self._clock.time()) - QUEUE_MEMORY_S)
        return int(rows[0][0]) if rows else None

    def set_queue_limit(self, destination: Destination, tokens: int) -> None:
        values = (*destination, tokens, int(self._clock.time()))
        self._db.run("INSERT OR REPLACE INTO queue VALUES (?, ?, ?, ?, ?)", *values)
