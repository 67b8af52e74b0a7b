"""Writes one file per document and stage from the answers in the ledger. Only files that are outdated are written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from pipeline.batches.session import Session
from pipeline.files import file_size, file_stamp, replacing, write_atomic
from pipeline.ledger.documents import Failure, WrittenDocument
from pipeline.processes import PROCESSES
from pipeline.records import Document, ManifestEntry, PageText, Usage
from pipeline.stages import get_stage
from pipeline.store import load_document, load_text, manifest_entries
from pipeline.workflow.build import DocumentBuilder
from pipeline.workflow.findings import document_findings
from pipeline.workflow.report import Merged

GROUP = 100  # documents that are written in one transaction


def started_stages(session: Session, processes: Sequence[str]) -> list[str]:
    """Those that have asked something or written a document: on pages without a mention, a stage asks nothing."""
    ledger = session.ledger
    return [one for one in processes if ledger.asks.any(one) or ledger.documents.any(one)]


def merge_stage(session: Session, process: str) -> Merged:
    """Update every document of the manifest in all stages that were started, in one pass over the manifest.

    Returns the totals of `process`.
    """
    started = started_stages(session, PROCESSES)
    stages = [one for one in PROCESSES if one == process or one in started]
    merger, merged = Merger(session, stages), Merged()
    entries = manifest_entries(session.workspace)
    with ExitStack() as stack:
        files = {one: stack.enter_context(replacing(session.workspace.failures(one))) for one in stages}
        for entry in tqdm(entries, desc=f"Merging {process}", unit=" papers", leave=False, disable=None):
            merged.add(entry)
            merged.without_ocr += session.config.ocr != "off" and entry.needs_ocr
            states = {} if entry.problem else merger.take(entry.source)
            for one, state in states.items():
                merged.stages[one].update(state.statuses)
                for failure in state.failures:
                    line = json.dumps({"source": entry.source, **failure}, ensure_ascii=False)
                    files[one].write(line.encode() + b"\n")
            merged.statuses.update(states[process].statuses if states else ())
        merger.finish()
    return merged


def merge_outdated(session: Session, process: str) -> None:
    """Write only the documents that got an answer since they were written: cheap, however many documents there are."""
    merger = Merger(session, [process])
    for source in session.ledger.documents.outdated(process):
        if session.workspace.text(source).exists():
            merger.take(source)
    merger.finish()


@dataclass
class State:
    """A document in one stage: pages by status, what was found, and the questions that were given up."""

    statuses: Counter[str]
    found: dict[str, Any] | None
    failures: Sequence[Failure] = ()


@dataclass
class _Pending:
    """A document that is to be recorded. `content`: None if its file stays as it is."""

    process: str
    source: str
    state: State
    content: bytes | None = None


@dataclass
class Merger:
    """Updates documents in several stages, in their order.

    Documents are written in groups: one transaction for many files, and few documents in memory. A crash loses no more
    than a group, which is then built again: the ledger calls a file current only after it was written.
    """

    session: Session
    stages: Sequence[str]
    _group: dict[tuple[str, str], _Pending] = field(default_factory=dict)
    # By stage, of the document that was updated last. To keep those of the whole group would slow down the garbage
    # collector: they are many small objects.
    _latest: dict[str, Document] = field(default_factory=dict)

    def take(self, source: str) -> dict[str, State]:
        """Update a document in all stages. Returns its state by stage."""
        states, previous_changed, self._latest = {}, False, {}
        for process in self.stages:
            state, changed = self._update(process, source, previous_changed)
            states[process], previous_changed = state, changed
        if len(self._group) >= GROUP:
            self.finish()
        return states

    def document(self, process: str, text: PageText) -> Document | None:
        """The current document about this text, whether it was written yet or not. None if there is none."""
        latest = self._latest.get(process)
        if latest and latest.source == text.source:
            return latest
        if (process, text.source) in self._group:
            self.finish()
        document = load_document(self.session.workspace, process, text.source)
        return document if document and document.text_sha256 in (None, text.digest()) else None

    def finish(self) -> None:
        """Write the group, then record what was written."""
        workspace, ledger = self.session.workspace, self.session.ledger
        for pending in self._group.values():
            if pending.content is not None:
                write_atomic(workspace.document(pending.process, pending.source), pending.content)
        with ledger.transaction():
            for pending in self._group.values():
                process, source = pending.process, pending.source
                size = file_size(workspace.document(process, source)) or 0
                state = pending.state
                stamp = self._stamp(process, source)
                written = WrittenDocument(size, stamp, state.statuses, state.failures, state.found)
                ledger.documents.mark_written(process, source, written)
        self._group = {}

    def _update(self, process: str, source: str, previous_changed: bool) -> tuple[State, bool]:
        """(state, whether the file will change)."""
        ledger, path = self.session.ledger, self.session.workspace.document(process, source)
        size, written = file_size(path), ledger.documents.written(process, source)
        if not previous_changed and not ledger.documents.is_outdated(process, source):
            if written and (written.size, written.stamp) == (size, self._stamp(process, source)):
                state = State(written.statuses, written.found, written.failures)
                if written.found is None:
                    state.found = self._found(process, source)
                    self._group[process, source] = _Pending(process, source, state)
                return state, False
            older = self._older(process, source) if size is not None else None
            if older:
                state = _state_of(older, load_text(self.session.workspace, source))
                self._group[process, source] = _Pending(process, source, state)
                return state, False
        pending = self._build(process, source)
        changed = size is None or path.read_bytes() != pending.content
        if not changed:
            pending.content = None
        self._group[process, source] = pending
        return pending.state, changed

    def _older(self, process: str, source: str) -> Document | None:
        """A document with answers that the ledger does not know, because it was lost. Its file is kept as it is."""
        if self.session.ledger.asks.of_document(process, source):
            return None
        document = load_document(self.session.workspace, process, source)
        if document is None or not document.usage.get(process, Usage()).requests:
            return None
        text = load_text(self.session.workspace, source)
        return document if document.text_sha256 in (None, text.digest()) else None

    def _found(self, process: str, source: str) -> dict[str, Any] | None:
        """What the file of a document says about its mentions."""
        document = load_document(self.session.workspace, process, source)
        return document_findings(document, load_text(self.session.workspace, source)) if document else None

    def _stamp(self, process: str, source: str) -> str:
        """Changes whenever something changes that the document is built from, apart from the ledger's answers.

        With other SKIP_PAGES or another prefilter the status of pages that were not sent is different.
        """
        workspace, config = self.session.workspace, self.session.config
        stamp = f"{file_stamp(workspace.text(source))} {sorted(config.skip_pages)}"
        previous, prefilter = get_stage(process).previous, self.session.prefilter
        if previous:
            return f"{stamp} {file_stamp(workspace.document(previous, source))}"
        return f"{stamp} {prefilter.stamp(source)}" if prefilter else stamp

    def _build(self, process: str, source: str) -> _Pending:
        stage, text = get_stage(process), load_text(self.session.workspace, source)
        before = self.document(stage.previous, text) if stage.previous else None
        prefilter = self.session.prefilter
        prefiltered = prefilter.decided(text) if prefilter and stage.previous is None else ()
        builder = DocumentBuilder(stage, text, before, self.session.ledger, self.session.config, prefiltered)
        document = builder.build()
        state = State(Counter(document.page_status.values()), document_findings(document, text), builder.failures)
        content = document.model_dump_json(indent=2).encode() + b"\n"
        self._latest[process] = document
        return _Pending(process, source, state, content)


def _state_of(document: Document, text: PageText) -> State:
    """The state of a document from its file alone."""
    failed = ((page, status) for page, status in document.page_status.items() if status.startswith("failed:"))
    failures = [{"page": int(page), "kind": status.removeprefix("failed:")} for page, status in failed]
    return State(Counter(document.page_status.values()), document_findings(document, text), failures)


def updating(merger: Merger, entries: Iterable[ManifestEntry]) -> Iterator[ManifestEntry]:
    """The same entries, each after its document was updated."""
    for entry in entries:
        if not entry.problem:
            merger.take(entry.source)
        yield entry
    merger.finish()
