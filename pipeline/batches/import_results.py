"""Import results produced elsewhere. The custom id of each row says which question it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.batches.collect import Collected, checked
from pipeline.batches.plan import DocumentQuestions
from pipeline.batches.price import Pricing
from pipeline.batches.results import Results, read_rows
from pipeline.batches.session import StageRun
from pipeline.batches.user_results import user_rows
from pipeline.errors import ProviderError
from pipeline.ledger.asks import CurrentAsk
from pipeline.ledger.attempts import OpenAttempt
from pipeline.ledger.batches import Batch
from pipeline.ledger.ids import AskId, AttemptId
from pipeline.records import Outcome, Recipe
from pipeline.words import counted


@dataclass(frozen=True)
class ResultFile:
    """A file with results. `given`: by the user, who may have saved it in any way; otherwise it was downloaded."""

    path: Path
    given: bool = True


@dataclass
class Imported:
    """What was imported. By file of the user: `results` that were read, and `unreadable` lines that are none."""

    collected: Collected = field(default_factory=Collected)
    results: Counter[Path] = field(default_factory=Counter)
    unreadable: Counter[Path] = field(default_factory=Counter)


def import_results(run: StageRun, files: Sequence[ResultFile]) -> Imported:
    """Record the answers in `files` to the current questions of a stage. Importing them twice changes nothing.

    Raises WorkspaceError if a file cannot be read.
    """
    made = Imported()
    for file in files:
        with run.ledger.transaction():
            importer = _FileImporter(run, file.path, made.collected)
            if file.given:
                made.results[file.path] = made.unreadable[file.path] = 0
            rows = user_rows(file.path) if file.given else read_rows(file.path)
            for row in tqdm(rows, desc=f"Importing {file.path.name}", unit=" results", leave=False, disable=None):
                is_result = row is not None and importer.take(row)
                if file.given:
                    (made.results if is_result else made.unreadable)[file.path] += 1
            importer.close()
        made.collected.batches += 1
    return made


def unreadable_sentences(made: Imported) -> list[str]:
    """A sentence for each file without results, or with lines that are none: nothing is passed over silently."""
    sentences = []
    for file, results in made.results.items():
        lines = counted(made.unreadable[file], "line")
        if not results and not made.unreadable[file]:
            sentences.append(f"{file} is empty: give the file with the results.")
        elif not results:
            sentences.append(f"{file} has no results, but {lines} of something else: give the file with the results.")
        elif made.unreadable[file]:
            sentences.append(
                f"{lines} of {file} cannot be read as a result ({counted(results, 'result')} can): fix the file, then "
                "run the same command again."
            )
    return sentences


def make_current(run: StageRun, documents: Iterable[DocumentQuestions]) -> None:
    """Make these the current questions of pages that were never asked: all pages, after the ledger was lost."""
    ledger = run.ledger
    with ledger.transaction():
        recipe = ledger.asks.recipe_number(run.requests.recipe)
        for document in documents:
            current = {(ask.page, ask.part): ask for ask in ledger.asks.of_document(run.process, document.source)}
            sent = {ask.page for ask in current.values() if ledger.attempts.any(ask.id)}
            places = {(ask.page, ask.part) for ask in document.asks if ask.page not in sent}
            pages = {page for page, _ in places}
            obsolete = [place for place in current if place[0] in pages and place not in places]
            ledger.asks.drop(run.process, document.source, obsolete)
            for ask in document.asks:
                if ask.page in pages:
                    key = run.requests.key(ask)
                    ask_id = AskId(run.process, key, ledger.attempts.generation(run.process, key) or 0)
                    if ledger.asks.set_current(ask, ask_id, recipe, current.get((ask.page, ask.part))):
                        ledger.documents.mark_outdated(run.process, ask.source)


def find_result_files(run: StageRun, names: Sequence[str]) -> list[ResultFile]:
    """The result files that `names` stand for: paths, or ids of batches, which are downloaded.

    Raises ProviderError if a batch has not ended or is unknown to the provider.
    """
    files: list[ResultFile] = []
    for name in names:
        if Path(name).exists() or "/" in name or "." in name:
            files.append(ResultFile(Path(name)))
            continue
        info = run.provider.status(name)
        if not info.ended:
            raise ProviderError(f"Batch {name} is {info.status}: import its results when it has ended.")
        results = Results(run, info)
        for _ in results.rows():  # downloads the files
            pass
        if results.mismatch():
            results.check()
        files += [ResultFile(path, given=False) for path in results.paths()]
    return files


class _FileImporter:
    """Imports one file. Attempts that the ledger does not know go to a batch record of their own."""

    def __init__(self, run: StageRun, file: Path, result: Collected) -> None:
        self._run, self._ledger, self._file, self._result = run, run.ledger, file, result
        self._pricing = Pricing(run.config)
        self._own_batch: int | None = None
        self._touched: set[int] = set()

    def take(self, row: dict[str, Any]) -> bool:
        """Record the outcome of a row, if a question waits for it. Returns whether the row is a result at all."""
        custom_id, outcome = self._run.provider.read_row(row)
        if not isinstance(custom_id, str) or _is_request(row):
            return False
        self._record_result(custom_id, outcome)
        return True

    def _record_result(self, custom_id: str, outcome: Outcome) -> None:
        attempt = AttemptId.parse(custom_id)
        asked = self._ledger.asks.with_key(*attempt[:2]) if attempt and attempt.process == self._run.process else None
        if attempt is None or asked is None or attempt.generation < asked.generation:  # replaced by --again
            self._result.ignored_rows += 1
            return
        if attempt.generation > asked.generation:  # asked again before the ledger was lost
            self._ledger.asks.raise_generation(attempt.process, attempt.key, attempt.generation)
            asked = replace(asked, generation=attempt.generation)
        sent = self._ledger.attempts.open(attempt)
        outcome = checked(self._run, outcome, sent.expects if sent else asked.expects)
        self._result.ignored_rows += not self._answer(attempt, asked, outcome)

    def _answer(self, attempt_id: AttemptId, asked: CurrentAsk, outcome: Outcome) -> bool:
        """Whether the row is new: the first accepted answer, or the outcome of an attempt that had none."""
        attempts = self._ledger.attempts.of_ask(asked.id)
        attempt = self._ledger.attempts.open(attempt_id)
        if any(old.outcome == "ok" for old in attempts) or (attempt is None and attempts and outcome.kind != "ok"):
            return False
        recipe = self._ledger.asks.recipe(asked.recipe)
        if attempt is None:
            free_number = max([attempt_id.number, *(old.number + 1 for old in attempts)])
            new = attempt_id._replace(number=free_number)
            attempt = self._ledger.attempts.add(new, self._batch_for(recipe), asked.expects, 0)
        self._record(attempt, outcome, recipe)
        return True

    def _batch_for(self, recipe: Recipe) -> int:
        if self._own_batch is None:
            number = max(self._ledger.batches.next_number(), self._run.workspace.last_request_file() + 1)
            destination = (recipe.provider, recipe.base_url, recipe.model)
            batch = Batch(number, self._run.process, self._file.name, "collected", *destination, 0, 0, 0)
            self._ledger.batches.add(replace(batch, status="imported", cleaned=1))
            self._own_batch = number
        return self._own_batch

    def _record(self, attempt: OpenAttempt, outcome: Outcome, recipe: Recipe) -> None:
        cost = self._pricing.cost(outcome, recipe.provider, recipe.model)
        self._ledger.attempts.record(attempt, outcome, cost)
        self._result.count(outcome)
        self._touched.add(attempt.batch)

    def close(self) -> None:
        for batch in self._touched:
            self._ledger.documents.mark_askers_of_batch(batch)


def _is_request(row: dict[str, Any]) -> bool:
    """Request files lie beside the result files, and have the same ids. Their rows must not count as failed."""
    return "body" in row and not row.keys() & {"response", "error"}
