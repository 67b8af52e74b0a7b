"""What was asked, where it went, what came back. Everything that must survive a crash is in here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.batches.accounts import Accounts
from pipeline.batches.marks import DocumentMarks
from pipeline.batches.standing import Attempt
from pipeline.records import Ask, Outcome, Recipe

UNSENT = ("written", "uploaded", "creating")
QUEUE_MEMORY_S = 86_400  # by then every batch that filled the queue has ended, whoever sent it


@dataclass(frozen=True, slots=True)
class CurrentAsk:
    """What one part of a page asks now, in the ledger's terms."""

    page: int
    part: int
    key: str
    generation: int
    basis: str
    recipe: int
    expects: int


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt without an outcome, by its row in the ledger. `expects`: verdicts that its answer has to bring."""

    id: int
    expects: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of requests and the batch it became. Moments are seconds (Unix), as the provider told them last."""

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

    def is_for(self, kind: str, base_url: str) -> bool:
        """Whether it belongs to the provider of this kind and URL."""
        return (self.provider, self.base_url) == (kind, base_url)


def custom_id(process: str, key: str, generation: int, number: int) -> str:
    """The name of one attempt on the wire: `[A-Za-z0-9_-]`, under 64 characters, derived from the ask alone."""
    return f"{process}-{key}-{generation}-{number}"


def parse_custom_id(text: object) -> tuple[str, str, int, int] | None:
    """(process, key, generation, number), or None where the id is none of ours."""
    parts = text.split("-") if isinstance(text, str) else []
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[2:]):
        return None
    return parts[0], parts[1], int(parts[2]), int(parts[3])


