"""What a user does to batches by hand: cancel them, settle a doubt, delete what the provider still keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.batches.ledger import Ledger, Shard
from pipeline.batches.submit import told
from pipeline.errors import ProviderError, UnknownBatchError
from pipeline.providers.base import BatchProvider
from pipeline.records import Outcome
from pipeline.workspace import Workspace, append_line


def cancel(which: str, ledger: Ledger, provider: BatchProvider) -> Iterator[str]:
    """Cancel `all` open batches or one (by its number or id). Yields a sentence for each.

    Raises ProviderError where there is no such batch.
    """
    shards = [shard for shard in ledger.shards() if shard.state != "collected" and _is(shard, which)]
    if not shards and which != "all":
        raise ProviderError(f"There is no open batch '{which}': python batch_status.py shows those that there are.")
    if not shards:
        yield "There is nothing to cancel."
    for shard in shards:
        yield _cancelled(shard, ledger, provider)


def _is(shard: Shard, which: str) -> bool:
    return which in ("all", str(shard.id), shard.batch_id)


def _cancelled(shard: Shard, ledger: Ledger, provider: BatchProvider) -> str:
    if shard.state == "creating":
        return f"{shard.path} is unsettled: settle it first, with --resolve {shard.id}."
    if shard.state != "submitted":
        with ledger.transaction():
            ledger.close_shard(shard.id, Outcome("cancelled", message="taken back before it was sent"), "cancelled")
        return f"{shard.path} was not sent yet and is taken back: it cost nothing."
    if not shard.is_for(provider.kind, provider.base_url):
        return f"{shard.batch_id} belongs to another PROVIDER or base URL and was not touched."
    info = provider.cancel(shard.batch_id or "")
    ledger.update_shard(shard.id, **told(info))
    kept = f"python retrieve_results.py --process {shard.process}  brings in what it has answered"
    if info.ended and info.status != "cancelled":
        return f"{info.id} has ended already ({info.status}): {kept}."
    return f"{info.id} is {info.status}: {kept}, which is kept and billed; the rest is asked again by run_batch.py."


def resolve(which: str, verdict: str, ledger: Ledger, workspace: Workspace, provider: BatchProvider) -> str:
    """Settle by hand what the program cannot. Returns a sentence; raises ProviderError.

    A submission that was cut off: `lost` (send it again), `sent` (look for it in the provider's list once more) or
    `sent:<batch id>`. A batch that the provider does not know, or whose answers it has no more: `lost` (ask again).
    """
    shard = next((shard for shard in ledger.shards() if which in (str(shard.id), shard.batch_id)), None)
    if shard is None or shard.state not in ("creating", "submitted"):
        raise ProviderError(f"There is no open submission '{which}': python batch_status.py shows what there is.")
    word, _, batch_id = verdict.partition(":")
    if verdict == "lost":
        return _sent_again(shard, ledger) if shard.state == "creating" else _given_up(shard, ledger, provider)
    if word != "sent" or shard.state == "submitted":
        raise ProviderError(f"'{verdict}' settles nothing here: say  lost  , or  sent:<batch id>  of one cut off.")
    info = provider.status(batch_id) if batch_id else provider.find(shard.file_id or "")
    if info is None:
        raise ProviderError(f"No batch of {shard.file_id} is in the provider's list: say  sent:<batch id>  .")
    taken = any(other.batch_id == info.id for other in ledger.shards())
    if taken or info.input_file_id not in (None, shard.file_id):
        raise ProviderError(f"Batch {info.id} is not that of {shard.path}: its input file should be {shard.file_id}.")
    ledger.update_shard(shard.id, state="submitted", batch_id=info.id, **told(info))
    append_line(workspace.batch_ids(shard.process), info.id)
    return f"{shard.path} is batch {info.id}."


def _sent_again(shard: Shard, ledger: Ledger) -> str:
    ledger.update_shard(shard.id, state="uploaded")
    return f"{shard.path} will be submitted by the next run_batch.py --process {shard.process}."


def _given_up(shard: Shard, ledger: Ledger, provider: BatchProvider) -> str:
    if shard.is_for(provider.kind, provider.base_url):
        _check_gone(shard, provider)
    with ledger.transaction():
        ledger.close_shard(shard.id, Outcome("missing", message="given up for lost by the user"), "lost")
    return f"{shard.batch_id} is given up: the next run_batch.py --process {shard.process} asks its requests again."


def _check_gone(shard: Shard, provider: BatchProvider) -> None:
    """Raises ProviderError for a batch that is there: what it answers is billed, so it should be brought in."""
    try:
        info = provider.status(shard.batch_id or "")
        for name in filter(None, (info.output_file_id, info.error_file_id)) if info.ended else ():
            provider.size(name)
    except UnknownBatchError:
        return
    after = "its answers can be retrieved" if info.ended else "--cancel ends it, and keeps what it has answered"
    raise ProviderError(f"Batch {info.id} is not lost, it is {info.status}: {after}.")


def clean_remote(ledger: Ledger, workspace: Workspace, provider: BatchProvider) -> Iterator[str]:
    """Delete from the provider the files of collected batches whose whole content is on this disk.

    Yields a sentence for each file that stays.
    """
    for shard in ledger.shards(state="collected"):
        if shard.cleaned or not shard.is_for(provider.kind, provider.base_url):
            continue
        kept = [name for name, path in _copies(shard, workspace) if not _deleted(name, path, provider)]
        yield from (f"{name} stays: there is no whole copy of it in {workspace.root}." for name in kept)
        if not kept:
            ledger.update_shard(shard.id, cleaned=1)


def _copies(shard: Shard, workspace: Workspace) -> Iterator[tuple[str, Path]]:
    """(file at the provider, where its content should be here)."""
    here = {
        shard.file_id: workspace.root / shard.path,
        shard.output_file_id: workspace.results(shard.process, shard.batch_id or "", "output"),
        shard.error_file_id: workspace.results(shard.process, shard.batch_id or "", "errors"),
    }
    yield from ((name, path) for name, path in here.items() if name)


def _deleted(name: str, copy: Path, provider: BatchProvider) -> bool:
    try:
        if not copy.exists() or provider.size(name) != copy.stat().st_size:
            return False
        provider.delete(name)
    except UnknownBatchError:
        pass  # it is gone already
    return True
