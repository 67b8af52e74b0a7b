"""The state of all batches now, and what to do next about each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline.batches.collect import MAX_UNREACHABLE
from pipeline.batches.session import Session
from pipeline.batches.submit import as_recorded
from pipeline.errors import OddReplyError, UnknownBatchError, UnreachableError
from pipeline.ledger.batches import Batch
from pipeline.providers.base import ENDED

RETRIEVE, WAIT = "retrieve", "wait"
NO_REPLY = "no reply"  # the status of a batch about which the provider does not reply


@dataclass(frozen=True)
class BatchStatus:
    """A batch as the provider reports it now, what it used (tokens in, tokens out, dollars), and the next step."""

    batch: Batch
    usage: tuple[int, int, float | None]
    next_step: str


@dataclass
class StatusReport:
    """`ready`: batches that have ended and are not collected. `unsettled`: submissions that need the user."""

    batches: list[BatchStatus] = field(default_factory=list)
    ready: int = 0
    unsettled: int = 0
    running: bool = False


def read_status(session: Session) -> StatusReport:
    """Ask the provider about every submitted batch. It is not contacted if there is none.

    Raises ProviderError if it refuses to answer, or does not reply about any batch or about MAX_UNREACHABLE of them.
    """
    report, failures = StatusReport(), list[UnreachableError]()
    for batch in session.ledger.batches.all():
        try:
            current, next_step = _current(session, batch)
        except UnreachableError as error:
            failures.append(error)
            if sum(not isinstance(one, OddReplyError) for one in failures) == MAX_UNREACHABLE:
                raise
            current, next_step = replace(batch, status=NO_REPLY), "try again later"
        report.ready += next_step == RETRIEVE
        report.unsettled += batch.state == "creating"
        report.running |= next_step == WAIT
        report.batches.append(BatchStatus(current, session.ledger.usage.of_batch(batch.id), next_step))
    submitted = [one for one in report.batches if one.batch.state == "submitted"]
    if failures and len(failures) == len(submitted):
        raise failures[0]
    return report


def _current(session: Session, batch: Batch) -> tuple[Batch, str]:
    """The batch as the provider reports it now, and the next step."""
    if batch.state == "creating":
        return batch, f"--resolve {batch.id}"
    if batch.unsent:
        return batch, "waiting for queue"
    if batch.state == "collected":
        return batch, "done"
    if batch.server != session.provider.server:
        return batch, f"set PROVIDER {batch.provider}, {batch.base_url}"
    try:
        info = session.provider.status(batch.batch_id or "")
    except UnknownBatchError:
        return replace(batch, status="unknown"), "check the key"
    current = replace(batch, **as_recorded(info))  # type: ignore[arg-type]
    return current, RETRIEVE if info.status in ENDED else WAIT
