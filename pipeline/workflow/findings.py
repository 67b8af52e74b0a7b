"""What a stage has found: for one document, as the ledger keeps it, and for all of them, for the summaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.batches.session import Session
from pipeline.export.canonical import CanonicalNames, NameUse, named
from pipeline.export.registry import Registry, load_registry
from pipeline.processes import previous_process
from pipeline.records import Dataset, Document, PageText
from pipeline.store import manifest_entries


@dataclass
class Findings:
    """`mentions`, `pages`: mentions that are not rejected, and pages with any. `papers`: documents with any.

    `rejected`: by the last verdict. `removed`, `restored`: mentions whose verdict this stage has changed. `uncertain`:
    valid mentions with a note.
    """

    papers: int = 0
    pages: int = 0
    mentions: int = 0
    rejected: int = 0
    removed: int = 0
    restored: int = 0
    uncertain: int = 0

    def add(self, other: Findings) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class FrequentDataset:
    """A dataset with the number of papers that mention it, and of these mentions."""

    name: str
    papers: int
    mentions: int


@dataclass
class StageFindings:
    """What a stage has found in all papers. `datasets`: those with a name, most papers first."""

    total: Findings = field(default_factory=Findings)
    datasets: list[FrequentDataset] = field(default_factory=list)


def document_findings(document: Document, text: PageText) -> dict[str, Any]:
    """What the ledger keeps about a document: its findings, and `names`: forms, mentions, whether it is named."""
    found = Findings()
    names: Counter[tuple[NameUse, bool]] = Counter()
    texts = {page.page: page.text for page in text.pages}
    for page in document.pages:
        kept = [one for one in page.datasets() if one.valid is not False]
        found.pages += bool(kept)
        found.mentions += len(kept)
        found.rejected += len(page.datasets()) - len(kept)
        for dataset in page.datasets():
            _count_verdict(found, dataset, document.process)
        names.update((NameUse.of(one, texts.get(page.page, "")), named(one)) for one in kept)
    found.papers = int(found.mentions > 0)
    return {
        **vars(found),
        "names": [[use.name, use.forms, count, is_named] for (use, is_named), count in names.items()],
    }


def _count_verdict(found: Findings, dataset: Dataset, process: str) -> None:
    found.uncertain += bool(dataset.valid and dataset.note)
    said, previous = dataset.verdicts.get(process), previous_process(process)
    if said is None or previous is None:
        return
    was_valid = dataset.verdicts.get(previous, {}).get("valid") is not False
    found.removed += was_valid and not said["valid"]
    found.restored += not was_valid and bool(said["valid"])


def stage_findings(session: Session, process: str) -> StageFindings:
    """What a stage has found in the papers that are still there. Human labels are not applied. Raises InputError."""
    found = StageFindings()
    present = {entry.source for entry in manifest_entries(session.workspace) if not entry.problem}
    registry = load_registry(session.config.dataset_registry) if session.config.dataset_registry else Registry()

    def documents() -> Iterator[tuple[str, dict[str, Any]]]:
        return ((source, kept) for source, kept in session.ledger.documents.found(process) if source in present)

    names = CanonicalNames(registry)
    for _, kept in documents():
        found.total.add(Findings(**{name: value for name, value in kept.items() if name != "names"}))
        names.add(_uses(kept))
    papers: Counter[tuple[str, str]] = Counter()  # by name and id
    mentions: Counter[tuple[str, str]] = Counter()
    for source, kept in documents():
        here = names.in_document(source, list(_uses(kept)))
        of_document: Counter[tuple[str, str]] = Counter()
        for name, forms, count, is_named in kept["names"]:
            use = NameUse(name, tuple(forms))
            if is_named or here.knows(use):
                canonical = here.of(use)
                of_document[canonical.name or name, canonical.id or ""] += count
        papers.update(of_document.keys())
        mentions.update(of_document)
    ordered = sorted(papers, key=lambda one: (-papers[one], -mentions[one], one))
    found.datasets = [FrequentDataset(one[0], papers[one], mentions[one]) for one in ordered]
    return found


def _uses(kept: dict[str, Any]) -> Iterable[NameUse]:
    """Each dataset's name as often as it is mentioned: the most frequent form becomes the canonical name."""
    return (
        NameUse(name, tuple(forms)) for name, forms, count, is_named in kept["names"] if is_named for _ in range(count)
    )
