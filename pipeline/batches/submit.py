"""Out: every written shard becomes exactly one batch, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.batches.ledger import Ledger, Shard
from pipeline.batches.queue import Queue
from pipeline.batches.shards import tidy_unsent
from pipeline.config import Config
from pipeline.errors import ProviderError, UnsettledError
from pipeline.providers.base import ENDED, BatchInfo, BatchProvider
from pipeline.workspace import Workspace, append_line


def unsent(process: str, ledger: Ledger, provider: BatchProvider) -> list[Shard]:
    """The shards of a stage that are for this provider and have no batch yet."""
    shards = (shard for shard in ledger.shards(process) if shard.unsent)
    return [shard for shard in shards if shard.is_for(provider.kind, provider.base_url)]


def submit(
    process: str, ledger: Ledger, workspace: Workspace, provider: BatchProvider, config: Config,
    done: Callable[[int], object] = lambda requests: None,
) -> list[Shard]:  # fmt: skip
    """Upload and start what is unsent, as long as the provider's queue has room; the rest waits in the ledger.

    `done` is told the requests of each batch. Returns the shards that were started.
    Raises ProviderError where the provider refuses, UnsettledError where it cannot be known whether it agreed.
    """
    note_batch_ids(process, ledger, workspace)
    tidy_unsent(ledger, workspace, config)
    queue, looked = Queue(ledger, config), False
    sent: list[Shard] = []
    for shard in unsent(process, ledger, provider):
        if not queue.has_room(shard) and not looked:
            _look(ledger, provider)
            looked = True
        if not queue.has_room(shard) or _has_failed(process, ledger):
            break
        _submit(shard, ledger, workspace, provider)
        done(shard.requests)
        sent.append(shard)
    return sent


def note_batch_ids(process: str, ledger: Ledger, workspace: Workspace) -> None:
    """Write down in <process>_batches.txt every batch of the ledger that is not there yet."""
    path = workspace.batch_ids(process)
    noted = set(path.read_text(encoding="utf-8").split()) if path.exists() else set()
    for shard in ledger.shards(process):
        if shard.batch_id and shard.batch_id not in noted:
            append_line(path, shard.batch_id)


def _has_failed(process: str, ledger: Ledger) -> bool:
    """Whether a batch was not let in, and has to be looked at before more is sent."""
    return any(shard.status == "failed" for shard in ledger.shards(process, "submitted"))


def _look(ledger: Ledger, provider: BatchProvider) -> None:
    """Batches that have ended since take no room any more, whether their answers are here or not."""
    for shard in ledger.shards(state="submitted"):
        if shard.is_for(provider.kind, provider.base_url) and shard.status not in ENDED:
            ledger.update_shard(shard.id, **told(provider.status(shard.batch_id or "")))


def told(info: BatchInfo) -> dict[str, str | int | None]:
    """What a provider says of a batch, as the ledger keeps it."""
    names = ("status", "message", "created", "since", "expires", "done", "failed", "output_file_id", "error_file_id")
    return {name: getattr(info, name) for name in names}


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
    ledger.update_shard(shard.id, state="submitted", batch_id=info.id, **told(info))
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
        "unasked, because that might be paid twice. Look at the provider's list of batches for one with the input "
        f"file {shard.file_id}: if it is there, run  python batch_status.py --resolve {shard.id} sent:<batch id>  , "
        f"if not,  python batch_status.py --resolve {shard.id} lost .{why}"
    )
