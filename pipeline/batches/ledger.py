"""SQLite: what was asked, where it went, what came back. Everything that must survive a crash is in here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.batches.standing import Attempt
from pipeline.errors import WorkspaceError
from pipeline.records import Ask, Outcome, Recipe, Usage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS recipe (id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
-- What each page asks now. Answers to anything else are kept, and not merged.
CREATE TABLE IF NOT EXISTS ask (
    process TEXT, source TEXT, page INTEGER, part INTEGER,
    key TEXT NOT NULL, generation INTEGER NOT NULL, basis TEXT NOT NULL, recipe INTEGER NOT NULL,
    PRIMARY KEY (process, source, page, part)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ask_key ON ask (key, process);
CREATE TABLE IF NOT EXISTS attempt (
    process TEXT NOT NULL, key TEXT NOT NULL, generation INTEGER NOT NULL, number INTEGER NOT NULL,
    shard INTEGER NOT NULL, expects INTEGER NOT NULL,
    outcome TEXT, code TEXT, message TEXT, content TEXT,
    prompt_tokens INTEGER DEFAULT 0, cached_tokens INTEGER DEFAULT 0,
    completion_tokens INTEGER DEFAULT 0, reasoning_tokens INTEGER DEFAULT 0, cost_usd REAL,
    PRIMARY KEY (key, process, generation, number));
CREATE INDEX IF NOT EXISTS attempt_shard ON attempt (shard);
-- One file of requests, which becomes one batch. state: written, uploaded, creating, submitted, collected.
CREATE TABLE IF NOT EXISTS shard (
    id INTEGER PRIMARY KEY, process TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL,
    provider TEXT NOT NULL, base_url TEXT NOT NULL, model TEXT NOT NULL,
    requests INTEGER NOT NULL, bytes INTEGER NOT NULL, tokens INTEGER NOT NULL,
    file_id TEXT, batch_id TEXT, status TEXT, message TEXT);
-- Documents whose file does not yet show what is in here.
CREATE TABLE IF NOT EXISTS dirty (process TEXT, source TEXT, PRIMARY KEY (process, source)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class CurrentAsk:
    """What one part of a page asks now, in the ledger's terms."""

    page: int
    part: int
    key: str
    generation: int
    basis: str
    recipe: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of requests and the batch it became."""

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


def custom_id(process: str, key: str, generation: int, number: int) -> str:
    """The name of one attempt on the wire: `[A-Za-z0-9_-]`, under 64 characters, derived from the ask alone."""
    return f"{process}-{key}-{generation}-{number}"


def parse_custom_id(text: object) -> tuple[str, str, int, int] | None:
    """(process, key, generation, number), or None where the id is none of ours."""
    parts = text.split("-") if isinstance(text, str) else []
    if len(parts) != 4 or not parts[2].isdigit() or not parts[3].isdigit():
        return None
    return parts[0], parts[1], int(parts[2]), int(parts[3])


class Ledger:
    """Raises WorkspaceError where the file cannot be opened, read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing of it."""
        with _told(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # SQLite ends some transactions itself, on a full disk for one
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # What is asked now

    def recipe_id(self, recipe: Recipe) -> int:
        text = recipe.model_dump_json()
        self._run("INSERT OR IGNORE INTO recipe (json) VALUES (?)", text)
        return int(self._one("SELECT id FROM recipe WHERE json = ?", text)[0])

    def recipe(self, number: int) -> Recipe:
        return Recipe.model_validate_json(self._one("SELECT json FROM recipe WHERE id = ?", number)[0])

    def current(self, process: str, source: str) -> list[CurrentAsk]:
        """What a document asks now in one stage, in the order of its pages."""
        query = "SELECT page, part, key, generation, basis, recipe FROM ask WHERE process = ? AND source = ?"
        return [CurrentAsk(*row) for row in self._all(query, process, source)]

    def has_asks(self, process: str) -> bool:
        return bool(self._all("SELECT 1 FROM ask WHERE process = ? LIMIT 1", process))

    def set_current(self, ask: Ask, key: str, generation: int, recipe: int) -> None:
        """Make this what the page asks, and mark its document where that is news."""
        place = (ask.process, ask.source, ask.page, ask.part)
        asked = (key, generation, ask.basis, recipe)
        query = (
            "SELECT key, generation, basis, recipe FROM ask WHERE process = ? AND source = ? AND page = ? AND part = ?"
        )
        if self._all(query, *place) != [asked]:
            self._run("INSERT OR REPLACE INTO ask VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *place, *asked)
            self.mark_dirty(ask.process, ask.source)

    def generation(self, process: str, key: str) -> int:
        """The newest generation of a key: 0 until it is asked again on purpose."""
        query = "SELECT max(generation) FROM attempt WHERE key = ? AND process = ?"
        return int(self._one(query, key, process)[0] or 0)

    def attempts(self, process: str, key: str, generation: int) -> list[Attempt]:
        """All attempts of an ask, oldest first."""
        query = (
            "SELECT number, outcome, code, message, content FROM attempt"
            " WHERE key = ? AND process = ? AND generation = ? ORDER BY number"
        )
        return [Attempt(*row) for row in self._all(query, key, process, generation)]

    # Shards

    def next_shard_number(self) -> int:
        """Numbers are never used twice, so neither are file names."""
        return int(self._one("SELECT coalesce(max(id), 0) + 1 FROM shard")[0])

    def add_attempt(self, process: str, key: str, generation: int, number: int, shard: int, expects: int) -> None:
        """`expects`: how many verdicts the answer has to bring."""
        self._mark_askers(process, key)
        query = "INSERT INTO attempt (process, key, generation, number, shard, expects) VALUES (?, ?, ?, ?, ?, ?)"
        self._run(query, process, key, generation, number, shard, expects)

    def add_shard(self, shard: Shard) -> None:
        names = list(Shard.__dataclass_fields__)
        query = f"INSERT INTO shard ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        self._run(query, *(getattr(shard, name) for name in names))

    def shards(self, process: str | None = None, state: str | None = None) -> list[Shard]:
        """Oldest first."""
        columns = ", ".join(Shard.__dataclass_fields__)
        query = f"SELECT {columns} FROM shard WHERE (? IS NULL OR process = ?) AND (? IS NULL OR state = ?) ORDER BY id"
        return [Shard(*row) for row in self._all(query, process, process, state, state)]

    def update_shard(self, number: int, **values: str | None) -> None:
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._run(f"UPDATE shard SET {assignments} WHERE id = ?", *values.values(), number)

    def drop_shard(self, number: int) -> None:
        """Forget a shard that was never uploaded, and its attempts."""
        with self.transaction():
            self._run("DELETE FROM attempt WHERE shard = ?", number)
            self._run("DELETE FROM shard WHERE id = ?", number)

    # What came back

    def is_wanted(self, shard: int) -> bool:
        """Whether any open attempt of a shard still answers what some page asks now."""
        asked = "SELECT 1 FROM attempt JOIN ask USING (key, process, generation)"
        query = f"{asked} WHERE shard = ? AND outcome IS NULL LIMIT 1"
        return bool(self._all(query, shard))

    def open_attempt(self, process: str, key: str, generation: int, number: int) -> int | None:
        """How many verdicts the attempt has to bring, or None where it is unknown or has its outcome already."""
        query = (
            "SELECT expects FROM attempt"
            " WHERE key = ? AND process = ? AND generation = ? AND number = ? AND outcome IS NULL"
        )
        row = self._all(query, key, process, generation, number)
        return int(row[0][0]) if row else None

    def open_attempts(self, shard: int) -> list[tuple[str, int, int]]:
        """(key, generation, number) of a shard's attempts without an outcome."""
        query = "SELECT key, generation, number FROM attempt WHERE shard = ? AND outcome IS NULL"
        return [(row[0], row[1], row[2]) for row in self._all(query, shard)]

    def record(
        self, process: str, key: str, generation: int, number: int, outcome: Outcome, cost_usd: float | None
    ) -> None:
        """Give an attempt its outcome, and mark the documents that it concerns."""
        self._run(
            "UPDATE attempt SET outcome = ?, code = ?, message = ?, content = ?, prompt_tokens = ?, cached_tokens = ?,"
            " completion_tokens = ?, reasoning_tokens = ?, cost_usd = ?"
            " WHERE key = ? AND process = ? AND generation = ? AND number = ? AND outcome IS NULL",
            outcome.kind, outcome.code, outcome.message, outcome.content, outcome.prompt_tokens, outcome.cached_tokens,
            outcome.completion_tokens, outcome.reasoning_tokens, cost_usd, key, process, generation, number,
        )  # fmt: skip
        self._mark_askers(process, key)

    def failed_asks(self, process: str) -> list[tuple[str, CurrentAsk]]:
        """(document, ask) of the current asks that have attempts, none accepted and none on its way."""
        query = (
            "SELECT source, page, part, key, generation, basis, recipe FROM ask WHERE process = ? AND (key, process,"
            " generation) IN (SELECT key, process, generation FROM attempt WHERE process = ? GROUP BY key, generation"
            " HAVING sum(outcome = 'ok') = 0 AND count(outcome) = count(*)) ORDER BY source, page, part"
        )
        return [(row[0], CurrentAsk(*row[1:])) for row in self._all(query, process, process)]

    def usage(self, process: str, source: str) -> Usage:
        """What the current asks of a document have used so far, all their attempts together."""
        query = (
            "SELECT count(outcome), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0),"
            " sum(cost_usd), count(cost_usd) FROM attempt JOIN (SELECT DISTINCT key, process, generation FROM ask"
            " WHERE process = ? AND source = ?) USING (key, process, generation) WHERE outcome IS NOT NULL"
        )
        requests, prompt, completion, cost, priced = self._one(query, process, source)
        known = cost if priced else (None if requests else 0.0)
        return Usage(requests=requests, prompt_tokens=prompt, completion_tokens=completion, cost_usd=known)

    # Documents to be written

    def _mark_askers(self, process: str, key: str) -> None:
        query = "INSERT OR IGNORE INTO dirty SELECT process, source FROM ask WHERE key = ? AND process = ?"
        self._run(query, key, process)

    def mark_dirty(self, process: str, source: str) -> None:
        self._run("INSERT OR IGNORE INTO dirty VALUES (?, ?)", process, source)

    def is_dirty(self, process: str, source: str) -> bool:
        return bool(self._all("SELECT 1 FROM dirty WHERE process = ? AND source = ?", process, source))

    def mark_clean(self, process: str, source: str) -> None:
        self._run("DELETE FROM dirty WHERE process = ? AND source = ?", process, source)

    def _run(self, query: str, *values: object) -> None:
        with _told(self.path):
            self._db.execute(query, values)

    def _all(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        with _told(self.path):
            return self._db.execute(query, values).fetchall()

    def _one(self, query: str, *values: object) -> tuple:  # type: ignore[type-arg]
        return self._all(query, *values)[0]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise WorkspaceError(
            f"{path} cannot be used ({error}): make room, mend its rights, or restore it from a copy."
        ) from None


def canonical(value: object) -> str:
    """JSON with one spelling, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
