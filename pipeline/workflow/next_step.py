"""The command that helps next, from the state of all stages. It is never one that would change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pipeline.batches.session import Session
from pipeline.prefilter import PREFILTERED
from pipeline.processes import FINAL, PROCESSES, earlier_processes, previous_process
from pipeline.records import NOT_SENT
from pipeline.words import counted
from pipeline.workflow.counts import StageCounts, page_counts, readable_papers
from pipeline.workflow.report import Merged

CHECK = "python run_batch.py --check"
RUN_ALL = "python run_batch.py --process all"


@dataclass(frozen=True)
class Step:
    """`command`: what to run. `remark`: what it does, or what has to be done before. `other`: another command."""

    command: str
    remark: str = ""
    other: str = ""

    def __str__(self) -> str:
        return f"{self.command}  ({self.remark})" if self.remark else self.command


EXPORT = Step("python export_mentions.py --format html", other="python generate_finetune_data.py")


def run(process: str) -> str:
    return f"python run_batch.py --process {process}"


def retrieve(process: str) -> str:
    return f"python retrieve_results.py --process {process}"


@dataclass(frozen=True)
class Progress:
    """How far the stages are. `pages`: by stage and status. `open`: stages with batches that are not collected.

    `no_paper`: papers were looked for, and none can be read.
    """

    pages: Mapping[str, Mapping[str, int]]
    open: Collection[str] = ()
    no_paper: bool = False

    @classmethod
    def after(cls, session: Session, merged: Merged) -> Progress:
        """After a command has merged the documents, without another pass over the manifest."""
        no_paper = bool(merged.documents) and len(merged.problems) == merged.documents
        return cls(merged.stages, open_stages(session), no_paper)

    @classmethod
    def now(cls, session: Session, counts: Mapping[str, StageCounts] | None = None) -> Progress:
        """What the ledger and the manifest say. `counts`: if they are known."""
        pages = {process: stage.pages for process, stage in (counts or page_counts(session)).items()}
        no_paper = session.workspace.manifest.exists() and not readable_papers(session)
        return cls(pages, open_stages(session), no_paper)

    def next_step(self, process: str | None = None, sent_nothing: bool = False) -> Step | None:
        """What helps after a command about `process` (None: about all stages). None: nothing that a command could do.

        The stage itself comes first, then the stages after it, then those before it. `sent_nothing`: the command was to
        send something, so the stages before it come first, and pages that were never sent are worth a hint.
        """
        if process is None and not self.no_paper and not any(self._is_started(one) for one in PROCESSES):
            return Step(RUN_ALL, "with --dry-run it only shows the price")
        after = PROCESSES if process is None else PROCESSES[PROCESSES.index(process) + 1 :]
        before = PROCESSES if process is None else (process, *earlier_processes(process))
        obstacle = _first(self.obstacle(one) for one in before)
        return (
            (self.obstacle(process) if process else None)
            or (obstacle if sent_nothing else None)
            or _first(self.step(one) for one in after)
            or obstacle
            or (_first(self.rest(one) for one in PROCESSES) if sent_nothing else None)
            or (EXPORT if self.is_finished(FINAL) else None)
        )

    def step_before(self, process: str) -> Step | None:
        """What must be done in an earlier stage before `process` has anything to ask. None: nothing."""
        return _first(self.obstacle(one) for one in earlier_processes(process))

    def _is_started(self, process: str) -> bool:
        """Whether some page was asked about, or skipped."""
        return bool(self._of(process).keys() - {NOT_SENT})

    def is_finished(self, process: str) -> bool:
        """Whether some page has gone through the stage."""
        pages = self._of(process)
        return bool(pages["answered"] + pages["nothing_to_ask"])

    def obstacle(self, process: str) -> Step | None:
        """What must be done in this stage, before or instead of going on with the next one."""
        if self.no_paper:
            return Step(CHECK, "shows why no paper can be read")
        pages = self._of(process)
        if pages["pending"]:
            if process in self.open:
                return Step(retrieve(process))
            return Step(run(process), "asks the pending pages again")
        if self.is_finished(process):
            return None
        if any(status.startswith("failed:") for status in pages):
            return Step(f"{run(process)} --again failed", "after fixing the cause")
        if not pages or pages[NOT_SENT]:
            return None if self._previous_is_stuck(process) else Step(run(process))
        if pages[PREFILTERED]:
            return None  # the line about PREFILTER says why nothing was sent
        return Step(CHECK, "shows why no page can be asked about")

    def step(self, process: str) -> Step | None:
        """What can be done in this stage with what the stage before it has finished."""
        previous = previous_process(process)
        if previous and not self.is_finished(previous):
            return None
        return self.obstacle(process) or self.rest(process)

    def rest(self, process: str) -> Step | None:
        """Sending the pages that this stage could ask about, if there are any."""
        pages, previous = self._of(process), previous_process(process)
        count = pages[NOT_SENT]
        if previous:
            before = self._of(previous)
            count -= before[NOT_SENT] + before["pending"]
        return Step(run(process), f"asks about {counted(count, 'page')} not sent yet") if count > 0 else None

    def _of(self, process: str) -> Counter[str]:
        return Counter(self.pages.get(process, {}))

    def _previous_is_stuck(self, process: str) -> bool:
        previous = previous_process(process)
        return previous is not None and not self.is_finished(previous)


def _first(steps: Iterator[Step | None]) -> Step | None:
    return next(filter(None, steps), None)


def open_stages(session: Session) -> set[str]:
    """The stages with batches that are not collected."""
    return {batch.process for batch in session.ledger.batches.all() if batch.state != "collected"}