class Ledger(Accounts, DocumentMarks):
    """Asks, attempts, shards and documents. Raises WorkspaceError where the file cannot be read or written."""

    # What is asked now

    def recipe_id(self, recipe: Recipe) -> int:
        text = recipe.model_dump_json()
        self._run("INSERT OR IGNORE INTO recipe (json) VALUES (?)", text)
        return int(self._one("SELECT id FROM recipe WHERE json = ?", text)[0])

    def recipe(self, number: int) -> Recipe:
        return Recipe.model_validate_json(self._one("SELECT json FROM recipe WHERE id = ?", number)[0])

    def has_asks(self, process: str) -> bool:
        return bool(self._all("SELECT 1 FROM ask WHERE process = ? LIMIT 1", process))

    def current(self, process: str, source: str) -> list[CurrentAsk]:
        """What a document asks now in one stage, in the order of its pages."""
        query = f"SELECT {_ASK} FROM ask WHERE process = ? AND source = ? ORDER BY page, part"
        return [CurrentAsk(*row) for row in self._all(query, process, source)]

    def current_of(self, ask: Ask) -> CurrentAsk | None:
        """What the page of `ask` asks now, this or something else."""
        query = f"SELECT {_ASK} FROM ask WHERE process = ? AND source = ? AND page = ? AND part = ?"
        rows = self._all(query, ask.process, ask.source, ask.page, ask.part)
        return next((CurrentAsk(*row) for row in rows), None)

    def set_current(self, ask: Ask, key: str, generation: int, recipe: int, before: CurrentAsk | None) -> None:
        """Make this what the page asks instead of `before`, and mark its document where that is news."""
        if before != CurrentAsk(ask.page, ask.part, key, generation, ask.basis, recipe, ask.expects):
            place = (ask.process, ask.source, ask.page, ask.part)
            values = (*place, key, generation, ask.basis, recipe, ask.expects)
            self._run("INSERT OR REPLACE INTO ask VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
            self.mark_dirty(ask.process, ask.source)

    def drop_asks(self, process: str, source: str, parts: Iterable[tuple[int, int]]) -> None:
        """These parts of pages ask nothing any more. Their answers are kept, and found again if they do."""
        for page, part in parts:
            place = (process, source, page, part)
            self._run("DELETE FROM ask WHERE process = ? AND source = ? AND page = ? AND part = ?", *place)
            self.mark_dirty(process, source)

    def waiting(self) -> list[tuple[str, str, int, int]]:
        """(process, document, page, part) of all current asks whose requests were not sent yet."""
        query = (
            "SELECT DISTINCT ask.process, source, page, part FROM shard CROSS JOIN attempt ON shard = shard.id"
            " CROSS JOIN ask INDEXED BY ask_key USING (key, process, generation)"
            " WHERE state IN ('written', 'uploaded') AND outcome IS NULL"
        )
        return [(row[0], row[1], row[2], row[3]) for row in self._all(query)]

    def was_sent(self, process: str, asked: CurrentAsk) -> bool:
        """Whether there was any attempt at it, answered or not."""
        query = "SELECT 1 FROM attempt WHERE key = ? AND process = ? AND generation = ? LIMIT 1"
        return bool(self._all(query, asked.key, process, asked.generation))

    def is_open_question(self, attempt: tuple[str, str, int, int]) -> bool:
        """Whether some page still asks this, and neither a good answer nor a later attempt at it is known."""
        process, key, generation, number = attempt
        asked = "SELECT 1 FROM ask INDEXED BY ask_key WHERE key = ? AND process = ? AND generation = ? LIMIT 1"
        if not self._all(asked, key, process, generation):
            return False
        attempts = self.attempts(process, key, generation)
        return all(other.outcome != "ok" and other.number <= number for other in attempts)

    def asked(self, process: str, key: str) -> CurrentAsk | None:
        """One of the current asks with this key (its newest generation), or None where no page asks it now."""
        query = (
            f"SELECT {_ASK} FROM ask INDEXED BY ask_key WHERE key = ? AND process = ? ORDER BY generation DESC LIMIT 1"
        )
        return next((CurrentAsk(*row) for row in self._all(query, key, process)), None)

    def raise_generation(self, process: str, key: str, generation: int) -> None:
        """The current asks of this key are of a newer generation than the ledger knew."""
        self._mark_askers(process, key)
        self._run("UPDATE ask SET generation = ? WHERE key = ? AND process = ?", generation, key, process)

    def generation(self, process: str, key: str) -> int | None:
        """The generation of a key that counts for a page that has not asked it so far: the newest that was answered.

        None where it was never asked.
        """
        query = (
            "SELECT generation FROM attempt WHERE key = ? AND process = ?"
            " ORDER BY coalesce(outcome = 'ok', 0) DESC, generation DESC LIMIT 1"
        )
        return next((int(row[0]) for row in self._all(query, key, process)), None)

    def generation_of_again(self, process: str) -> int:
        """The generation that asking again on purpose opens: the one that is under way, if one is."""
        newest = int(self._one("SELECT coalesce(max(generation), 0) FROM attempt WHERE process = ?", process)[0])
        query = "SELECT 1 FROM attempt WHERE process = ? AND generation = ? AND outcome IS NULL LIMIT 1"
        return newest if newest and self._all(query, process, newest) else newest + 1

    # Attempts

    def attempts(self, process: str, key: str, generation: int) -> list[Attempt]:
        """All attempts of an ask, oldest first, without their content."""
        query = (
            "SELECT number, outcome, code, message, NULL FROM attempt"
            " WHERE key = ? AND process = ? AND generation = ? ORDER BY number"
        )
        return [Attempt(*row) for row in self._all(query, key, process, generation)]

    def attempts_of(self, process: str, source: str) -> Iterator[tuple[int, int, Attempt]]:
        """(page, part, attempt) of all current asks of a document, in that order; content where it was accepted."""
        query = (
            "SELECT page, part, number, outcome, code, message, content FROM ask"
            " JOIN attempt USING (key, process, generation) LEFT JOIN answer ON answer.attempt = attempt.id"
            " WHERE ask.process = ? AND source = ? ORDER BY page, part, number"
        )
        for page, part, *values in self._all(query, process, source):
            yield page, part, Attempt(*values)

    def add_attempt(
        self, process: str, key: str, generation: int, number: int, shard: int, expects: int, tokens: int
    ) -> OpenAttempt:
        """`expects`: how many verdicts the answer has to bring; `tokens`: of its request, as far as we can count."""
        if number > 1:  # nobody but the page at hand can be waiting for a first one
            self._mark_askers(process, key)
        query = (
            "INSERT INTO attempt (process, key, generation, number, shard, expects, tokens)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        return OpenAttempt(self._run(query, process, key, generation, number, shard, expects, tokens), expects)

    def open_attempt(self, process: str, key: str, generation: int, number: int) -> OpenAttempt | None:
        """The attempt, or None where it is unknown or has its outcome already."""
        query = (
            "SELECT id, expects FROM attempt"
            " WHERE key = ? AND process = ? AND generation = ? AND number = ? AND outcome IS NULL"
        )
        return next((OpenAttempt(*row) for row in self._all(query, key, process, generation, number)), None)

    def open_attempts(self, shard: int) -> dict[str, OpenAttempt]:
        """A shard's attempts without an outcome, by custom id."""
        query = (
            "SELECT process, key, generation, number, id, expects FROM attempt WHERE shard = ? AND outcome IS NULL"
            " ORDER BY id"
        )
        return {custom_id(*row[:4]): OpenAttempt(*row[4:]) for row in self._all(query, shard)}

    def wanted_attempts(self, shard: int) -> set[str]:
        """The custom ids of a shard's open attempts that some page still asks, and that were not answered elsewhere."""
        query = (
            "SELECT DISTINCT attempt.process, key, generation, number FROM attempt"
            " CROSS JOIN ask INDEXED BY ask_key USING (key, process, generation) WHERE shard = ? AND outcome IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM attempt AS other WHERE other.key = attempt.key"
            " AND other.process = attempt.process AND other.generation = attempt.generation AND other.outcome = 'ok')"
        )
        return {custom_id(*row) for row in self._all(query, shard)}

    def is_waiting(self, process: str, asked: CurrentAsk) -> bool:
        """Whether an ask has an attempt that was not sent yet, so that it costs nothing to drop it."""
        query = (
            "SELECT 1 FROM attempt JOIN shard ON shard.id = shard WHERE key = ? AND attempt.process = ?"
            " AND generation = ? AND outcome IS NULL AND state IN ('written', 'uploaded')"
        )
        return bool(self._all(query, asked.key, process, asked.generation))

    def shard_of(self, attempt: int) -> int:
        return int(self._one("SELECT shard FROM attempt WHERE id = ?", attempt)[0])

    def move_attempt(self, process: str, key: str, generation: int, number: int, shard: int) -> None:
        """Put an attempt that was not sent yet into another shard."""
        query = "UPDATE attempt SET shard = ? WHERE key = ? AND process = ? AND generation = ? AND number = ?"
        self._run(query, shard, key, process, generation, number)

    def attempt_tokens(self, process: str, key: str, generation: int, number: int) -> tuple[int, int]:
        """(expects, tokens) of an attempt."""
        query = "SELECT expects, tokens FROM attempt WHERE key = ? AND process = ? AND generation = ? AND number = ?"
        expects, tokens = self._one(query, key, process, generation, number)
        return expects, tokens

    def record(self, attempt: int, outcome: Outcome, cost_usd: float | None) -> None:
        """Give an open attempt its outcome. Mark the documents that it concerns with `mark_shard` afterwards."""
        self._run(
            "UPDATE attempt SET outcome = ?, code = ?, message = ?, prompt_tokens = ?, cached_tokens = ?,"
            " completion_tokens = ?, reasoning_tokens = ?, cost_usd = ? WHERE id = ? AND outcome IS NULL",
            outcome.kind, outcome.code, outcome.message, outcome.prompt_tokens, outcome.cached_tokens,
            outcome.completion_tokens, outcome.reasoning_tokens, cost_usd, attempt,
        )  # fmt: skip
        if outcome.kind == "ok":
            self._run("INSERT INTO answer VALUES (?, ?)", attempt, outcome.content)

    # Shards

    def next_shard_number(self) -> int:
        """Numbers are never used twice, so neither are file names."""
        return int(self._one("SELECT coalesce(max(id), 0) + 1 FROM shard")[0])

    def add_shard(self, shard: Shard) -> None:
        names = list(Shard.__dataclass_fields__)
        query = f"INSERT INTO shard ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        self._run(query, *(getattr(shard, name) for name in names))

    def shards(self, process: str | None = None, state: str | None = None) -> list[Shard]:
        """Oldest first."""
        columns = ", ".join(Shard.__dataclass_fields__)
        query = f"SELECT {columns} FROM shard WHERE (? IS NULL OR process = ?) AND (? IS NULL OR state = ?) ORDER BY id"
        return [Shard(*row) for row in self._all(query, process, process, state, state)]

    def shard(self, number: int) -> Shard | None:
        columns = ", ".join(Shard.__dataclass_fields__)
        return next((Shard(*row) for row in self._all(f"SELECT {columns} FROM shard WHERE id = ?", number)), None)

    def update_shard(self, number: int, **values: str | int | None) -> None:
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._run(f"UPDATE shard SET {assignments} WHERE id = ?", *values.values(), number)

    def close_shard(self, number: int, outcome: Outcome, status: str) -> None:
        """Give all open attempts of a shard this outcome, at no cost: nothing more is to come of it."""
        for attempt in self.open_attempts(number).values():
            self.record(attempt.id, outcome, None)
        self.mark_shard(number)
        self.update_shard(number, state="collected", status=status)

    def forget_shard(self, number: int) -> None:
        """Take out a shard of which nothing was sent, and its attempts, but for those that were answered elsewhere."""
        self._run("DELETE FROM attempt WHERE shard = ? AND outcome IS NULL", number)
        if self._all("SELECT 1 FROM attempt WHERE shard = ? LIMIT 1", number):
            self.update_shard(number, state="collected", status="brought in", cleaned=1)
        else:
            self._run("DELETE FROM shard WHERE id = ?", number)

    # What a provider is known to queue

    def queue_limit(self, provider: str, base_url: str, model: str) -> int | None:
        """Input tokens, or None where nothing was refused lately."""
        query = "SELECT tokens FROM queue WHERE provider = ? AND base_url = ? AND model = ? AND since > ?"
        rows = self._all(query, provider, base_url, model, int(time.time()) - QUEUE_MEMORY_S)
        return int(rows[0][0]) if rows else None

    def set_queue_limit(self, provider: str, base_url: str, model: str, tokens: int) -> None:
        values = (provider, base_url, model, tokens, int(time.time()))
        self._run("INSERT OR REPLACE INTO queue VALUES (?, ?, ?, ?, ?)", *values)

    # Documents to be written

    def _mark_askers(self, process: str, key: str) -> None:
        query = "INSERT OR IGNORE INTO dirty SELECT process, source FROM ask WHERE key = ? AND process = ?"
        self._run(query, key, process)

    def mark_shard(self, shard: int) -> None:
        """Mark all documents that ask what is in this shard."""
        query = (
            "INSERT OR IGNORE INTO dirty SELECT DISTINCT ask.process, source FROM attempt"
            " CROSS JOIN ask INDEXED BY ask_key USING (key, process) WHERE shard = ?"
        )
        self._run(query, shard)


_ASK = "page, part, key, generation, basis, recipe, expects"


def canonical(value: object) -> str:
    """JSON with one spelling, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
