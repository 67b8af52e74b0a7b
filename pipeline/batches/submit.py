"""Every request file becomes exactly one batch, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pipeline.batches.queue import Queue
from pipeline.batches.request_files import update_unsent_files
from pipeline.batches.session import StageRun
from pipeline.errors import ProviderError, UnknownBatchError, UnreachableError, UnsettledError
from pipeline.files import append_line
from pipeline.ledger.batches import Batch
from pipeline.providers.base import ENDED, BatchInfo
from pipeline.words import counted


@dataclass
class Submitted:
    """The batches that were started, and a sentence for each submission of which nobody knows whether it succeeded."""

    started: list[Batch] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)


def submit(run: StageRun, report_progress: Callable[[int], object]) -> Submitted:
    """Upload and start what was not sent, as long as the provider's queue has room. The rest waits.

    `report_progress` gets the number of requests of each batch. Raises ProviderError if the provider refuses.
    """
    write_batch_ids(run)
    update_unsent_files(run)
    queue, asked_for_status = Queue(run), False
    made = Submitted()
    for batch in run.unsent():
        if not queue.has_room(batch) and not asked_for_status:
            _update_submitted(run)
            asked_for_status = True
        # A batch that the provider rejected has to be collected before more of the same is sent.
        if not queue.has_room(batch) or any(sent.status == "failed" for sent in run.batches("submitted")):
            break
        try:
            _submit(run, batch)
        except UnsettledError as error:
            made.unsettled.append(str(error))
            if batch.state != "creating":
                break  # while the server's replies are lost, another batch would be unsettled too
            continue  # an older one does not hold up the others
        report_progress(batch.requests)
        made.started.append(batch)
    return made


def write_batch_ids(run: StageRun) -> None:
    """Add to <process>_batches.txt every batch of the ledger that is missing there."""
    path = run.workspace.batch_ids(run.process)
    listed = set(run.workspace.listed_batches(run.process))
    for batch in run.batches():
        if batch.batch_id and batch.batch_id not in listed:
            append_line(path, batch.batch_id)


def as_recorded(info: BatchInfo) -> dict[str, str | int | None]:
    """What a provider reports about a batch, as the ledger keeps it."""
    names = ("status", "message", "created", "since", "expires", "done", "failed", "output_file_id", "error_file_id")
    return {name: getattr(info, name) for name in names}


def _update_submitted(run: StageRun) -> None:
    """Batches of any stage that have ended since take no room in the queue, even before they are collected."""
    for batch in run.ledger.batches.all(state="submitted"):
        if batch.server == run.provider.server and batch.status not in ENDED:
            with suppress(UnknownBatchError, UnreachableError):  # noted when it is collected
                run.ledger.batches.update(batch.id, **as_recorded(run.provider.status(batch.batch_id or "")))


def _submit(run: StageRun, batch: Batch) -> None:
    """Each step is in the ledger before the next one begins, so that it can be continued after a crash."""
    file_id = batch.file_id
    if file_id is None:
        file_id = run.provider.upload(run.workspace.root / batch.path)
        run.ledger.batches.update(batch.id, state="uploaded", file_id=file_id)
    info = _find(run, batch, file_id) if batch.state == "creating" else _create(run, batch, file_id)
    if info is None:
        raise _unsettled(batch, file_id)
    if any(other.batch_id == info.id for other in run.ledger.batches.all()):
        raise _unsettled(batch, file_id, f" (it named {info.id}, which is another batch of yours)")
    run.ledger.batches.update(batch.id, state="submitted", batch_id=info.id, **as_recorded(info))
    append_line(run.workspace.batch_ids(run.process), info.id)


def _find(run: StageRun, batch: Batch, file_id: str) -> BatchInfo | None:
    try:
        return run.provider.find(file_id)
    except ProviderError as error:
        raise _unsettled(batch, file_id, f" ({error})") from None


def _create(run: StageRun, batch: Batch, file_id: str) -> BatchInfo:
    run.ledger.batches.update(batch.id, state="creating")
    try:
        return run.provider.create(file_id, {"process": run.process, "part": str(batch.id)})
    except UnsettledError as error:
        raise _unsettled(batch, file_id, f" ({error})") from None
    except ProviderError:
        run.ledger.batches.update(batch.id, state="uploaded")  # a clear refusal: there is no batch
        raise


def _unsettled(batch: Batch, file_id: str, cause: str = "") -> UnsettledError:
    return UnsettledError(
        f"It is unknown whether {batch.path} ({counted(batch.requests, 'request')}) became a batch, because the "
        f"provider's reply was lost{cause}. It is not sent again, because it might be paid for twice. Look in the "
        f"provider's list of batches for the input file {file_id}: if it is there, run `python batch_status.py "
        f"--resolve {batch.id} sent:<batch id>`, if not, run `python batch_status.py --resolve {batch.id} lost`."
    )
