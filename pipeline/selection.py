"""Which pages are sent, and the questions about them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.batches.ledger import Ledger
from pipeline.documents.discover import load_text, manifest_entries
from pipeline.errors import ConfigError, InputError, StageOrderError
from pipeline.merge import load_document
from pipeline.records import Ask, Document, ManifestEntry, PageText
from pipeline.stages import Stage
from pipeline.stages.base import Rules
from pipeline.workspace import Workspace

OPEN = "not_sent"  # the stage before is not done with a page: what will be asked about it is not known yet


@dataclass(frozen=True)
class Selection:
    """What is sent. `limit`: the first so many documents; `documents`: a glob on ids; `pages`: first and last."""

    limit: int | None = None
    documents: str | None = None
    pages: tuple[int, int] | None = None

    def of(self, entries: Iterable[ManifestEntry]) -> Iterator[ManifestEntry]:
        """The readable ones that are selected; takes all entries. Raises InputError where the glob matches none."""
        matching = 0
        for entry in entries:
            if self.documents is None or fnmatchcase(entry.source, self.documents):
                matching += 1
                if not entry.problem and (self.limit is None or matching <= self.limit):
                    yield entry
        if self.documents and not matching:
            raise InputError(f"No document matches '{self.documents}': ids are the paths under INPUT_DIR without .pdf.")

    def has_page(self, page: int) -> bool:
        return self.pages is None or self.pages[0] <= page <= self.pages[1]


def page_range(text: str) -> tuple[int, int]:
    """`3` or `1-5`. Raises ValueError."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last:
        raise ValueError(text)
    return first, last


def check_pages(text: str) -> tuple[int, int]:
    """`--pages` as given. Raises ConfigError for anything but a page or a range."""
    try:
        return page_range(text)
    except ValueError:
        raise ConfigError(f"--pages '{text}' is no page and no range: write 3 or 1-5.") from None


def questions(
    stage: Stage, selected: Iterable[ManifestEntry], selection: Selection, rules: Rules, workspace: Workspace,
    ledger: Ledger, drop: bool = True,
) -> Generator[Ask]:  # fmt: skip
    """The asks of the selected pages as things stand now. Pages with nothing left to ask are taken out of the ledger.

    Raises StageOrderError where the stage before has not said anything.
    """
    ready = Counter[str]()
    for entry in selected:
        before = load_document(workspace, stage.previous, entry.source) if stage.previous else None
        ready.update(_readiness(before))
        text = load_text(workspace, entry.source)
        asks = [ask for ask in stage.asks(text, before, rules) if selection.has_page(ask.page)]
        if drop:
            _drop_answered_otherwise(stage, text, before, rules, asks, ledger)
        yield from asks
    if stage.previous and not ready["ready"]:
        raise StageOrderError(_too_early(stage.process, stage.previous, ready["waiting"]))


def _drop_answered_otherwise(
    stage: Stage, text: PageText, before: Document | None, rules: Rules, asks: list[Ask], ledger: Ledger
) -> None:
    """Pages that are gone, or that the stage before found nothing on this time, ask nothing any more.

    Nor do the parts of pages that are cut otherwise now.
    """
    asked = [(ask.page, ask.part) for ask in ledger.current(stage.process, text.source)]
    if asked:
        open_pages = {page.page for page in text.pages if stage.obstacle(page, before, rules.skip) in (None, OPEN)}
        parts = {(ask.page, ask.part) for ask in asks}
        cut = {page for page, _ in parts}
        gone = [place for place in asked if place[0] not in open_pages or (place[0] in cut and place not in parts)]
        ledger.drop_asks(stage.process, text.source, gone)


def drop_absent(workspace: Workspace, ledger: Ledger) -> None:
    """What waits to be sent for papers that are not there any more is not asked."""
    waiting = ledger.waiting()
    sources = {source for _, source, *_ in waiting}
    entries = (entry for entry in manifest_entries(workspace) if entry.source in sources) if sources else ()
    present = {entry.source: 0 if entry.problem else entry.n_pages for entry in entries}
    for process, source, page, part in waiting:
        if page > present.get(source, 0):
            ledger.drop_asks(process, source, [(page, part)])


def _readiness(before: Document | None) -> Counter[str]:
    statuses = before.page_status.values() if before else ()
    return Counter("waiting" if status in ("pending", "not_sent") else "ready" for status in statuses)


def _too_early(process: str, previous: str, waiting: int) -> str:
    if waiting:
        command = f"python retrieve_results.py --process {previous}"
        return f"{process} needs the answers of {previous}, which are not here yet: run  {command}  first."
    return f"{process} builds on {previous}: run  python run_batch.py --process {previous}  first."
