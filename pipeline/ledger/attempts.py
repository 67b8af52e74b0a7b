"""Every time that a question was sent, and the outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.ledger.documents import DocumentStates
from pipeline.ledger.ids import AskId, AttemptId
from pipeline.ledger.schema import Database
from pipeline.ledger.state import Attempt
from pipeline.records import Outcome

_ASK = "key = ? AND process = ? AND generation = ?"


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt without an outcome. `row`: its id in the ledger. `expects`: number of verdicts its answer must have.

    `tokens`: input tokens of its request. `batch`: number of the batch that it was sent in.
    """

    row: int
    batch: int
    expects: int
    tokens: int


class Attempts:
    """The tables `attempt` and `answer`."""

    def __init__(self, database: Database, documents: DocumentStates) -> None:
        self._db, self._documents = database, documents

    # Reading

    def of_ask(self, ask: AskId) -> list[Attempt]:
        """All attempts of an ask, oldest first, without their content."""
        query = f"SELECT number, outcome, code, message, NULL FROM attempt WHERE {_ASK} ORDER BY number"
        return [Attempt(*row) for row in self._db.all(query, ask.key, ask.process, ask.generation)]

    def of_document(self, process: str, source: str) -> Iterator[tuple[int, int, Attempt]]:
        """(page, part, attempt) of all current asks of a document, in that order, with accepted answers."""
        query = (
            "SELECT page, part, number, outcome, code, message, content FROM ask"
            " JOIN attempt USING (key, process, generation) LEFT JOIN answer ON answer.attempt = attempt.id"
            " WHERE ask.process = ? AND source = ? ORDER BY page, part, number"
        )
        for page, part, *values in self._db.all(query, process, source):
            yield page, part, Attempt(*values)

    def any(self, ask: AskId) -> bool:
        """Whether the ask was sent, answered or not."""
        return self._db.exists(f"SELECT 1 FROM attempt WHERE {_ASK} LIMIT 1", ask.key, ask.process, ask.generation)

    def is_unsent(self, ask: AskId) -> bool:
        """Whether the ask has an attempt in a request file that was not sent yet, so that dropping it is free."""
        query = (
            "SELECT 1 FROM attempt JOIN batch ON batch.id = batch WHERE key = ? AND attempt.process = ?"
            " AND generation = ? AND outcome IS NULL AND state IN ('written', 'uploaded')"
        )
        return self._db.exists(query, ask.key, ask.process, ask.generation)

    def generation(self, process: str, key: str) -> int | None:
        """The generation that counts for a page that did not ask this key before: the newest one with an answer.

        None if the key was never asked.
        """
        query = (
            "SELECT generation FROM attempt WHERE key = ? AND process = ?"
            " ORDER BY coalesce(outcome = 'ok', 0) DESC, generation DESC LIMIT 1"
        )
        return next((int(row[0]) for row in self._db.all(query, key, process)), None)

    def generation_for_again(self, process: str) -> int:
        """The generation that `--again` opens, or the one that it opened before, if that is still in progress."""
        newest = int(self._db.one("SELECT coalesce(max(generation), 0) FROM attempt WHERE process = ?", process)[0])
        query = "SELECT 1 FROM attempt WHERE process = ? AND generation = ? AND outcome IS NULL LIMIT 1"
        return newest if newest and self._db.exists(query, process, newest) else newest + 1

    def open(self, attempt: AttemptId) -> OpenAttempt | None:
        """The attempt, or None if it is unknown or has an outcome."""
        query = f"SELECT id, batch, expects, tokens FROM attempt WHERE {_ASK} AND number = ? AND outcome IS NULL"
        values = (attempt.key, attempt.process, attempt.generation, attempt.number)
        return next((OpenAttempt(*row) for row in self._db.all(query, *values)), None)

    def expected(self, attempt: AttemptId) -> tuple[int, int]:
        """(number of verdicts its answer must have, input tokens) of a known attempt."""
        query = f"SELECT expects, tokens FROM attempt WHERE {_ASK} AND number = ?"
        expects, tokens = self._db.one(query, attempt.key, attempt.process, attempt.generation, attempt.number)
        return expects, tokens

    def open_in_batch(self, batch: int) -> dict[str, OpenAttempt]:
        """The attempts of a batch without an outcome, by custom id."""
        query = (
            "SELECT process, key, generation, number, id, batch, expects, tokens FROM attempt"
            " WHERE batch = ? AND outcome IS NULL ORDER BY id"
        )
        return {AttemptId(*row[:4]).custom_id: OpenAttempt(*row[4:]) for row in self._db.all(query, batch)}

    def any_answered_like(self, batch: int) -> bool:
        """Whether any question with the recipe of this batch's questions was answered."""
        query = (
            "SELECT 1 FROM attempt JOIN ask USING (key, process, generation) WHERE outcome = 'ok' AND recipe IN"
            " (SELECT recipe FROM ask JOIN attempt AS sent USING (key, process, generation) WHERE sent.batch = ?)"
            " LIMIT 1"
        )
        return self._db.exists(query, batch)

    def wanted_in_batch(self, batch: int) -> set[str]:
        """The custom ids of a batch's open attempts that some page still asks and that have no answer yet."""
        query = (
            "SELECT DISTINCT attempt.process, key, generation, number FROM attempt"
            " CROSS JOIN ask INDEXED BY ask_key USING (key, process, generation) WHERE batch = ? AND outcome IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM attempt AS other WHERE other.key = attempt.key"
            " AND other.process = attempt.process AND other.generation = attempt.generation AND other.outcome = 'ok')"
        )
        return {AttemptId(*row).custom_id for row in self._db.all(query, batch)}

    # Writing

    def add(self, attempt: AttemptId, batch: int, expects: int, tokens: int) -> OpenAttempt:
        """`expects`: number of verdicts the answer must have; `tokens`: input tokens of the request."""
        if attempt.number > 1:  # the first attempt concerns only the page that is being planned
            self._documents.mark_askers(attempt.process, attempt.key)
        query = (
            "INSERT INTO attempt (process, key, generation, number, batch, expects, tokens)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        return OpenAttempt(self._db.run(query, *attempt, batch, expects, tokens), batch, expects, tokens)

    def move(self, attempt: OpenAttempt, batch: int) -> None:
        """Put an attempt that was not sent yet into another request file."""
        self._db.run("UPDATE attempt SET batch = ? WHERE id = ?", batch, attempt.row)

    def record(self, attempt: OpenAttempt, outcome: Outcome, cost_usd: float | None) -> None:
        """Store the outcome of an open attempt. The documents must be marked afterwards (`mark_askers_of_batch`)."""
        self._db.run(
            "UPDATE attempt SET outcome = ?, code = ?, message = ?, prompt_tokens = ?, cached_tokens = ?,"
            " completion_tokens = ?, reasoning_tokens = ?, cost_usd = ? WHERE id = ? AND outcome IS NULL",
            outcome.kind, outcome.code, outcome.message, outcome.prompt_tokens, outcome.cached_tokens,
            outcome.completion_tokens, outcome.reasoning_tokens, cost_usd, attempt.row,
        )  # fmt: skip
        if outcome.kind == "ok":
            self._db.run("INSERT INTO answer VALUES (?, ?)", attempt.row, outcome.content)

    def delete_open(self, batch: int) -> bool:
        """Delete the open attempts of a batch that was never sent. Returns whether others are left in it."""
        self._db.run("DELETE FROM attempt WHERE batch = ? AND outcome IS NULL", batch)
        return self._db.exists("SELECT 1 FROM attempt WHERE batch = ? LIMIT 1", batch)
