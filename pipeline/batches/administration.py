"""What a user does to batches by hand: cancel them, settle an unclear submission, delete remote files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.batches.collect import collect_incomplete
from pipeline.batches.session import Session
from pipeline.batches.submit import as_recorded
from pipeline.errors import ProviderError, UnknownBatchError, UnreachableError
from pipeline.files import append_line
from pipeline.ledger.batches import Batch
from pipeline.records import Outcome
from pipeline.words import counted


def cancel(session: Session, which: str) -> Iterator[str]:
    """Cancel `all` open batches, or one by its number or id. Yields a sentence for each.

    Raises ProviderError if there is no such batch.
    """
    open_batches = [batch for batch in session.ledger.batches.all() if batch.state != "collected"]
    chosen = [batch for batch in open_batches if which in ("all", str(batch.id), batch.batch_id)]
    if not chosen and which != "all":
        raise ProviderError(f"There is no open batch '{which}': run `python batch_status.py` to see all batches.")
    if not chosen:
        yield "There are no open batches to cancel."
    failed = 0
    for batch in chosen:
        try:
            yield _cancel(session, batch)
        except ProviderError as error:  # the others cost money while they run
            failed += 1
            yield f"{batch.batch_id} was not cancelled: {error}"
    if failed:
        raise ProviderError(
            f"{counted(failed, 'batch was', 'batches were')} not cancelled: run the same command again."
        )


def _cancel(session: Session, batch: Batch) -> str:
    if batch.state == "creating":
        return f"{batch.path} was not cancelled: first run `python batch_status.py --resolve {batch.id} sent`"
    if batch.state != "submitted":
        with session.ledger.transaction():
            outcome = Outcome("cancelled", message="cancelled before it was sent")
            session.ledger.batches.close(batch.id, outcome, "cancelled")
        return f"{batch.path} was cancelled before it was sent. It cost nothing."
    if batch.server != session.provider.server:
        return f"{batch.batch_id} was not cancelled: it belongs to another PROVIDER or base URL."
    info = session.provider.cancel(batch.batch_id or "")
    session.ledger.batches.update(batch.id, **as_recorded(info))
    command = f"python retrieve_results.py --process {batch.process}"
    if info.ended and info.status != "cancelled":
        return f"{info.id} has already ended ({info.status}): run `{command}` to collect its answers."
    are = "can be used" if session.provider.is_free else "are billed"
    return (
        f"{info.id} is {info.status}. Its answers so far {are}: run `{command}` to collect them. To ask the rest "
        f"again: `python run_batch.py --process {batch.process}`"
    )


def resolve(session: Session, which: str, verdict: str) -> str:
    """Settle by hand what the program cannot. Returns a sentence. Raises ProviderError.

    An interrupted submission: `lost` (send it again), `sent` (look in the provider's list again) or `sent:<batch id>`.
    A batch that the provider does not know, or whose results it no longer has: `lost` (ask its requests again); and if
    not even that can be found out, `abandon`.
    """
    batches = session.ledger.batches.all()
    batch = next((batch for batch in batches if which in (str(batch.id), batch.batch_id)), None)
    if batch is None or batch.state not in ("creating", "submitted"):
        raise ProviderError(f"There is no open batch '{which}': run `python batch_status.py` to see all batches.")
    word, _, batch_id = verdict.partition(":")
    if verdict == "abandon" and batch.state == "submitted":
        return _abandon(session, batch)
    if verdict == "lost" and batch.state == "submitted":
        return _give_up(session, batch)
    if verdict == "lost":
        session.ledger.batches.update(batch.id, state="uploaded")
        return f"{batch.path} will be submitted by the next run_batch.py --process {batch.process}."
    if batch.state == "submitted":
        raise ProviderError(
            f"Batch {batch.batch_id} was submitted: the only possible answer is `lost`, not `{verdict}`."
        )
    if word != "sent":
        raise ProviderError(f"'{verdict}' is not a possible answer: use `lost`, `sent` or `sent:<batch id>`.")
    return _connect(session, batch, batch_id)


def _connect(session: Session, batch: Batch, batch_id: str) -> str:
    """Record which batch a request file became; without an id it is searched for. Raises ProviderError."""
    provider = session.provider
    info = provider.status(batch_id) if batch_id else provider.find(batch.file_id or "")
    if info is None:
        raise ProviderError(
            f"The provider's list has no batch with the input file {batch.file_id}: use `sent:<batch id>` or `lost`."
        )
    is_taken = any(other.batch_id == info.id for other in session.ledger.batches.all())
    if is_taken or info.input_file_id not in (None, batch.file_id):
        raise ProviderError(f"Batch {info.id} is not that of {batch.path}, whose input file is {batch.file_id}.")
    session.ledger.batches.update(batch.id, state="submitted", batch_id=info.id, **as_recorded(info))
    append_line(session.workspace.batch_ids(batch.process), info.id)
    return f"{batch.path} is batch {info.id}."


def _give_up(session: Session, batch: Batch) -> str:
    if batch.server == session.provider.server and _rescue(session, batch):
        return (
            f"The results of batch {batch.batch_id} are incomplete. The answers that can be read were collected. Next: "
            f"`python run_batch.py --process {batch.process}`"
        )
    return _abandon(session, batch)


def _abandon(session: Session, batch: Batch) -> str:
    with session.ledger.transaction():
        outcome = Outcome("missing", message="declared lost by the user")
        session.ledger.batches.close(batch.id, outcome, "lost")
    return f"Batch {batch.batch_id} was given up. Next: `python run_batch.py --process {batch.process}`"


def _rescue(session: Session, batch: Batch) -> bool:
    """Collect what can be read of a batch whose results are incomplete. False if the provider does not have it.

    Raises ProviderError if it still exists: its answers are billed, so they should be collected.
    """
    provider = session.provider
    try:
        info = provider.status(batch.batch_id or "")
        if info.ended and collect_incomplete(session.stage_run(batch.process), batch, info):
            return True
    except UnknownBatchError:
        return False
    except UnreachableError as error:
        raise ProviderError(
            f"It cannot be found out now whether batch {batch.batch_id} is lost ({error}) Run the same command again "
            "later. To give up its answers whatever the provider has: `python batch_status.py --resolve "
            f"{batch.id} abandon`"
        ) from None
    next_step = f"`python retrieve_results.py --process {batch.process}` to collect its answers"
    if not info.ended:
        next_step = f"`python batch_status.py --cancel {batch.id}` to end it and keep its answers"
    raise ProviderError(f"Batch {info.id} is not lost, it is {info.status}: run {next_step}.")


def clean_remote(session: Session) -> Iterator[str]:
    """Delete from the provider the files of collected batches that are completely on this disk.

    Yields a sentence for each file that is kept, and one about what was deleted.
    """
    cleaned = 0
    for batch in session.ledger.batches.all(state="collected"):
        if batch.cleaned or batch.server != session.provider.server:
            continue
        kept = False
        for file_id, path in _copies(session, batch):
            try:
                if _delete(session, file_id, path):
                    continue
                yield f"{file_id} was kept: there is no complete copy of it in {session.workspace.root}."
            except ProviderError as error:
                yield f"{file_id} was not deleted: {error}"
            kept = True
        if not kept:
            session.ledger.batches.update(batch.id, cleaned=1)
            cleaned += 1
    yield f"Deleted the files of {counted(cleaned, 'batch', 'batches')} at the provider."


def _copies(session: Session, batch: Batch) -> Iterator[tuple[str, Path]]:
    """(file id at the provider, where its copy should be)."""
    workspace = session.workspace
    paths = {
        batch.file_id: workspace.root / batch.path,
        batch.output_file_id: workspace.results(batch.process, batch.batch_id or "", "output"),
        batch.error_file_id: workspace.results(batch.process, batch.batch_id or "", "errors"),
    }
    yield from ((file_id, path) for file_id, path in paths.items() if file_id)


def _delete(session: Session, file_id: str, copy: Path) -> bool:
    """Delete a remote file if the copy has the same size. Returns whether it is gone."""
    try:
        if not copy.exists() or session.provider.size(file_id) != copy.stat().st_size:
            return False
        session.provider.delete(file_id)
    except UnknownBatchError:
        pass  # it was deleted before
    return True
