"""The ledger's answers -> one file per document and stage. The same answers give the same bytes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache

from tqdm import tqdm

from pipeline.batches.ledger import Ledger
from pipeline.batches.marks import Failure
from pipeline.batches.standing import Attempt, Standing, standing
from pipeline.config import PROCESSES
from pipeline.documents.discover import load_text, manifest_entries
from pipeline.errors import WorkspaceError
from pipeline.records import Document, ManifestEntry, MentionPage, Page, PageText
from pipeline.stages import STAGES, Stage
from pipeline.workspace import Workspace, file_size, replacing, write_atomic

GROUP = 100  # documents written between two transactions


@dataclass
class Merged:
    """What the documents of one stage hold: pages by status, and how many of the documents were rewritten."""

    documents: int = 0
    unreadable: int = 0
    rewritten: int = 0
    pages: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Made:
    """A document as it is to be written; `content` is None where the file is to stay."""

    source: str
    statuses: Counter[str]
    failures: list[Failure]
    content: bytes | None


def merge_stage(process: str, workspace: Workspace, ledger: Ledger, max_attempts: int) -> Merged:
    """Bring every document of the manifest up to date in `process`, and in the later stages that build on it."""
    merger = _Merger(process, workspace, ledger, max_attempts)
    entries = manifest_entries(workspace)
    for entry in tqdm(entries, desc=f"Merging {process}", unit=" papers", leave=False, disable=None):
        merger.take(entry)
    merger.finish()
    _write_failures(process, workspace, ledger)
    for later in PROCESSES[PROCESSES.index(process) + 1 : PROCESSES.index(process) + 2]:
        if ledger.has_asks(later):
            merge_stage(later, workspace, ledger, max_attempts)
    return merger.merged


def load_document(workspace: Workspace, process: str, source: str) -> Document | None:
    """What a stage knows of a document, or None where it has not got to it. Raises WorkspaceError if damaged."""
    path = workspace.document(process, source)
    try:
        return Document.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise WorkspaceError(
            f"{path} cannot be read:  python retrieve_results.py --process {process}  makes it anew."
        ) from None


class _Merger:
    """Writes documents group by group: one transaction for many documents, and few of them in memory."""

    def __init__(self, process: str, workspace: Workspace, ledger: Ledger, max_attempts: int) -> None:
        self.merged = Merged()
        self._process, self._workspace, self._ledger, self._max_attempts = process, workspace, ledger, max_attempts
        self._group: list[_Made] = []

    def take(self, entry: ManifestEntry) -> None:
        """Count a document, and make it anew where its file does not show what is in the ledger."""
        self.merged.documents += 1
        if entry.problem:
            self.merged.unreadable += 1
            return
        self.merged.pages += entry.n_pages
        statuses = self._statuses(entry.source)
        self.merged.statuses.update(statuses)
        if len(self._group) >= GROUP:
            self.finish()

    def _statuses(self, source: str) -> Counter[str]:
        """Of the file as it stands, if the ledger knows it and nothing has happened since, to it or to the ledger."""
        size = file_size(self._workspace.document(self._process, source))
        dirty, known = self._ledger.is_dirty(self._process, source), self._ledger.merged(self._process, source)
        if known and known[0] == size and not dirty:
            return known[1]
        of_before = size is not None and known is None and not dirty  # of a time before this ledger
        made = self._as_it_is(source) if of_before else self._anew(source)
        self._group.append(made)
        return made.statuses

    def _as_it_is(self, source: str) -> _Made:
        document = load_document(self._workspace, self._process, source)
        assert document is not None
        return _Made(source, Counter(document.page_status.values()), _failures_of(document), None)

    def _anew(self, source: str) -> _Made:
        stage = STAGES[self._process]
        text = load_text(self._workspace, source)
        before = load_document(self._workspace, stage.previous, source) if stage.previous else None
        document, failures = build_document(stage, text, before, self._ledger, self._max_attempts)
        content = document.model_dump_json(indent=2).encode() + b"\n"
        return _Made(source, Counter(document.page_status.values()), failures, content)

    def finish(self) -> None:
        """Write the group. Later stages are marked first: after a crash in between they are looked at again."""
        changed = {made.source: made.content for made in self._group if made.content and self._is_new(made)}
        with self._ledger.transaction():
            for source in changed:
                _mark_later(self._process, source, self._ledger)
        for source, content in changed.items():
            write_atomic(self._workspace.document(self._process, source), content)
        with self._ledger.transaction():
            for made in self._group:
                size = file_size(self._workspace.document(self._process, made.source)) or 0
                self._ledger.mark_merged(self._process, made.source, size, made.statuses, made.failures)
        self.merged.rewritten += len(changed)
        self._group = []

    def _is_new(self, made: _Made) -> bool:
        path = self._workspace.document(self._process, made.source)
        return not path.exists() or path.read_bytes() != made.content


def _mark_later(process: str, source: str, ledger: Ledger) -> None:
    for later in PROCESSES[PROCESSES.index(process) + 1 :]:
        ledger.mark_dirty(later, source)


def build_document(
    stage: Stage, text: PageText, before: Document | None, ledger: Ledger, max_attempts: int
) -> tuple[Document, list[Failure]]:
    """One document after `stage`, from the answers in the ledger and what the stage before knew; and its failures."""
    builder = _Builder(stage, text.source, before, ledger, max_attempts)
    for page in text.pages:
        builder.take(page)
    return builder.document, builder.failures


class _Builder:
    """Puts the pages of one document together."""

    def __init__(self, stage: Stage, source: str, before: Document | None, ledger: Ledger, max_attempts: int) -> None:
        self.document = Document(source=source, process=stage.process)
        self.failures: list[Failure] = []
        self._stage, self._before = stage, before
        if before:
            self.document.provenance = list(before.provenance)
            self.document.usage = dict(before.usage)
        self.document.usage[stage.process] = ledger.usage(stage.process, source)
        self._asked = {ask.page: ask for ask in ledger.current(stage.process, source)}
        self._attempts = defaultdict[int, list[Attempt]](list)
        for number, attempt in ledger.attempts_of(stage.process, source) if self._asked else ():
            self._attempts[number].append(attempt)
        self._max_attempts = max_attempts
        self._recipe_of = cache(ledger.recipe)

    def take(self, page: Page) -> None:
        status, known = self._page(page)
        self.document.page_status[str(page.page)] = status
        if known:
            self.document.pages.append(known)

    def _page(self, page: Page) -> tuple[str, MentionPage | None]:
        found = self._before.page(page.page) if self._before else None
        ask = self._stage.ask(self.document.source, page, self._before)
        if ask is None:
            return self._stage.obstacle(page, self._before) or "not_sent", found
        asked = self._asked.get(page.page)
        if asked is None or asked.basis != ask.basis:  # never asked, or about something that has changed since
            return "not_sent", found
        stand = standing(self._attempts[page.page], self._max_attempts)
        if stand.state != "answered":
            return self._unanswered(page.page, stand), found
        assert stand.last and stand.last.content is not None
        merged = self._stage.merge(page, found, [self._stage.parse(stand.last.content, ask.expects)])
        merged.answered_by = self._provenance(asked.recipe)
        return "answered", merged

    def _unanswered(self, page: int, stand: Standing) -> str:
        if stand.state != "given_up" or not stand.last:
            return "pending"
        kind, message = stand.last.outcome or "", stand.last.message
        self.failures.append({"page": page, "kind": kind, "message": message, "attempts": len(self._attempts[page])})
        return f"failed:{kind}"

    def _provenance(self, recipe: int) -> int:
        made = self._recipe_of(recipe)
        if made not in self.document.provenance:
            self.document.provenance.append(made)
        return self.document.provenance.index(made)


def _failures_of(document: Document) -> list[Failure]:
    """What a document file alone still tells of them."""
    failed = ((page, status) for page, status in document.page_status.items() if status.startswith("failed:"))
    return [{"page": int(page), "kind": status.removeprefix("failed:")} for page, status in failed]


def _write_failures(process: str, workspace: Workspace, ledger: Ledger) -> None:
    """failures/<process>.jsonl: the asks that were given up, of documents that are still there."""
    failures = ledger.failures(process)
    present = {entry.source for entry in manifest_entries(workspace) if entry.source in failures} if failures else ()
    with replacing(workspace.failures(process)) as file:
        for source in sorted(present):
            for failure in failures[source]:
                file.write(json.dumps({"source": source, **failure}, ensure_ascii=False).encode() + b"\n")
