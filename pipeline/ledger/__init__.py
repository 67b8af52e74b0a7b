"""The ledger: what was asked, in which batch it was sent, and what came back. Everything that must survive a crash."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.ledger.asks import Asks
from pipeline.ledger.attempts import Attempts
from pipeline.ledger.batches import Batches
from pipeline.ledger.documents import DocumentStates
from pipeline.ledger.schema import Database
from pipeline.ledger.usage import UsageTotals

__all__ = ["Ledger"]


class Ledger:
    """The SQLite file, by table. All parts raise WorkspaceError if the file cannot be opened, read or written."""

    def __init__(self, path: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self._database = Database(path)
        self.path = path
        self.documents = DocumentStates(self._database)
        self.asks = Asks(self._database, self.documents)
        self.attempts = Attempts(self._database, self.documents)
        self.batches = Batches(self._database, self.attempts, self.documents, clock)
        self.usage = UsageTotals(self._database)

    def transaction(self) -> AbstractContextManager[None]:
        """All changes of the block are kept, or none. A transaction inside another one is part of it."""
        return self._database.transaction()

    def close(self) -> None:
        self._database.close()
