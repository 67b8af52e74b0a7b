"""One row per mention, with what each stage and each person said about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pipeline.export.canonical import CanonicalNames, DocumentNames, NameUse, named
from pipeline.export.columns import Value
from pipeline.export.countries import country_codes
from pipeline.export.guessing import guessed
from pipeline.export.papers import Papers
from pipeline.processes import FIRST, PROCESSES
from pipeline.records import DATASET_FIELDS, Dataset, Document, MentionPage, Page, PageText, Recipe, is_specific
from pipeline.review.labels import PageLabel, apply_label
from pipeline.selection import Selection
from pipeline.stages.verdicts import reason_in
from pipeline.store import load_document, load_text, manifest_entries
from pipeline.workspace import Workspace

NOT_MARKED = "not marked on a page that a person has completed"
ID_DIGITS = 16


@dataclass(frozen=True)
class Filter:
    """Which mentions are exported. `valid_only`: not the rejected ones. `min_specificity`: no vaguer valid ones."""

    valid_only: bool = False
    min_specificity: str = "vague_generic"

    def allows(self, dataset: Dataset) -> bool:
        if dataset.valid is False:
            return not self.valid_only
        return is_specific(dataset.specificity, self.min_specificity)


@dataclass(frozen=True)
class FinalMention:
    """A mention after the last stage and human labels. `label`: of the page, if it decided about the mention."""

    page: Page
    dataset: Dataset
    decision: str | None = None
    label: PageLabel | None = None
    answered_by: Recipe | None = None


@dataclass
class FinalDocument:
    """A document with its mentions, in the order of the pages. `cost_usd`: of all stages; None if it is unknown.

    `guessed`: what the PDF says about the paper, as far as it is certain. `pending`: pages that the stage has asked
    about, without an answer and without a human label.
    """

    source: str
    mentions: list[FinalMention] = field(default_factory=list)
    cost_usd: float | None = 0.0
    guessed: dict[str, Value] = field(default_factory=dict)
    pending: int = 0


def final_documents(
    workspace: Workspace, process: str, labels: Mapping[tuple[str, int], PageLabel], selection: Selection
) -> Iterator[FinalDocument]:
    """The selected documents after stage `process`, with human labels applied.

    A document whose text has changed since the stage has no mentions of it. Raises InputError, WorkspaceError.
    """
    labelled = {source for source, _ in labels}
    for entry in selection.of(manifest_entries(workspace)):
        document = load_document(workspace, process, entry.source)
        if document is None and entry.source not in labelled:
            continue
        text = load_text(workspace, entry.source)
        if document is None or document.text_sha256 not in (None, text.digest()):
            document = Document(source=entry.source, process=process)
        yield _final(document, text, labels)


def _final(document: Document, text: PageText, labels: Mapping[tuple[str, int], PageLabel]) -> FinalDocument:
    costs = [usage.cost_usd for usage in document.usage.values()]
    cost = None if None in costs else sum(one for one in costs if one is not None)
    made = FinalDocument(document.source, cost_usd=cost, guessed=guessed(text))
    for page in text.pages:
        known, label = document.page(page.page), labels.get((document.source, page.page))
        made.pending += label is None and document.page_status.get(str(page.page)) == "pending"
        recipe = document.provenance[known.answered_by] if known and known.answered_by is not None else None
        if label is None:
            made.mentions += [
                FinalMention(page, one, answered_by=recipe) for one in (known.datasets() if known else [])
            ]
        else:
            made.mentions += _labelled(page, known, label, recipe)
    return made


def _labelled(page: Page, known: MentionPage | None, label: PageLabel, recipe: Recipe | None) -> Iterator[FinalMention]:
    """The mentions of a page that a person has labelled, also those that the person has removed."""
    found = known.datasets() if known else []
    before = {(one.start, one.end) for one in found}
    labelled = apply_label(page, known, label)
    for one in labelled.datasets:
        decision = labelled.decisions.get((one.start or 0, one.end or 0))
        yield FinalMention(
            page, one, decision, label if decision else None, recipe if (one.start, one.end) in before else None
        )
    kept = {(one.start, one.end) for one in labelled.datasets}
    for one in found:
        if (one.start, one.end) not in kept:
            gone = one.model_copy(update={"valid": False, "invalid_reason": NOT_MARKED})
            yield FinalMention(page, gone, "reject", label, recipe)


def uses_of(document: FinalDocument) -> list[NameUse]:
    """The names of a document that can be shared with other mentions."""
    return [NameUse.of(one.dataset, one.page.text) for one in document.mentions if named(one.dataset)]


class MentionRows:
    """The rows of a table of mentions."""

    def __init__(
        self, process: str, papers: Papers, names: CanonicalNames, model_name: Callable[[Recipe], str]
    ) -> None:
        self._process, self._papers, self._names, self._model_name = process, papers, names, model_name

    def of(self, document: FinalDocument, mentions: Sequence[FinalMention]) -> Iterator[dict[str, Value]]:
        """The rows of some mentions of a document."""
        paper = self._papers.of(document.source, document.guessed)
        names = self._names.in_document(document.source, uses_of(document))
        share = None
        if document.cost_usd is not None and document.mentions:
            share = document.cost_usd / len(document.mentions)
        seen: dict[str, int] = {}
        for mention in mentions:
            row: dict[str, Value] = {
                "document": document.source,
                "page": mention.page.page,
                "ocr": mention.page.ocr,
                **paper,
            }
            row |= self._of(names, mention) | {"cost_usd": share}
            place = "\0".join(str(row[name]) for name in ("document", "page", "start", "end", "raw_name"))
            seen[place] = seen.get(place, -1) + 1  # models find a name in the same place twice
            row["mention_id"] = hashed(place, str(seen[place]))
            yield row

    def _of(self, names: DocumentNames, mention: FinalMention) -> dict[str, Value]:
        dataset = mention.dataset
        row: dict[str, Value] = {name: getattr(dataset, name) for name in DATASET_FIELDS}
        row |= {
            "start": dataset.start, "end": dataset.end, "grounding": dataset.grounding, "raw_name": dataset.raw_name,
            "sentence": dataset.sent, "valid": dataset.valid, "invalid_reason": dataset.invalid_reason,
            "note": dataset.note, "countries": _countries(dataset.geography, mention.page.language),
        }  # fmt: skip
        use = NameUse.of(dataset, mention.page.text)
        if named(dataset) or names.knows(use):
            canonical = names.of(use)
            row |= {
                "canonical_name": canonical.name,
                "canonical_id": canonical.id,
                "canonical_reason": canonical.reason,
            }
        for process in PROCESSES[1:]:
            verdict = dataset.verdicts.get(process)
            if verdict:
                row |= {f"{process}_valid": bool(verdict.get("valid")), f"{process}_reason": reason_in(verdict)}
        if mention.label:
            row |= {"review_decision": mention.decision, "reviewer": mention.label.annotator}
        if mention.answered_by:
            row |= {"stage": self._process, "model": self._model_name(mention.answered_by)}
            row["prompt_sha256"] = mention.answered_by.prompt_sha256
        return row


@lru_cache(maxsize=10_000)
def _countries(geography: str | None, language: str | None) -> str | None:
    return "; ".join(country_codes(geography, language)) or None


def last_stage(workspace: Workspace) -> str:
    """The last stage of which any document exists; the first one if none does."""
    sources = [entry.source for entry in manifest_entries(workspace)]
    for process in reversed(PROCESSES):
        if any(workspace.document(process, source).exists() for source in sources):
            return process
    return FIRST


def hashed(*parts: str) -> str:
    """A short hash that identifies a row."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:ID_DIGITS]
