"""The command that helps next, from the state of all stages. It is never one that would change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.batches.session import Session
from pipeline.prefilter import PREFILTERED
from pipeline.processes import FINAL, PROCESSES, earlier_processes, previous_process
from pipeline.records import NOT_SENT
from pipeline.words import counted
from pipeline.workflow.counts import StageCounts, page_counts, readable_papers

CHECK = "python run_batch.py --check"
EXPORT = "python export_mentions.py --format html  (a report), or  python generate_finetune_data.py"


@dataclass(frozen=True)
class Step:
    """`command`: what to run. `remark`: what it does, or what has to be done before."""

    command: str
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.command}  ({self.remark})" if self.remark else self.command


def run(process: str) -> str:
    return f"python run_batch.py --process {process}"


def retrieve(process: str) -> str:
    return f"python retrieve_results.py --process {process}"


def next_step(session: Session, process: str | None = None, sent_nothing: bool = False) -> Step | None:
    """What helps after a command about `process` (None: about all stages). None: nothing that a command could do.

    The stage itself comes first, then the stages after it, then those before it. `sent_nothing`: the command was to
    send something, so the stages before it come first, and pages that were never sent are worth a hint.
    """
    progress = _Progress.of(session)
    after = PROCESSES if process is None else PROCESSES[PROCESSES.index(process) + 1 :]
    before = PROCESSES if process is None else (process, *earlier_processes(process))
    obstacle = _first(progress.obstacle(one) for one in before)
    return (
        (progress.obstacle(process) if process else None)
        or (obstacle if sent_nothing else None)
        or _first(progress.step(one) for one in after)
        or obstacle
        or (_first(progress.rest(one) for one in PROCESSES) if sent_nothing else None)
        or (Step(EXPORT) if progress.is_finished(FINAL) else None)
    )


def step_before(session: Session, process: str) -> Step | None:
    """What must be done in an earlier stage before `process` has anything to ask. None: nothing."""
    progress = _Progress.of(session)
    return _first(progress.obstacle(one) for one in earlier_processes(process))


def _first(steps: Iterator[Step | None]) -> Step | None:
    return next(filter(None, steps), None)


@dataclass(frozen=True)
class _Progress:
    """The pages of each stage by status, and the stages with batches that are not collected."""

    stages: Mapping[str, StageCounts]
    papers: int
    is_read: bool
    open: Sequence[str] = field(default_factory=tuple)

    @classmethod
    def of(cls, session: Session) -> _Progress:
        batches = session.ledger.batches.all()
        still_open = {batch.process for batch in batches if batch.state != "collected"}
        return cls(
            page_counts(session), len(readable_papers(session)), session.workspace.manifest.exists(), [*still_open]
        )

    def is_finished(self, process: str) -> bool:
        """Whether some page has gone through the stage."""
        pages = self.stages[process].pages
        return bool(pages["answered"] + pages["nothing_to_ask"])

    def obstacle(self, process: str) -> Step | None:
        """What must be done in this stage, before or instead of going on with the next one."""
        if self.is_read and not self.papers:
            return Step(CHECK, "shows why no paper can be read")
        pages = self.stages[process].pages
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
        pages, previous = self.stages[process].pages, previous_process(process)
        count = pages[NOT_SENT]
        if previous:
            before = self.stages[previous].pages
            count -= before[NOT_SENT] + before["pending"]
        return Step(run(process), f"asks about {counted(count, 'page')} not sent yet") if count > 0 else None

    def _previous_is_stuck(self, process: str) -> bool:
        previous = previous_process(process)
        return previous is not None and not self.is_finished(previous)
