"""The ledger's answers -> one file per document and stage. The same answers give the same bytes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache

from tqdm import tqdm

from pipeline.batches.ledger import Ledger
from pipeline.batches.marks import Failure, MergedFile
from pipeline.batches.standing import Attempt, Standing, standing
from pipeline.config import PROCESSES, Config
from pipeline.documents.discover import load_text, manifest_entries
from pipeline.errors import WorkspaceError
from pipeline.records import Ask, Document, ManifestEntry, MentionPage, Page, PageText, Recipe
from pipeline.stages import STAGES, Stage
from pipeline.stages.base import Answered, Rules
from pipeline.stages.pieces import Piece
from pipeline.workspace import Workspace, file_size, file_stamp, replacing, write_atomic

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
    """A document as it is to be written, from the text with the stamp `text`; `content`: None if the file stays."""

    source: str
    text: str
    statuses: Counter[str]
    failures: list[Failure]
    content: bytes | None


def merge_stage(process: str, workspace: Workspace, ledger: Ledger, config: Config, later_too: bool = True) -> Merged:
    """Bring every document of the manifest up to date in `process`, and in the later stages that build on it."""
    merger = _Merger(process, workspace, ledger, config)
    entries = manifest_entries(workspace)
    for entry in tqdm(entries, desc=f"Merging {process}", unit=" papers", leave=False, disable=None):
        merger.take(entry)
    merger.finish()
    _write_failures(process, workspace, ledger)
    for later in PROCESSES[PROCESSES.index(process) + 1 : PROCESSES.index(process) + 2]:
        if later_too and ledger.has_asks(later):
            merge_stage(later, workspace, ledger, config)
    return merger.merged


def merge_changed(process: str, workspace: Workspace, ledger: Ledger, config: Config) -> None:
    """Write anew what has got an answer since, and nothing else: cheap, however many documents there are."""
    merger = _Merger(process, workspace, ledger, config)
    for source in ledger.dirty(process):
        if workspace.text(source).exists():
            merger.renew(source)
    merger.finish()


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

    def __init__(self, process: str, workspace: Workspace, ledger: Ledger, config: Config) -> None:
        self.merged = Merged()
        self._process, self._workspace, self._ledger, self._config = process, workspace, ledger, config
        self._group: list[_Made] = []

    def take(self, entry: ManifestEntry) -> None:
        """Count a document, and make it anew where its file does not show what is in the ledger."""
        self.merged.documents += 1
        if entry.problem:
            self.merged.unreadable += 1
            return
        self.merged.pages += entry.n_pages
        self.merged.statuses.update(self.renew(entry.source))

    def renew(self, source: str) -> Counter[str]:
        """Make a document anew, unless its file is up to date. Returns its pages by status."""
        statuses = self._statuses(source)
        if len(self._group) >= GROUP:
            self.finish()
        return statuses

    def _statuses(self, source: str) -> Counter[str]:
        """Of the file as it stands, if the ledger knows it and nothing has happened since, to it or to the ledger."""
        size = file_size(self._workspace.document(self._process, source))
        dirty, known = self._ledger.is_dirty(self._process, source), self._ledger.merged(self._process, source)
        # What is not sent is told by the settings, so with other settings a document is another one.
        text = f"{file_stamp(self._workspace.text(source))} {sorted(self._config.skip_pages)}"
        if known and (known.size, known.text) == (size, text) and not dirty:
            return known.statuses
        of_before = size is not None and known is None and not dirty  # of a time before this ledger
        made = self._as_it_is(source, text) if of_before else self._anew(source, text)
        self._group.append(made)
        return made.statuses

    def _as_it_is(self, source: str, stamp: str) -> _Made:
        document = load_document(self._workspace, self._process, source)
        assert document is not None
        return _Made(source, stamp, Counter(document.page_status.values()), _failures_of(document), None)

    def _anew(self, source: str, stamp: str) -> _Made:
        stage = STAGES[self._process]
        text = load_text(self._workspace, source)
        before = load_document(self._workspace, stage.previous, source) if stage.previous else None
        if before and before.text_sha256 not in (None, text.digest()):
            before = None  # it is about another text, and will be made anew
        document, failures = build_document(stage, text, before, self._ledger, self._config)
        content = document.model_dump_json(indent=2).encode() + b"\n"
        return _Made(source, stamp, Counter(document.page_status.values()), failures, content)

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
                merged = MergedFile(size, made.text, made.statuses)
                self._ledger.mark_merged(self._process, made.source, merged, made.failures)
        self.merged.rewritten += len(changed)
        self._group = []

    def _is_new(self, made: _Made) -> bool:
        path = self._workspace.document(self._process, made.source)
        return not path.exists() or path.read_bytes() != made.content


def _mark_later(process: str, source: str, ledger: Ledger) -> None:
    for later in PROCESSES[PROCESSES.index(process) + 1 :]:
        ledger.mark_dirty(later, source)


def build_document(
    stage: Stage, text: PageText, before: Document | None, ledger: Ledger, config: Config
) -> tuple[Document, list[Failure]]:
    """One document after `stage`, from the answers in the ledger and what the stage before knew; and its failures."""
    builder = _Builder(stage, text, before, ledger, config)
    for page in text.pages:
        builder.take(page)
    return builder.document, builder.failures


class _Builder:
    """Puts the pages of one document together."""

    def __init__(self, stage: Stage, text: PageText, before: Document | None, ledger: Ledger, config: Config) -> None:
        self.document = Document(source=text.source, process=stage.process, text_sha256=text.digest())
        self.failures: list[Failure] = []
        self._stage, self._text, self._before = stage, text, before
        if before:
            self.document.provenance = list(before.provenance)
            self.document.usage = dict(before.usage)
        self.document.usage[stage.process] = ledger.usage(stage.process, text.source)
        self._asked = {(ask.page, ask.part): ask for ask in ledger.current(stage.process, text.source)}
        self._first = {ask.page: ask for ask in reversed(self._asked.values())}
        self._attempts = defaultdict[tuple[int, int], list[Attempt]](list)
        for page, part, attempt in ledger.attempts_of(stage.process, text.source) if self._asked else ():
            self._attempts[page, part].append(attempt)
        self._rules, self._max_attempts = Rules.of(config), config.max_attempts
        self._recipe_of = cache(ledger.recipe)

    def take(self, page: Page) -> None:
        status, known = self._page(page)
        self.document.page_status[str(page.page)] = status
        if known:
            self.document.pages.append(known)

    def _page(self, page: Page) -> tuple[str, MentionPage | None]:
        found = self._before.page(page.page) if self._before else None
        first = self._first.get(page.page)
        if first is None:
            return self._stage.obstacle(page, self._before, self._rules.skip) or "not_sent", found
        recipe = self._recipe_of(first.recipe)
        asks = list(self._stage.page_asks(self._text, page, self._before, self._rules.as_asked(recipe)))
        if not asks:
            return self._stage.obstacle(page, self._before, frozenset()) or "not_sent", found
        if any(self._is_stale(ask) for _, ask in asks):
            return "not_sent", found
        stands = [standing(self._attempts[page.page, ask.part], self._max_attempts) for _, ask in asks]
        if any(stand.state in ("to_send", "in_flight") for stand in stands):
            return "pending", found
        return self._final(page, found, list(zip(asks, stands, strict=True)), recipe)

    def _is_stale(self, ask: Ask) -> bool:
        """Whether it was never asked, or about something that has changed since."""
        asked = self._asked.get((ask.page, ask.part))
        return asked is None or asked.basis != ask.basis

    def _final(
        self, page: Page, found: MentionPage | None, parts: list[tuple[tuple[Piece, Ask], Standing]], recipe: Recipe
    ) -> tuple[str, MentionPage | None]:
        """A page to whose parts nothing more comes: those that were given up do not keep the others from counting."""
        answers, status = [], "answered"
        for (piece, ask), stand in parts:
            if stand.state == "answered":
                answers.append(Answered(piece, self._stage.parse(_content(stand), ask.expects)))
            elif status == "answered":
                status = f"failed:{stand.last.outcome if stand.last else ''}"
        self._note_failures(page.page, parts)
        if not answers:
            return status, found
        merged = self._stage.merge(page, found, answers)
        merged.answered_by = self._provenance(recipe)
        return status, merged

    def _note_failures(self, page: int, parts: list[tuple[tuple[Piece, Ask], Standing]]) -> None:
        for (_, ask), stand in parts:
            if stand.state != "answered" and stand.last:
                failure = {"page": page} | ({"part": ask.part} if len(parts) > 1 else {})
                kind, message = stand.last.outcome or "", stand.last.message
                attempts = len(self._attempts[page, ask.part])
                self.failures.append({**failure, "kind": kind, "message": message, "attempts": attempts})

    def _provenance(self, made: Recipe) -> int:
        if made not in self.document.provenance:
            self.document.provenance.append(made)
        return self.document.provenance.index(made)


def _content(stand: Standing) -> str:
    assert stand.last and stand.last.content is not None
    return stand.last.content


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
