"""A command at work: documents refreshed, a stage planned, submitted, followed, collected and merged."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from pipeline.batches.bring import adopt, bring_in
from pipeline.batches.collect import Collected, Collector
from pipeline.batches.estimate import Quote, check_consent, quote
from pipeline.batches.ledger import Ledger
from pipeline.batches.plan import Again, Plan, check_not_lost, drop_outdated_local, plan
from pipeline.batches.requests import RequestBuilder
from pipeline.batches.submit import note_batch_ids, submit, unsent
from pipeline.config import Config, load_config
from pipeline.documents.discover import load_text, manifest_entries, refresh
from pipeline.errors import ConfigError, InputError, LockedError, StageOrderError, UnreachableError
from pipeline.merge import Merged, load_document, merge_stage
from pipeline.providers import BatchProvider, make_provider
from pipeline.providers.base import BatchInfo
from pipeline.records import Ask, Document, ManifestEntry
from pipeline.stages import STAGES, Stage
from pipeline.workspace import Workspace

PATIENCE = 20  # looks in a row, while waiting, at which nobody may answer: the network comes and goes


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


@dataclass(frozen=True)
class Orders:
    """What the user has agreed to. `again`: ask anew on purpose; `dry_run`: only say what it would cost."""

    yes: bool = False
    dry_run: bool = False
    again: Again | None = None


@dataclass
class Report:
    """What a command did, for its summary. `waiting`: batches that are not sent yet, for want of room in the queue."""

    plan: Plan = field(default_factory=Plan)
    batches: int = 0
    waiting: int = 0
    collected: Collected = field(default_factory=Collected)
    merged: Merged = field(default_factory=Merged)
    problems: list[ManifestEntry] = field(default_factory=list)

    @property
    def needs_attention(self) -> bool:
        """Whether something is left that will not come right by itself."""
        failed = any(status.startswith("failed:") or status == "unreadable" for status in self.merged.statuses)
        return bool(self.problems or failed or self.must_stop)

    @property
    def rejected(self) -> bool:
        """Whether sending more would only bring more of the same trouble."""
        return bool(self.collected.failed or self.collected.refused)

    @property
    def must_stop(self) -> bool:
        """Whether the user has to do something before it makes sense to go on."""
        return bool(self.rejected or self.collected.unknown)


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
        return make_provider(self.config, self.workspace)

    def lock(self) -> AbstractContextManager[None]:
        """Held while planning, submitting or collecting, and never while waiting."""
        return self.workspace.lock(self._command)

    def run(self, process: str, selection: Selection, orders: Orders, announce: Callable[[Quote], object]) -> Report:
        """Plan and submit one stage. `announce` is shown what it will cost before anything is sent.

        Raises StageOrderError where the stage before has not said anything, ConsentError where it would cost more than
        was agreed to.
        """
        report = Report()
        if not orders.dry_run:
            self.provider.ready()
        with self.lock():
            if not orders.yes:
                check_not_lost(process, self.ledger, self.workspace)
            refresh(self.config.input_dir, self.workspace, lambda source: self.ledger.mark_dirty("extraction", source))
            report.problems = self._problems()
            report.plan = self._plan(process, selection, orders, announce)
            if orders.dry_run:
                return report
            drop_outdated_local(process, self.ledger)
            report.batches = self._submit(process)
            report.merged = self._merge(process)
        report.waiting = len(unsent(process, self.ledger, self.provider))
        for shard in self.ledger.shards(process, "submitted"):
            if (shard.provider, shard.base_url) == (self.provider.kind, self.provider.base_url):
                self.provider.work(shard.batch_id or "")
        return report

    def retrieve(self, process: str) -> Report:
        """Collect what has ended, merge, and send on what waits for room in the queue.

        Raises StageOrderError where nothing of the stage was ever sent.
        """
        if not self.ledger.has_asks(process) and not (self.workspace.root / process).exists():
            raise StageOrderError(
                f"Nothing of {process} was sent yet: run  python run_batch.py --process {process}  first."
            )
        report = Report()
        note_batch_ids(process, self.ledger, self.workspace)
        report.collected = self._collect(process)
        with self.lock():
            report.merged = self._merge(process)
            if not report.rejected and unsent(process, self.ledger, self.provider):
                report.batches = self._submit(process)
        report.waiting = len(unsent(process, self.ledger, self.provider))
        report.problems = self._problems()
        return report

    def bring(self, process: str, files: Sequence[Path]) -> Report:
        """Take result files that were made or fetched elsewhere for the answers of a stage, and merge them.

        Works without the ledger of before: custom ids are derived from the asks, which are worked out anew.
        """
        report = Report()
        with self.lock():
            refresh(self.config.input_dir, self.workspace, lambda source: self.ledger.mark_dirty("extraction", source))
            adopt(self._asks(STAGES[process], Selection()), self._builder(process), self.ledger)
            report.collected = bring_in(files, process, self.ledger, self.config, STAGES[process].parse)
            report.merged = self._merge(process)
        report.problems = self._problems()
        return report

    def follow(self, process: str) -> Report:
        """Wait for the batches of a stage, collecting and merging as they end, and sending on what waits."""
        progress = _Progress(process, self.ledger)
        total, silence, report = Collected(), 0, Report()
        while True:
            try:
                report = self._step(process, progress)
                total, silence = _sum(total, report.collected), 0
            except LockedError:  # somebody else is bringing it in
                report = Report(collected=Collected(running=1))
            except UnreachableError:
                report, silence = Report(collected=Collected(running=1)), silence + 1
                if silence > PATIENCE:
                    raise
            if report.rejected or not (report.collected.running or report.waiting):
                break
            time.sleep(self.config.poll_seconds)
        progress.close()
        report = self.retrieve(process)
        report.collected = _sum(total, report.collected)
        return report

    def _step(self, process: str, progress: _Progress) -> Report:
        """One look at the batches: nothing is locked where there is nothing to do."""
        report = Report(collected=self._collect(process, progress))
        waiting = unsent(process, self.ledger, self.provider)
        if report.collected.batches or waiting:
            with self.lock():
                if report.collected.batches:
                    report.merged = self._merge(process)
                if waiting and not report.rejected:
                    report.batches = submit(process, self.ledger, self.workspace, self.provider, self.config)
        report.waiting = len(unsent(process, self.ledger, self.provider))
        report.collected.running += report.batches
        return report

    def run_and_follow(
        self, process: str, selection: Selection, orders: Orders, announce: Callable[[Quote], object]
    ) -> Report:
        """Run and follow until nothing is left that may still succeed, or MAX_ATTEMPTS rounds have been made.

        What was cancelled is not asked again here: whoever cancels wants it to stop.
        """
        first = self.run(process, selection, orders, announce)
        total, batches = Collected(), first.batches
        for round_number in range(1, self.config.max_attempts + 1):
            if not self.ledger.shards(process, "submitted") and not unsent(process, self.ledger, self.provider):
                break
            followed = self.follow(process)
            total = _sum(total, followed.collected)
            stopped = followed.must_stop or followed.collected.outcomes["cancelled"]
            if stopped or not followed.merged.statuses["pending"] or round_number == self.config.max_attempts:
                break
            batches += self.run(process, selection, replace(orders, again=None), announce).batches
        report = self.retrieve(process) if self.ledger.has_asks(process) else first
        report.plan, report.batches, report.collected = first.plan, batches, _sum(total, report.collected)
        return report

    def stage_counts(self) -> dict[str, tuple[int, Counter[str]]]:
        """By stage: the documents it has got to, and their pages by status. Nothing is read but the ledger."""
        counts = {process: (0, Counter[str]()) for process in STAGES}
        if not self.workspace.manifest.exists():
            return counts
        present = {entry.source for entry in manifest_entries(self.workspace) if not entry.problem}
        for process in counts:
            for source, statuses in self.ledger.all_merged(process):
                if source in present:
                    documents, pages = counts[process]
                    pages.update(statuses)
                    counts[process] = documents + 1, pages
        return counts

    def _plan(self, process: str, selection: Selection, orders: Orders, announce: Callable[[Quote], object]) -> Plan:
        builder = self._builder(process)

        def agree(made: Plan) -> bool:
            quoted = quote(made, builder.recipe, self.ledger, self.config)
            announce(quoted)
            if orders.dry_run:
                return False
            check_consent(quoted, orders.yes, self.ledger, self.config)
            if made.first:
                self.provider.probe(builder.body(made.first))
            return True

        asks = self._asks(STAGES[process], selection)
        return plan(asks, builder, self.ledger, self.workspace, self.config, agree, orders.again, dry=orders.dry_run)

    def _merge(self, process: str) -> Merged:
        return merge_stage(process, self.workspace, self.ledger, self.config.max_attempts)

    def _problems(self) -> list[ManifestEntry]:
        return [entry for entry in manifest_entries(self.workspace) if entry.problem]

    def _builder(self, process: str) -> RequestBuilder:
        stage = STAGES[process]
        wanted = self.config.prompt_examples
        examples = wanted == "always" or (wanted == "auto" and self.config.provider == "local")
        system = stage.system_prompt(self.config, examples)
        return RequestBuilder.make(process, system, stage.response_format, self.provider, self.config)

    def _asks(self, stage: Stage, selection: Selection) -> Iterator[Ask]:
        ready = Counter[str]()
        for entry in tqdm(
            selection.entries(self.workspace),
            desc=f"Planning {stage.process}",
            unit=" papers",
            leave=False,
            disable=None,
        ):
            before = load_document(self.workspace, stage.previous, entry.source) if stage.previous else None
            ready.update(_readiness(before))
            for ask in stage.asks(load_text(self.workspace, entry.source), before):
                if selection.has_page(ask.page):
                    yield ask
        if stage.previous and not ready["ready"]:
            raise StageOrderError(_too_early(stage.process, stage.previous, ready["waiting"]))

    def _submit(self, process: str) -> int:
        requests = sum(shard.requests for shard in unsent(process, self.ledger, self.provider))
        title = f"Submitting {process}"
        with tqdm(total=requests, desc=title, unit=" requests", disable=None, leave=False) as bar:
            return submit(process, self.ledger, self.workspace, self.provider, self.config, bar.update)

    def _collect(self, process: str, progress: _Progress | None = None) -> Collected:
        parse = STAGES[process].parse
        collector = Collector(process, self.ledger, self.workspace, self.provider, self.config, parse, self.lock)
        return collector.collect(progress.see if progress else lambda info: None)


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
    """Both rounds together; what is still running is told by the later one."""
    return Collected(
        batches=one.batches + other.batches,
        running=other.running,
        elsewhere=other.elsewhere,
        requeued=one.requeued + other.requeued,
        outcomes=one.outcomes + other.outcomes,
        strangers=one.strangers + other.strangers,
        failed=one.failed + other.failed,
        refused=one.refused + other.refused,
        unknown=other.unknown,
        cost_usd=one.cost_usd + other.cost_usd,
    )


def check_pages(text: str) -> tuple[int, int]:
    """`--pages` as given. Raises ConfigError for anything but a page or a range."""
    try:
        return page_range(text)
    except ValueError:
        raise ConfigError(f"--pages '{text}' is no page and no range: write 3 or 1-5.") from None
