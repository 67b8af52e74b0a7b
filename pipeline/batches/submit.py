"""Out: every written shard becomes exactly one batch, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.batches.ledger import Ledger, Shard
from pipeline.errors import ProviderError, UnsettledError
from pipeline.providers.base import BatchInfo, BatchProvider
from pipeline.workspace import Workspace, append_line

OPEN_STATES = ("written", "uploaded", "creating")


def unsent(process: str, ledger: Ledger, provider: BatchProvider) -> list[Shard]:
    """The shards of a stage that are for this provider and have no batch yet."""
    shards = [shard for shard in ledger.shards(process) if shard.state in OPEN_STATES]
    return [shard for shard in shards if (shard.provider, shard.base_url) == (provider.kind, provider.base_url)]


def submit(
    process: str, ledger: Ledger, workspace: Workspace, provider: BatchProvider, done: Callable[[int], object]
) -> int:
    """Upload and start what is unsent; `done` is told the requests of each batch. Returns the number of batches.

    Raises ProviderError where the provider refuses, UnsettledError where it cannot be known whether it agreed.
    """
    note_batch_ids(process, ledger, workspace)
    shards = unsent(process, ledger, provider)
    for shard in shards:
        _submit(shard, ledger, workspace, provider)
        done(shard.requests)
    return len(shards)


def note_batch_ids(process: str, ledger: Ledger, workspace: Workspace) -> None:
    """Write down in <process>_batches.txt every batch of the ledger that is not there yet."""
    path = workspace.batch_ids(process)
    noted = set(path.read_text(encoding="utf-8").split()) if path.exists() else set()
    for shard in ledger.shards(process):
        if shard.batch_id and shard.batch_id not in noted:
            append_line(path, shard.batch_id)


def _submit(shard: Shard, ledger: Ledger, workspace: Workspace, provider: BatchProvider) -> None:
    file_id = shard.file_id
    if file_id is None:
        file_id = provider.upload(workspace.root / shard.path)
        ledger.update_shard(shard.id, state="uploaded", file_id=file_id)
    info: BatchInfo | None
    if shard.state == "creating":
        info = provider.find(file_id)
        if info is None:
            raise _unsettled(shard)
    else:
        info = _create(shard, file_id, ledger, provider)
    ledger.update_shard(shard.id, state="submitted", batch_id=info.id, status=info.status)
    append_line(workspace.batch_ids(shard.process), info.id)


def _create(shard: Shard, file_id: str, ledger: Ledger, provider: BatchProvider) -> BatchInfo:
    ledger.update_shard(shard.id, state="creating")
    try:
        return provider.create(file_id, {"process": shard.process, "shard": str(shard.id)})
    except UnsettledError as error:
        raise _unsettled(shard, f" {error}") from None
    except ProviderError:
        ledger.update_shard(shard.id, state="uploaded")  # a plain no: nothing was made
        raise


def _unsettled(shard: Shard, why: str = "") -> UnsettledError:
    return UnsettledError(
        f"It cannot be known whether {shard.path} ({shard.requests} requests) became a batch, and it is not sent again "
        "unasked, because that might be paid twice. Look at the provider's list of batches: if it is there, run  "
        f"python batch_status.py --resolve {shard.id} sent:<batch id>  , if not,  "
        f"python batch_status.py --resolve {shard.id} lost .{why}"
    )


def resolve(shard_id: int, verdict: str, ledger: Ledger, workspace: Workspace) -> str:
    """Settle a shard by hand: `lost` (send it again) or `sent:<batch id>`. Returns a sentence, raises ProviderError."""
    shard = next((shard for shard in ledger.shards(state="creating") if shard.id == shard_id), None)
    if shard is None:
        raise ProviderError(f"There is no unsettled submission {shard_id}: batch_status.py shows those that there are.")
    if verdict == "lost":
        ledger.update_shard(shard.id, state="uploaded")
        return f"{shard.path} will be submitted by the next run_batch.py --process {shard.process}."
    word, _, batch_id = verdict.partition(":")
    if word != "sent" or not batch_id:
        raise ProviderError(f"'{verdict}' settles nothing: say  lost  or  sent:<batch id> .")
    ledger.update_shard(shard.id, state="submitted", batch_id=batch_id)
    append_line(workspace.batch_ids(shard.process), batch_id)
    return f"{shard.path} is batch {batch_id}."
