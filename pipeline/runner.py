"""A command at work: documents refreshed, a stage planned, submitted, followed, collected and merged."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from functools import cached_property

from tqdm import tqdm

from pipeline.batches.bring import adopt, bring_in, fetched
from pipeline.batches.collect import Collected, Collector
from pipeline.batches.estimate import Quote, check_consent, over_budget, quote
from pipeline.batches.ledger import Ledger
from pipeline.batches.plan import Again, Plan, check_not_lost, drop_outdated_local, plan
from pipeline.batches.requests import RequestBuilder
from pipeline.batches.submit import note_batch_ids, submit, unsent
from pipeline.check import Checked, check
from pipeline.config import PROCESSES, Config, load_config
from pipeline.documents.discover import manifest_entries, refreshed
from pipeline.errors import LockedError, StageOrderError, UnreachableError
from pipeline.merge import Merged, merge_changed, merge_stage
from pipeline.providers import BatchProvider, make_provider
from pipeline.providers.base import BatchInfo
from pipeline.records import Ask, ManifestEntry
from pipeline.selection import Selection, drop_absent, questions
from pipeline.stages import STAGES
from pipeline.stages.base import Rules
from pipeline.workspace import Workspace

PATIENCE = 20  # looks in a row, while waiting, at which nobody may answer: the network comes and goes
Announce = Callable[[Quote], object]


@dataclass(frozen=True)
class Orders:
    """What the user has agreed to. `again`: ask anew on purpose; `dry_run`: only say what it would cost."""

    yes: bool = False
    dry_run: bool = False
    again: Again | None = None


@dataclass
class Report:
    """What a command did, for its summary.

    `sent`: requests, and `batches` that they were sent in; `waiting`: batches that are not sent yet, for want of room
    in the queue, or because of `held`; `open`: batches that are on their way.
    """

    plan: Plan = field(default_factory=Plan)
    sent: int = 0
    batches: int = 0
    waiting: int = 0
    open: int = 0
    held: str | None = None
    collected: Collected = field(default_factory=Collected)
    merged: Merged = field(default_factory=Merged)
    problems: list[ManifestEntry] = field(default_factory=list)

    @property
    def rejected(self) -> bool:
        """Whether sending more would only bring more of the same trouble."""
        return bool(self.collected.failed or self.collected.refused or self.held)

    @property
    def must_stop(self) -> bool:
        """Whether the user has to do something before it makes sense to go on."""
        return bool(self.rejected or self.collected.unknown or self.collected.silent or self.collected.full)

    @property
    def needs_attention(self) -> bool:
        """Whether something is left that will not come right by itself."""
        failed = any(status.startswith("failed:") or status == "unreadable" for status in self.merged.statuses)
        return bool(self.problems or failed or self.must_stop)


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

    def check(self, tell: Callable[[str], object]) -> Checked:
        """Read what is new in the input folder, and tell a line about each paper."""
        with self.lock():
            self._refresh()
        return check(self.workspace, tell)

    def run(self, process: str, selection: Selection, orders: Orders, announce: Announce) -> Report:
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
            report.plan = self._plan(process, selection, orders, announce)
            report.problems = self._problems()
            if orders.dry_run:
                return report
            drop_absent(self.workspace, self.ledger)
            drop_outdated_local(process, self.ledger)
            self._submit(process, report)
            report.merged = self._merge(process)
        self._count_open(process, report)
        for shard in self.ledger.shards(process, "submitted"):
            if shard.is_for(self.provider.kind, self.provider.base_url):
                self.provider.work(shard.batch_id or "")
        return report

    def retrieve(self, process: str) -> Report:
        """Collect what has ended, merge, and send on what waits for room in the queue.

        Raises StageOrderError where nothing of the stage was ever sent.
        """
        report = Report()
        self._retrieve(process, report)
        return report

    def follow(self, process: str) -> Report:
        """Wait for the batches of a stage, collecting and merging as they end, and sending on what waits."""
        report = Report()
        self._follow(process, report)
        self._retrieve(process, report)
        return report

    def run_and_follow(self, process: str, selection: Selection, orders: Orders, announce: Announce) -> Report:
        """Run and follow until nothing is left that may still succeed, or MAX_ATTEMPTS rounds have been made.

        What was cancelled meanwhile is not asked again here: whoever cancels wants it to stop.
        """
        report = self.run(process, selection, orders, announce)
        problems, first = report.problems, report.plan
        cancelled = self._cancelled(process)
        for _ in range(self.config.max_attempts - 1):
            self._follow(process, report)
            stopped = report.must_stop or self._cancelled(process) != cancelled
            if stopped or not self._merge_alone(process).statuses["pending"]:
                break
            again = self.run(process, selection, replace(orders, again=None), announce)
            report.batches, report.sent = report.batches + again.batches, report.sent + again.sent
        self._follow(process, report)
        self._retrieve(process, report)
        report.problems, report.plan = problems, first
        return report

    def bring(self, process: str, names: Sequence[str]) -> Report:
        """Take result files that were made or fetched elsewhere for the answers of a stage, and merge them.

        `names`: files, or ids of batches, whose results are downloaded. Works without the ledger of before: custom ids
        are derived from the asks, which are worked out anew.
        """
        report = Report()
        with self.lock():
            stage, files = STAGES[process], fetched(names, process, self.workspace, self.provider)
            with self.questions(process, Selection(), drop=False) as asks:
                adopt(asks, self._builder(process), self.ledger)
            report.collected = bring_in(files, process, self.ledger, self.workspace, self.config, stage.parse)
            report.merged = self._merge(process)
        report.problems = self._problems()
        self._count_open(process, report)
        return report

    def _follow(self, process: str, report: Report) -> None:
        progress, silence = _Progress(process, self.ledger), 0
        while True:
            try:
                self._round(process, report, progress)
                silence = silence + 1 if report.collected.silent else 0
                going = report.collected.running or report.waiting
            except LockedError:  # somebody else is bringing it in
                going = True
            if not going or report.rejected or silence > PATIENCE:
                break
            time.sleep(self.config.poll_seconds)
        progress.close()

    def _round(self, process: str, report: Report, progress: _Progress) -> None:
        """One look at the batches: nothing is locked where there is nothing to do."""
        before = report.collected.batches
        self._collect(process, report, progress)
        if report.collected.batches > before:
            with self.lock():
                merge_changed(process, self.workspace, self.ledger, self.config)
        if unsent(process, self.ledger, self.provider) and not report.rejected:
            with self.lock():
                report.collected.running += self._submit(process, report)
        self._count_open(process, report)

    def _retrieve(self, process: str, report: Report) -> None:
        if not self.ledger.has_asks(process) and not (self.workspace.root / process).exists():
            raise StageOrderError(
                f"Nothing of {process} was sent yet: run  python run_batch.py --process {process}  first."
            )
        note_batch_ids(process, self.ledger, self.workspace)
        if not report.rejected:
            self._collect(process, report)
        with self.lock():
            report.merged = self._merge(process)
            if not report.rejected and unsent(process, self.ledger, self.provider):
                report.collected.running += self._submit(process, report)
        report.problems = self._problems()
        self._count_open(process, report)
        if report.collected.silent and not report.collected.batches:
            raise UnreachableError(report.collected.silent[0])

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

    def _refresh(self) -> None:
        """Bring the papers up to date."""
        for _ in refreshed(self.workspace, self.config):
            pass

    def _entries(self, process: str) -> Iterator[ManifestEntry]:
        """The papers, brought up to date. The first stage is planned while they are read.

        Later ones need what the stages before made of them, since their text may have changed.
        """
        if not STAGES[process].previous:
            return refreshed(self.workspace, self.config)
        self._refresh()
        if self.ledger.has_asks(PROCESSES[0]):
            self._merge(PROCESSES[0])
        entries = manifest_entries(self.workspace)
        return iter(tqdm(entries, desc=f"Planning {process}", unit=" papers", leave=False, disable=None))

    def questions(
        self, process: str, selection: Selection, drop: bool = True
    ) -> AbstractContextManager[Generator[Ask]]:
        """What a stage asks about the selected pages, as papers and answers are now. Ends all reading when it is left.

        `drop`: what is not asked any more is taken out of the ledger.
        """
        rules, selected = Rules.of(self.config), selection.of(self._entries(process))
        return closing(questions(STAGES[process], selected, selection, rules, self.workspace, self.ledger, drop))

    def _plan(self, process: str, selection: Selection, orders: Orders, announce: Announce) -> Plan:
        builder = self._builder(process)

        def agree(made: Plan) -> bool:
            quoted = quote(made, builder.recipe, self.ledger, self.config)
            announce(quoted)
            if orders.dry_run:
                return False
            check_consent(quoted, orders.yes)
            if made.first:
                self.provider.probe(builder.body(made.first))
            return True

        with self.questions(process, selection) as asks:
            return plan(
                asks, builder, self.ledger, self.workspace, self.config, agree, orders.again, dry=orders.dry_run
            )

    def _builder(self, process: str) -> RequestBuilder:
        stage = STAGES[process]
        wanted = self.config.prompt_examples
        examples = wanted == "always" or (wanted == "auto" and self.config.provider == "local")
        system = stage.system_prompt(self.config, examples)
        return RequestBuilder.make(process, system, stage.response_format, self.provider, self.config)

    def _submit(self, process: str, report: Report) -> int:
        """Send what may be sent now. Returns the number of batches."""
        report.held = over_budget(self.ledger, self.config)
        if report.held:
            return 0
        requests = sum(shard.requests for shard in unsent(process, self.ledger, self.provider))
        title = f"Submitting {process}"
        with tqdm(total=requests, desc=title, unit=" requests", disable=None, leave=False) as bar:
            sent = submit(process, self.ledger, self.workspace, self.provider, self.config, bar.update)
        report.batches += len(sent)
        report.sent += sum(shard.requests for shard in sent)
        return len(sent)

    def _collect(self, process: str, report: Report, progress: _Progress | None = None) -> None:
        parse = STAGES[process].parse
        collector = Collector(process, self.ledger, self.workspace, self.provider, self.config, parse, self.lock)
        collector.collect(report.collected, progress.see if progress else lambda info: None)

    def _merge(self, process: str) -> Merged:
        """Bring the documents of a stage up to date, after those of the stages before: their text may have changed."""
        for earlier in PROCESSES[: PROCESSES.index(process)]:
            if self.ledger.has_asks(earlier):
                merge_stage(earlier, self.workspace, self.ledger, self.config, later_too=False)
        return merge_stage(process, self.workspace, self.ledger, self.config)

    def _merge_alone(self, process: str) -> Merged:
        with self.lock():
            return self._merge(process)

    def _problems(self) -> list[ManifestEntry]:
        return [entry for entry in manifest_entries(self.workspace) if entry.problem]

    def _cancelled(self, process: str) -> int:
        return sum(shard.status in ("cancelled", "cancelling") for shard in self.ledger.shards(process))

    def _count_open(self, process: str, report: Report) -> None:
        report.waiting = len(unsent(process, self.ledger, self.provider))
        report.open = len(self.ledger.shards(process, "submitted"))


class _Progress:
    """One bar over the requests of all batches that are on their way."""

    def __init__(self, process: str, ledger: Ledger) -> None:
        self._process, self._ledger = process, ledger
        self._requests: dict[str | None, int] = {}
        self._done: dict[str, int] = {}
        self._bar = tqdm(desc=f"Waiting for {process}", unit=" requests", disable=None)

    def see(self, info: BatchInfo) -> None:
        """Servers that tell no counts move the bar when the batch has ended."""
        if info.id not in self._requests:
            shards = self._ledger.shards(self._process)
            self._requests = {s.batch_id: s.requests for s in shards if s.unsent or s.batch_id}
            self._bar.total = sum(s.requests for s in shards if s.unsent or s.state == "submitted")
        done = (info.done or 0) + (info.failed or 0)
        self._done[info.id] = self._requests.get(info.id, done) if info.ended else done
        self._bar.n = sum(self._done.values())
        self._bar.set_postfix_str(info.status)

    def close(self) -> None:
        self._bar.close()
