"""The ledger's answers -> one file per document and stage. The same answers give the same bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tqdm import tqdm

from pipeline.batches.ledger import CurrentAsk, Ledger
from pipeline.batches.standing import Standing, standing
from pipeline.config import PROCESSES
from pipeline.documents.discover import load_text, manifest_entries
from pipeline.errors import WorkspaceError
from pipeline.records import Document, MentionPage, Page, PageText
from pipeline.stages import STAGES, Stage
from pipeline.workspace import Workspace, replacing, write_atomic


@dataclass
class Merged:
    """What the documents of one stage hold: pages by status, and how many of the documents were rewritten."""

    documents: int = 0
    unreadable: int = 0
    rewritten: int = 0
    pages: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


def merge_stage(process: str, workspace: Workspace, ledger: Ledger, max_attempts: int) -> Merged:
    """Bring every document of the manifest up to date in `process`, and in the later stages that build on it."""
    merged = Merged()
    for entry in tqdm(
        manifest_entries(workspace), desc=f"Merging {process}", unit=" papers", leave=False, disable=None
    ):
        merged.documents += 1
        if entry.problem:
            merged.unreadable += 1
            continue
        counts, rewritten = _merge_document(process, entry.source, workspace, ledger, max_attempts)
        merged.rewritten += rewritten
        merged.statuses.update(counts)
        merged.pages += entry.n_pages
    _write_failures(process, workspace, ledger, max_attempts)
    for later in PROCESSES[PROCESSES.index(process) + 1 : PROCESSES.index(process) + 2]:
        if ledger.has_asks(later):
            merge_stage(later, workspace, ledger, max_attempts)
    return merged


def load_document(workspace: Workspace, process: str, source: str) -> Document | None:
    """What a stage knows of a document, or None where it has not got to it. Raises WorkspaceError if damaged."""
    path = workspace.document(process, source)
    try:
        return Document.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise WorkspaceError(
            f"{path} cannot be read: delete it, and  python retrieve_results.py --process {process}  makes it anew."
        ) from None


def _merge_document(
    process: str, source: str, workspace: Workspace, ledger: Ledger, max_attempts: int
) -> tuple[Counter[str], bool]:
    path = workspace.document(process, source)
    if path.exists() and not ledger.is_dirty(process, source):
        document = load_document(workspace, process, source)
        assert document is not None
        return Counter(document.page_status.values()), False
    stage = STAGES[process]
    text = load_text(workspace, source)
    before = load_document(workspace, stage.previous, source) if stage.previous else None
    document = build_document(stage, text, before, ledger, max_attempts)
    content = document.model_dump_json(indent=2).encode() + b"\n"
    changed = not path.exists() or path.read_bytes() != content
    if changed:
        _mark_later(process, source, ledger)  # first: after a crash in between they are looked at again
        write_atomic(path, content)
    ledger.mark_clean(process, source)
    return Counter(document.page_status.values()), changed


def _mark_later(process: str, source: str, ledger: Ledger) -> None:
    for later in PROCESSES[PROCESSES.index(process) + 1 :]:
        ledger.mark_dirty(later, source)


def build_document(
    stage: Stage, text: PageText, before: Document | None, ledger: Ledger, max_attempts: int
) -> Document:
    """One document after `stage`, from the answers in the ledger and what the stage before knew."""
    document = Document(source=text.source, process=stage.process)
    if before:
        document.provenance = list(before.provenance)
        document.usage = dict(before.usage)
    document.usage[stage.process] = ledger.usage(stage.process, text.source)
    current = {ask.page: ask for ask in ledger.current(stage.process, text.source)}
    for page in text.pages:
        status, known = _page(stage, page, before, current.get(page.page), document, ledger, max_attempts)
        document.page_status[str(page.page)] = status
        if known:
            document.pages.append(known)
    return document


def _page(
    stage: Stage, page: Page, before: Document | None, asked: CurrentAsk | None, document: Document, ledger: Ledger,
    max_attempts: int,
) -> tuple[str, MentionPage | None]:  # fmt: skip
    found = before.page(page.page) if before else None
    ask = stage.ask(document.source, page, before)
    if ask is None:
        return stage.obstacle(page, before) or "not_sent", found
    if asked is None or asked.basis != ask.basis:  # never asked, or about something that has changed since
        return "not_sent", found
    stand = standing(ledger.attempts(stage.process, asked.key, asked.generation), max_attempts)
    if stand.state != "answered":
        return _waiting_or_failed(stand), found
    assert stand.last and stand.last.content is not None
    merged = stage.merge(page, found, [stage.parse(stand.last.content, ask.expects)])
    merged.answered_by = _provenance(document, ledger, asked.recipe)
    return "answered", merged


def _waiting_or_failed(stand: Standing) -> str:
    if stand.state == "given_up" and stand.last:
        return f"failed:{stand.last.outcome}"
    return "pending"


def _provenance(document: Document, ledger: Ledger, recipe: int) -> int:
    made = ledger.recipe(recipe)
    if made not in document.provenance:
        document.provenance.append(made)
    return document.provenance.index(made)


def _write_failures(process: str, workspace: Workspace, ledger: Ledger, max_attempts: int) -> None:
    """failures/<process>.jsonl: the asks that were given up, of documents that are still there."""
    with replacing(workspace.failures(process)) as file:
        for row in _given_up(process, workspace, ledger, max_attempts):
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _given_up(process: str, workspace: Workspace, ledger: Ledger, max_attempts: int) -> Iterator[dict[str, object]]:
    failed = ledger.failed_asks(process)
    sources = {source for source, _ in failed}
    present = {entry.source for entry in manifest_entries(workspace) if entry.source in sources}
    for source, asked in failed:
        attempts = ledger.attempts(process, asked.key, asked.generation)
        stand = standing(attempts, max_attempts)
        if stand.state == "given_up" and stand.last and source in present:
            yield {
                "source": source, "page": asked.page, "kind": stand.last.outcome, "message": stand.last.message,
                "attempts": len(attempts),
            }  # fmt: skip
