"""Writing the tables of a workspace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.config import Config
from pipeline.errors import StageOrderError
from pipeline.export.canonical import CanonicalNames
from pipeline.export.columns import DATASET_COLUMNS, MENTION_COLUMNS, Column, Row, Value
from pipeline.export.datasets import dataset_rows
from pipeline.export.mentions import Filter, FinalDocument, MentionRows, final_documents, last_stage, uses_of
from pipeline.export.openalex import OpenAlex
from pipeline.export.papers import load_papers
from pipeline.export.registry import Override, Registry, load_overrides, load_registry
from pipeline.export.report import write_report
from pipeline.export.tables import table
from pipeline.providers.weights import model_name
from pipeline.review.labels import load_labels
from pipeline.selection import Selection
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how. `stage`: None for the last one with results. `canonical`: a file of overrides.

    `openalex`: look papers up by their DOI.
    """

    form: str
    folder: Path
    stage: str | None = None
    kept: Filter = field(default_factory=Filter)
    selection: Selection = field(default_factory=Selection)
    canonical: Path | None = None
    openalex: bool = False


@dataclass
class Exported:
    """What was written. `valid`: mentions that are not rejected; `papers`: papers with at least one of these.

    `pending`: pages without an answer of the stage yet.
    """

    stage: str
    files: list[Path] = field(default_factory=list)
    documents: int = 0
    papers: int = 0
    mentions: int = 0
    valid: int = 0
    pending: int = 0
    datasets: set[tuple[Value, Value]] = field(default_factory=set)  # name, id
    models: set[str] = field(default_factory=set)


def export(config: Config, options: ExportOptions, clock: Clock = SYSTEM_CLOCK) -> Exported:
    """Write mentions.<format> and datasets.<format>, or report.html, to the folder.

    Goes through the documents twice, first for their names, and holds one of them in memory at a time.
    Raises StageOrderError without results, InputError, ConfigError, LabelError, WorkspaceError.
    """
    workspace = Workspace(config.output_dir)
    stage = options.stage or last_stage(workspace)
    registry = load_registry(config.dataset_registry) if config.dataset_registry else Registry()
    overrides: list[Override] = load_overrides(options.canonical) if options.canonical else []
    papers, labels = load_papers(config.input_dir), load_labels(workspace)

    def documents(title: str) -> Iterator[FinalDocument]:
        found = final_documents(workspace, stage, labels, options.selection)
        return iter(tqdm(found, desc=title, unit=" papers", leave=False, disable=None))

    names = CanonicalNames(registry, overrides)
    count = pending = 0
    for document in documents("Names"):
        names.add(uses_of(document))
        count += 1
        pending += document.pending
    if not count:
        raise StageOrderError(
            f"There are no results of {stage} to export yet: run `python run_batch.py --process all` first."
        )
    exported = Exported(stage, pending=pending)
    with OpenAlex(config, workspace.root / "openalex.jsonl", clock) if options.openalex else nullcontext() as openalex:
        if openalex:
            papers = replace(papers, look_up=openalex.find)
        rows = MentionRows(stage, papers, names, model_name)
        by_document = (
            list(rows.of(document, [one for one in document.mentions if options.kept.allows(one.dataset)]))
            for document in documents("Rows")
        )
        _write(_counting(by_document, exported), options, [*MENTION_COLUMNS, *papers.columns()], registry, exported)
    return exported


def _write(
    by_document: Iterable[Sequence[Row]],
    options: ExportOptions,
    columns: Sequence[Column],
    registry: Registry,
    exported: Exported,
) -> None:
    """Write the rows of all documents in the format that the options name."""
    if options.form == "html":
        exported.files = [options.folder / "report.html"]
        write_report(exported.files[0], by_document, lambda: _about(exported))
        return
    exported.files = [options.folder / f"{name}.{options.form}" for name in ("mentions", "datasets")]
    with table(exported.files[0], columns) as mentions, table(exported.files[1], DATASET_COLUMNS) as datasets:
        for rows in by_document:
            for row in rows:
                mentions.write(row)
            for row in dataset_rows(rows, registry):
                datasets.write(row)


def _counting(documents: Iterable[Sequence[Row]], exported: Exported) -> Iterator[Sequence[Row]]:
    """The rows of each document, which are counted on the way."""
    for rows in documents:
        valid = [row for row in rows if row["valid"] is not False]
        exported.documents += 1
        exported.papers += bool(valid)
        exported.mentions += len(rows)
        exported.valid += len(valid)
        exported.datasets.update(
            (row["canonical_name"], row.get("canonical_id")) for row in valid if row.get("canonical_name")
        )
        exported.models.update(str(row["model"]) for row in valid if row.get("model"))
        yield rows


def _about(exported: Exported) -> dict[str, Any]:
    """What the head of the report says."""
    models = f", by {', '.join(sorted(exported.models))}" if exported.models else ""
    text = f"After the stage {exported.stage}{models}; human labels override it. Models make mistakes."
    return {"documents": exported.documents, "text": text}
