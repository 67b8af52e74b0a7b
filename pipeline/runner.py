"""A command at work: documents refreshed, a stage planned, submitted, followed, collected and merged."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

from tqdm import tqdm

from pipeline.batches.collect import Collected, collect
from pipeline.batches.ledger import Ledger
from pipeline.batches.plan import Plan, drop_outdated_local, plan
from pipeline.batches.requests import RequestBuilder
from pipeline.batches.submit import note_batch_ids, submit, unsent
from pipeline.config import Config, load_config
from pipeline.documents.discover import load_text, manifest_entries, refresh
from pipeline.errors import ConfigError, InputError, StageOrderError
from pipeline.merge import Merged, load_document, merge_stage
from pipeline.providers import BatchProvider, make_provider
from pipeline.providers.base import BatchInfo
from pipeline.records import Ask, Document, ManifestEntry
from pipeline.stages import STAGES, Stage
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Selection:
    """What is sent. `limit`: the first so many documents; `documents`: a glob on ids; `pages`: first and last."""

    limit: int | None = None
    documents: str | None = None
    pages: tuple[int, int] | None = None

    def entries(self, workspace: Workspace) -> Iterator[ManifestEntry]:
        """The readable documents that are selected. Raises InputError where the glob matches none."""
        matching = 0
        for entry in manifest_entries(workspace, self.documents):
            if self.limit is not None and matching >= self.limit:
                return
            matching += 1
            if not entry.problem:
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


@dataclass
class Report:
    """What a command did, for its summary."""

    plan: Plan = field(default_factory=Plan)
    batches: int = 0
    collected: Collected = field(default_factory=Collected)
    merged: Merged = field(default_factory=Merged)
    problems: list[ManifestEntry] = field(default_factory=list)

    @property
    def needs_attention(self) -> bool:
        """Whether something is left that will not come right by itself."""
        failed = any(status.startswith("failed:") or status == "unreadable" for status in self.merged.statuses)
        return bool(self.problems or failed or self.collected.failed)


class Runner:
    """The settings, the workspace, the ledger and the provider of one command; closes the ledger when left."""

    def __init__(self, config: Config, command: str) -> None:
        self.config = config
        self.workspace = Workspace(config.output_dir)
        self.workspace.prepare()
        self.ledger = Ledger(self.workspace.ledger)
        self._command = command

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.ledger.close()

    @classmethod
    def from_file(cls, config_file: str | None, command: str) -> Runner:
        """Read the settings, and say which come from outside config.yaml. Raises ConfigError, WorkspaceError."""
        config = load_config(config_file)
        outside = [f"{key} ({source})" for key, source in config.overridden.items() if key != "OPENAI_API_KEY"]
        if outside:
            print("Settings from outside config.yaml: " + ", ".join(outside))
        return cls(config, command)

    @cached_property
    def provider(self) -> BatchProvider:
        """Made when first needed: raises ConfigError without a key."""
        return make_provider(self.config, self.workspace)

    def lock(self) -> AbstractContextManager[None]:
        """Held while planning, submitting or collecting, and never while waiting."""
        return self.workspace.lock(self._command)

    def run(self, process: str, selection: Selection) -> Report:
        """Plan and submit one stage. Raises StageOrderError where the stage before has not said anything."""
        report = Report()
        provider = self.provider
        with self.lock():
            refresh(self.config.input_dir, self.workspace, lambda source: self.ledger.mark_dirty("extraction", source))
            report.problems = [entry for entry in manifest_entries(self.workspace) if entry.problem]
            builder = self._builder(process)
            report.plan = plan(
                self._asks(STAGES[process], selection), builder, self.ledger, self.workspace, self.config
            )
            drop_outdated_local(process, self.ledger)
            if report.plan.first:
                provider.probe(builder.body(report.plan.first))
            report.batches = self._submit(process)
            report.merged = merge_stage(process, self.workspace, self.ledger, self.config.max_attempts)
        for shard in self.ledger.shards(process, "submitted"):
            if (shard.provider, shard.base_url) == (provider.kind, provider.base_url):
                provider.work(shard.batch_id or "")
        return report

    def retrieve(self, process: str) -> Report:
        """Collect what has ended, and merge. Raises StageOrderError where nothing of the stage was ever sent."""
        if not self.ledger.has_asks(process) and not (self.workspace.root / process).exists():
            raise StageOrderError(
                f"Nothing of {process} was sent yet: run  python run_batch.py --process {process}  first."
            )
        report = Report()
        note_batch_ids(process, self.ledger, self.workspace)
        report.collected = self._collect(process)
        with self.lock():
            report.merged = merge_stage(process, self.workspace, self.ledger, self.config.max_attempts)
        report.problems = [entry for entry in manifest_entries(self.workspace) if entry.problem]
        return report

    def follow(self, process: str) -> Report:
        """Wait for the batches of a stage, collecting and merging as they end."""
        progress = _Progress(process, self.ledger)
        total = Collected()
        while True:
            collected = self._collect(process, progress)
            total = _sum(total, collected)
            if not collected.running:
                break
            if collected.batches:
                with self.lock():
                    merge_stage(process, self.workspace, self.ledger, self.config.max_attempts)
            time.sleep(self.config.poll_seconds)
        progress.close()
        report = self.retrieve(process)
        report.collected = _sum(total, report.collected)
        return report

    def run_and_follow(self, process: str, selection: Selection) -> Report:
        """Run and follow until nothing is left that may still succeed, or MAX_ATTEMPTS rounds have been made."""
        total = Collected()
        batches = 0
        for _ in range(self.config.max_attempts):
            ran = self.run(process, selection)
            batches += ran.batches
            if not ran.batches and not self.ledger.shards(process, "submitted"):
                break
            total = _sum(total, self.follow(process).collected)
            if total.failed:
                break
        report = self.retrieve(process) if self.ledger.has_asks(process) else ran
        report.plan, report.batches, report.collected = ran.plan, batches, total
        return report

    def _builder(self, process: str) -> RequestBuilder:
        stage = STAGES[process]
        wanted = self.config.prompt_examples
        examples = wanted == "always" or (wanted == "auto" and self.config.provider == "local")
        system = stage.system_prompt(self.config, examples)
        return RequestBuilder.make(process, system, stage.response_format, self.provider, self.config)

    def _asks(self, stage: Stage, selection: Selection) -> Iterator[Ask]:
        entries = list(selection.entries(self.workspace))
        ready = Counter[str]()
        for entry in tqdm(entries, desc=f"Planning {stage.process}", unit=" papers", leave=False, disable=None):
            before = load_document(self.workspace, stage.previous, entry.source) if stage.previous else None
            ready.update(_readiness(before))
            for ask in stage.asks(load_text(self.workspace, entry.source), before):
                if selection.has_page(ask.page):
                    yield ask
        if stage.previous and not ready["ready"]:
            raise StageOrderError(_too_early(stage.process, stage.previous, ready["waiting"]))

    def _submit(self, process: str) -> int:
        waiting = unsent(process, self.ledger, self.provider)
        if not waiting:
            return 0
        requests = sum(shard.requests for shard in waiting)
        with tqdm(total=requests, desc=f"Submitting {process}", unit=" requests", disable=None, leave=False) as bar:
            return submit(process, self.ledger, self.workspace, self.provider, bar.update)

    def _collect(self, process: str, progress: _Progress | None = None) -> Collected:
        stage = STAGES[process]
        watch = progress.see if progress else lambda info: None
        return collect(process, self.ledger, self.workspace, self.provider, stage.parse, self.lock, watch)


class _Progress:
    """One bar over the requests of all batches that are on their way."""

    def __init__(self, process: str, ledger: Ledger) -> None:
        self._requests = {shard.batch_id: shard.requests for shard in ledger.shards(process, "submitted")}
        self._done: dict[str, int] = {}
        total = sum(self._requests.values())
        self._bar = tqdm(total=total, desc=f"Waiting for {process}", unit=" requests", disable=None)

    def see(self, info: BatchInfo) -> None:
        """Servers that tell no counts move the bar when the batch has ended."""
        done = (info.done or 0) + (info.failed or 0)
        self._done[info.id] = self._requests.get(info.id, done) if info.ended else done
        self._bar.n = sum(self._done.values())
        self._bar.set_postfix_str(info.status)

    def close(self) -> None:
        self._bar.close()


def _readiness(before: Document | None) -> Counter[str]:
    statuses = before.page_status.values() if before else ()
    return Counter("waiting" if status in ("pending", "not_sent") else "ready" for status in statuses)


def _too_early(process: str, previous: str, waiting: int) -> str:
    if waiting:
        command = f"python retrieve_results.py --process {previous}"
        return f"{process} needs the answers of {previous}, which are not here yet: run  {command}  first."
    return f"{process} builds on {previous}: run  python run_batch.py --process {previous}  first."


def _sum(one: Collected, other: Collected) -> Collected:
    return Collected(
        batches=one.batches + other.batches,
        running=other.running,
        elsewhere=other.elsewhere,
        outcomes=one.outcomes + other.outcomes,
        strangers=one.strangers + other.strangers,
        failed=one.failed + other.failed,
    )


def check_pages(text: str) -> tuple[int, int]:
    """`--pages` as given. Raises ConfigError for anything but a page or a range."""
    try:
        return page_range(text)
    except ValueError:
        raise ConfigError(f"--pages '{text}' is no page and no range: write 3 or 1-5.") from None
