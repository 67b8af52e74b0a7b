"""The current question about each page, and the settings that it was asked under."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.ledger.documents import DocumentStates
from pipeline.ledger.ids import AskId
from pipeline.ledger.schema import Database
from pipeline.records import Ask, Recipe

_COLUMNS = "process, page, part, key, generation, input_hash, recipe, span_start, span_end, datasets"


@dataclass(frozen=True, slots=True)
class CurrentAsk:
    """What one part of a page asks now. `recipe`: number of the recipe. The other fields are those of `Ask`."""

    process: str
    page: int
    part: int
    key: str
    generation: int
    input_hash: str
    recipe: int
    start: int
    end: int
    datasets: tuple[int, ...]

    @property
    def id(self) -> AskId:
        return AskId(self.process, self.key, self.generation)

    @property
    def expects(self) -> int:
        """How many verdicts the answer must give; 0 for any number of items."""
        return len(self.datasets)


class Asks:
    """The tables `ask` and `recipe`."""

    def __init__(self, database: Database, documents: DocumentStates) -> None:
        self._db, self._documents = database, documents

    def recipe_number(self, recipe: Recipe) -> int:
        text = recipe.model_dump_json()
        self._db.run("INSERT OR IGNORE INTO recipe (json) VALUES (?)", text)
        return int(self._db.one("SELECT id FROM recipe WHERE json = ?", text)[0])

    def recipe(self, number: int) -> Recipe:
        return Recipe.model_validate_json(self._db.one("SELECT json FROM recipe WHERE id = ?", number)[0])

    def any(self, process: str) -> bool:
        """Whether the stage has asked anything."""
        return self._db.exists("SELECT 1 FROM ask WHERE process = ? LIMIT 1", process)

    def of_document(self, process: str, source: str) -> list[CurrentAsk]:
        """What a document asks now in one stage, in the order of its pages."""
        return list(self._select("process = ? AND source = ? ORDER BY page, part", process, source))

    def kept_pages(self, process: str, source: str) -> set[int]:
        """The pages of a document with a question that has an answer, or was sent and may get one."""
        query = (
            "SELECT DISTINCT page FROM ask JOIN attempt USING (key, process, generation) JOIN batch ON batch.id = batch"
            " WHERE ask.process = ? AND source = ?"
            " AND (outcome = 'ok' OR (outcome IS NULL AND state NOT IN ('written', 'uploaded')))"
        )
        return {int(page) for (page,) in self._db.all(query, process, source)}

    def with_key(self, process: str, key: str) -> CurrentAsk | None:
        """A current ask with this key, of the newest generation, or None if no page asks it now."""
        return next(self._select("key = ? AND process = ? ORDER BY generation DESC LIMIT 1", key, process), None)

    def is_current(self, ask: AskId) -> bool:
        """Whether some page asks this now."""
        query = "SELECT 1 FROM ask INDEXED BY ask_key WHERE key = ? AND process = ? AND generation = ? LIMIT 1"
        return self._db.exists(query, ask.key, ask.process, ask.generation)

    def set_current(self, ask: Ask, ask_id: AskId, recipe: int, before: CurrentAsk | None) -> bool:
        """Make this the question of its page, instead of `before`.

        Returns whether anything changed. Then the document must be marked as outdated.
        """
        now = CurrentAsk(
            ask.process, ask.page, ask.part, ask_id.key, ask_id.generation, ask.input_hash, recipe, ask.start, ask.end,
            ask.datasets,
        )  # fmt: skip
        if now == before:
            return False
        values = (now.key, now.generation, now.input_hash, recipe, now.start, now.end, json.dumps(now.datasets))
        query = "INSERT OR REPLACE INTO ask VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        self._db.run(query, ask.process, ask.source, ask.page, ask.part, *values)
        return True

    def drop(self, process: str, source: str, parts: Iterable[tuple[int, int]]) -> None:
        """These (page, part) ask nothing any more. Their answers are kept and found again if they are asked again."""
        for page, part in parts:
            place = (process, source, page, part)
            self._db.run("DELETE FROM ask WHERE process = ? AND source = ? AND page = ? AND part = ?", *place)
            self._documents.mark_outdated(process, source)

    def unsent(self) -> Iterator[tuple[str, str, int, int]]:
        """(process, document, page, part) of the current asks whose request file was not sent yet."""
        query = (
            "SELECT DISTINCT ask.process, source, page, part FROM batch CROSS JOIN attempt ON batch = batch.id"
            " CROSS JOIN ask INDEXED BY ask_key USING (key, process, generation)"
            " WHERE state IN ('written', 'uploaded') AND outcome IS NULL"
        )
        yield from self._db.all(query)

    def raise_generation(self, process: str, key: str, generation: int) -> None:
        """The current asks with this key belong to a newer generation than the ledger knew."""
        self._documents.mark_askers(process, key)
        self._db.run("UPDATE ask SET generation = ? WHERE key = ? AND process = ?", generation, key, process)

    def without_span(self) -> list[tuple[str, str]]:
        """(process, document) of asks that version 3 of the ledger stored, which lack what they are about."""
        query = "SELECT DISTINCT process, source FROM ask WHERE span_start IS NULL ORDER BY source"
        return [(process, source) for process, source in self._db.all(query)]

    def old_input_hashes(self, process: str, source: str) -> dict[tuple[int, int], tuple[str, int]]:
        """By (page, part): the input hash and recipe number of asks that version 3 stored."""
        query = "SELECT page, part, input_hash, recipe FROM ask WHERE process = ? AND source = ? AND span_start IS NULL"
        return {(page, part): (old, recipe) for page, part, old, recipe in self._db.all(query, process, source)}

    def set_input(self, ask: Ask) -> None:
        """Add what an ask of version 3 is about."""
        self._db.run(
            "UPDATE ask SET input_hash = ?, span_start = ?, span_end = ?, datasets = ?"
            " WHERE process = ? AND source = ? AND page = ? AND part = ?",
            ask.input_hash, ask.start, ask.end, json.dumps(ask.datasets), ask.process, ask.source, ask.page, ask.part,
        )  # fmt: skip

    def _select(self, where: str, *values: str) -> Iterator[CurrentAsk]:
        for row in self._db.all(f"SELECT {_COLUMNS} FROM ask WHERE {where}", *values):
            datasets = () if row[-1] in ("[]", None) else tuple(json.loads(row[-1]))
            yield CurrentAsk(*(*row[:-1], datasets))
