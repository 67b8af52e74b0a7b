"""The SQLite file of the ledger: its tables, its transactions, and the conversion of older files."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import WorkspaceError

VERSION = 6
WAL_TRIES = 100  # for 5 seconds, while other commands create the same file
_SCHEMA = """
CREATE TABLE recipe (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
-- The current question about each part of a page. Answers to other questions are kept, but not merged.
-- span_start, span_end: the part of the page's text. datasets: JSON list of the datasets that the question is about.
CREATE TABLE ask (
    process TEXT, source TEXT, page INTEGER, part INTEGER,
    key TEXT NOT NULL, generation INTEGER NOT NULL, input_hash TEXT NOT NULL, recipe INTEGER NOT NULL,
    span_start INTEGER, span_end INTEGER, datasets TEXT,
    PRIMARY KEY (process, source, page, part)) WITHOUT ROWID;
CREATE INDEX ask_key ON ask (key, process, generation);
CREATE INDEX ask_without_span ON ask (process, source) WHERE span_start IS NULL;
-- One row for each time that a question was sent. outcome is NULL until the answer is collected.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    process TEXT NOT NULL, key TEXT NOT NULL, generation INTEGER NOT NULL, number INTEGER NOT NULL,
    batch INTEGER NOT NULL, expects INTEGER NOT NULL, tokens INTEGER NOT NULL,
    outcome TEXT, code TEXT, message TEXT,
    prompt_tokens INTEGER DEFAULT 0, cached_tokens INTEGER DEFAULT 0,
    completion_tokens INTEGER DEFAULT 0, reasoning_tokens INTEGER DEFAULT 0, cost_usd REAL,
    UNIQUE (key, process, generation, number));
CREATE INDEX attempt_batch ON attempt (batch);
-- In a table of its own, so that a million attempts can be counted without reading their answers.
CREATE TABLE answer (attempt INTEGER PRIMARY KEY, content TEXT NOT NULL);
-- A request file and the batch that it became. state: written, uploaded, creating, submitted, collected.
-- Times are in seconds (Unix).
CREATE TABLE batch (
    id INTEGER PRIMARY KEY, process TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL,
    provider TEXT NOT NULL, base_url TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, bytes INTEGER NOT NULL, tokens INTEGER NOT NULL,
    file_id TEXT, batch_id TEXT, status TEXT, message TEXT,
    created INTEGER, since INTEGER, expires INTEGER, done INTEGER, failed INTEGER,
    output_file_id TEXT, error_file_id TEXT, cleaned INTEGER DEFAULT 0);
-- The number of input tokens that a provider is known to queue, learned when it refused more.
CREATE TABLE queue (
    provider TEXT, base_url TEXT, model TEXT, tokens INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (provider, base_url, model)) WITHOUT ROWID;
-- Documents whose file must be written again, and what the files that were written contain. text: the stamp of
-- everything that a file was made from. found: what the document's mentions are, for the summaries.
CREATE TABLE dirty (process TEXT, source TEXT, PRIMARY KEY (process, source)) WITHOUT ROWID;
CREATE TABLE merged (
    process TEXT, source TEXT, size INTEGER NOT NULL, text TEXT NOT NULL, statuses TEXT NOT NULL, failures TEXT,
    found TEXT, PRIMARY KEY (process, source)) WITHOUT ROWID;
"""
# Version 3 did not store what an ask was about: its rows have no span until workflow/upgrade.py fills it in.
_FROM_VERSION_3 = """
ALTER TABLE shard RENAME TO batch;
ALTER TABLE attempt RENAME COLUMN shard TO batch;
DROP INDEX attempt_shard;
CREATE INDEX attempt_batch ON attempt (batch);
ALTER TABLE ask RENAME COLUMN basis TO input_hash;
ALTER TABLE ask DROP COLUMN expects;
ALTER TABLE ask ADD COLUMN span_start INTEGER;
ALTER TABLE ask ADD COLUMN span_end INTEGER;
ALTER TABLE ask ADD COLUMN datasets TEXT;
CREATE INDEX ask_without_span ON ask (process, source) WHERE span_start IS NULL;
"""
# Version 4 did not store what was found. workflow/merge.py fills it in.
_FROM_VERSION_4 = "ALTER TABLE merged ADD COLUMN found TEXT"
# Version 5 believed any reply, and could record a batch or a file without an id.
_FROM_VERSION_5 = """
UPDATE batch SET state = 'creating', batch_id = NULL
    WHERE state = 'submitted' AND coalesce(batch_id, '') IN ('', 'None');
UPDATE batch SET state = 'written', file_id = NULL
    WHERE state IN ('uploaded', 'creating') AND coalesce(file_id, '') IN ('', 'None');
"""


class Database:
    """Raises WorkspaceError if the file cannot be opened, read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from None
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        self._use_write_ahead_log()
        self.run("PRAGMA synchronous=FULL")
        self.run("PRAGMA cache_size=-64000")  # KB; keys are hashes, so inserts go everywhere
        if self._version() != VERSION:
            with self.transaction():  # another command may be doing the same
                self._create_or_convert()

    def _use_write_ahead_log(self) -> None:
        """Several commands may create the file at once, and SQLite does not wait for this lock as for others."""
        for _ in range(WAL_TRIES):
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise self._unusable(error) from None
            time.sleep(0.05)
        self.run("PRAGMA journal_mode=WAL")

    def _version(self) -> int:
        return int(self.one("PRAGMA user_version")[0])

    def _create_or_convert(self) -> None:
        version, is_new = self._version(), not self.exists("SELECT 1 FROM sqlite_master LIMIT 1")
        if version == VERSION:
            return
        if not is_new and version not in (3, 4, 5):
            raise WorkspaceError(
                f"{self._path} was written by another version of this program: set OUTPUT_DIR to a new folder, or use "
                "that version."
            )
        conversions = {3: _FROM_VERSION_3, 4: _FROM_VERSION_4, 5: _FROM_VERSION_5}
        steps = [_SCHEMA] if is_new else [step for older, step in conversions.items() if older >= version]
        for statement in (statement for step in steps for statement in step.split(";")):
            self.run(statement)
        self.run(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block are kept, or none. A transaction inside another one is part of it."""
        if self._connection.in_transaction:
            yield
            return
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite ends some transactions itself, for example on a full disk
                self.run("ROLLBACK")
            raise

    def run(self, query: str, *values: Any) -> int:
        """Execute a statement; returns the id of the inserted row, if any."""
        try:
            return self._connection.execute(query, values).lastrowid or 0
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def each(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows one by one, however many there are."""
        try:
            yield from self._connection.execute(query, values)
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def one(self, query: str, *values: Any) -> tuple[Any, ...]:
        return self.all(query, *values)[0]

    def exists(self, query: str, *values: Any) -> bool:
        """Whether the query finds a row."""
        return bool(self.all(query, *values))

    def _unusable(self, error: Exception) -> WorkspaceError:
        return WorkspaceError(
            f"Cannot use {self._path} ({error}): free disk space, fix its permissions, or restore it from a copy, "
            "then run the same command again."
        )
