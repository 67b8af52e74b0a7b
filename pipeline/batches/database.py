"""The SQLite file behind the ledger: its tables, its transactions, and its errors as one sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import WorkspaceError

VERSION = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS recipe (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
-- What each page asks now. Answers to anything else are kept, and not merged.
CREATE TABLE IF NOT EXISTS ask (
    process TEXT, source TEXT, page INTEGER, part INTEGER,
    key TEXT NOT NULL, generation INTEGER NOT NULL, basis TEXT NOT NULL, recipe INTEGER NOT NULL,
    expects INTEGER NOT NULL,
    PRIMARY KEY (process, source, page, part)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ask_key ON ask (key, process, generation);
-- Every time an ask was sent. An outcome of NULL: waiting to be sent, or on its way.
CREATE TABLE IF NOT EXISTS attempt (
    id INTEGER PRIMARY KEY,
    process TEXT NOT NULL, key TEXT NOT NULL, generation INTEGER NOT NULL, number INTEGER NOT NULL,
    shard INTEGER NOT NULL, expects INTEGER NOT NULL, tokens INTEGER NOT NULL,
    outcome TEXT, code TEXT, message TEXT,
    prompt_tokens INTEGER DEFAULT 0, cached_tokens INTEGER DEFAULT 0,
    completion_tokens INTEGER DEFAULT 0, reasoning_tokens INTEGER DEFAULT 0, cost_usd REAL,
    UNIQUE (key, process, generation, number));
CREATE INDEX IF NOT EXISTS attempt_shard ON attempt (shard);
-- Apart, so that a table of a million attempts is read quickly when only their outcomes are counted.
CREATE TABLE IF NOT EXISTS answer (attempt INTEGER PRIMARY KEY, content TEXT NOT NULL);
-- One file of requests, which becomes one batch. state: written, uploaded, creating, submitted, collected.
-- Moments are seconds (Unix).
CREATE TABLE IF NOT EXISTS shard (
    id INTEGER PRIMARY KEY, process TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL,
    provider TEXT NOT NULL, base_url TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, bytes INTEGER NOT NULL, tokens INTEGER NOT NULL,
    file_id TEXT, batch_id TEXT, status TEXT, message TEXT,
    created INTEGER, since INTEGER, expires INTEGER, done INTEGER, failed INTEGER,
    output_file_id TEXT, error_file_id TEXT, cleaned INTEGER DEFAULT 0);
-- The most input tokens that a provider is known to queue, after it has refused more.
CREATE TABLE IF NOT EXISTS queue (
    provider TEXT, base_url TEXT, model TEXT, tokens INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (provider, base_url, model)) WITHOUT ROWID;
-- Documents whose file does not yet show what is in here, and the page statuses of those whose file does.
CREATE TABLE IF NOT EXISTS dirty (process TEXT, source TEXT, PRIMARY KEY (process, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS merged (
    process TEXT, source TEXT, size INTEGER NOT NULL, text TEXT NOT NULL, statuses TEXT NOT NULL, failures TEXT,
    PRIMARY KEY (process, source)) WITHOUT ROWID;
"""


class Database:
    """Raises WorkspaceError where the file cannot be opened, read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA cache_size=-64000")  # KB; keys are hashes, so inserts land everywhere
            self._prepare()

    def _prepare(self) -> None:
        (version,) = self._one("PRAGMA user_version")
        (tables,) = self._one("SELECT count(*) FROM sqlite_master")
        if tables and version != VERSION:
            raise WorkspaceError(
                f"{self.path} was made by another version of this program: set OUTPUT_DIR to a new folder, or use that "
                "version."
            )
        if not tables:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # SQLite ends some transactions itself, on a full disk for one
                self._run("ROLLBACK")
            raise
        self._run("COMMIT")

    def _run(self, query: str, *values: Any) -> int:
        """Returns the id of the row that was inserted, if one was."""
        with told(self.path):
            return self._db.execute(query, values).lastrowid or 0

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with told(self.path):
            return self._db.execute(query, values).fetchall()

    def _one(self, query: str, *values: Any) -> tuple[Any, ...]:
        return self._all(query, *values)[0]


@contextmanager
def told(path: Path) -> Iterator[None]:
    """SQLite's errors as a sentence that names the file."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise WorkspaceError(
            f"{path} cannot be used ({error}): make room, mend its rights, or restore it from a copy, then run the "
            "same command again."
        ) from None
