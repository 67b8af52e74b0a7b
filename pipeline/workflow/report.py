"""What a command did."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from pipeline.batches.collect import Collected
from pipeline.batches.plan import Plan
from pipeline.records import ManifestEntry


@dataclass
class Merged:
    """The documents of one stage: how many, their pages by status, and the papers that cannot be read.

    `stages`: the pages by status of each stage that was started.
    `without_ocr`: papers with pages that OCR should have read, but could not.
    """

    documents: int = 0
    pages: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[ManifestEntry] = field(default_factory=list)
    stages: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    without_ocr: int = 0

    def add(self, entry: ManifestEntry) -> None:
        """Count a document. Its pages by status are added by the caller."""
        self.documents += 1
        if entry.problem:
            self.problems.append(entry)
        else:
            self.pages += entry.n_pages


@dataclass
class Report:
    """What a command did, for its summary.

    `planned`: whether it was to send something, as in `plan`; otherwise that is empty.
    `blocked`: pages that the previous stage has not answered yet. `sent`: requests, and `batches` that they were sent
    in. `waiting`: batches that were not sent because the queue is full, or because of `held`. `open`: batches that were
    submitted and are not collected. `unsettled`: a sentence for each submission that may or may not have succeeded.
    `unreadable`: what could not be read in the files of `--results`.
    """

    plan: Plan = field(default_factory=Plan)
    planned: bool = False
    blocked: int = 0
    sent: int = 0
    batches: int = 0
    waiting: int = 0
    open: int = 0
    held: str | None = None
    unsettled: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    collected: Collected = field(default_factory=Collected)
    merged: Merged = field(default_factory=Merged)

    @property
    def sent_nothing(self) -> bool:
        """Whether the command was to send something, but nothing had to be sent."""
        return self.planned and not self.plan.to_send

    @property
    def is_dead_end(self) -> bool:
        """Whether the next stage has nothing to ask: no paper can be read, or pages failed and none was answered."""
        statuses = self.merged.statuses
        if self.merged.documents and len(self.merged.problems) == self.merged.documents:
            return True
        failed = any(status.startswith("failed:") for status in statuses)
        return failed and not statuses["answered"] + statuses["nothing_to_ask"] + statuses["pending"]

    @property
    def rejected(self) -> bool:
        """Whether sending more would only repeat the same error."""
        return bool(self.collected.failed or self.collected.refused or self.held)

    @property
    def must_stop(self) -> bool:
        """Whether the user has to do something before the next stage makes sense."""
        got = self.collected
        return bool(
            self.rejected or self.unsettled or got.unknown or got.unreachable or got.no_room or self.is_dead_end
        )

    @property
    def needs_attention(self) -> bool:
        """Whether something is left that running the commands again does not fix."""
        failed = any(status.startswith("failed:") or status == "unreadable" for status in self.merged.statuses)
        return bool(self.merged.problems or self.merged.without_ocr or failed or self.unreadable or self.must_stop)
