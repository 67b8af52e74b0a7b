"""A process that reads papers and may die without harm: its parent goes on with the next one.

A library that parses what strangers have made can loop for ever, take all memory or crash. So it runs here, under a
limit of memory, and is killed when its time is up. Talks in lines of JSON: a job comes in, `Told` go out.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.documents.protocol import HAS_ALARM, Job, Told
from pipeline.documents.read import OpenPaper, Unreadable


def main() -> int:
    channel, memory_mb = _own_channel(), int(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes our input
    _limit_memory(memory_mb)
    _tell(channel, Told())
    for line in sys.stdin.buffer:
        job = Job.model_validate_json(line)
        _set_alarm(job.seconds)
        for told in _read(job):
            if told.done:
                _set_alarm(0)  # before it is told, so that it cannot go off during the next paper
            _tell(channel, told)
    return 0


def _read(job: Job) -> Iterator[Told]:
    try:
        if job.first == 1:
            sha256 = hash_file(Path(job.file))
            yield Told(sha256=sha256)
            if sha256 == job.known:
                yield Told(done=True)
                return
        with OpenPaper(Path(job.file), job.password) as paper:
            yield Told(n_pages=paper.n_pages)
            yield from (Told(page=page) for page in paper.pages(job.first))
        yield Told(done=True)
    except Unreadable as problem:
        yield Told(done=True, problem=str(problem))
    except OSError as error:
        yield Told(done=True, problem=f"it cannot be opened ({error.strerror}): check its rights")
    except MemoryError:
        yield Told(done=True, out_of_memory=True)


def hash_file(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _own_channel() -> BinaryIO:
    """Standard output for us alone: whatever a library prints goes nowhere."""
    channel = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return channel


def _tell(channel: BinaryIO, told: Told) -> None:
    channel.write(told.model_dump_json(exclude_defaults=True).encode() + b"\n")
    channel.flush()


def _limit_memory(megabytes: int) -> None:
    if sys.platform == "linux":
        import resource

        wanted, (_, hardest) = megabytes << 20, resource.getrlimit(resource.RLIMIT_AS)
        most = wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest)
        resource.setrlimit(resource.RLIMIT_AS, (most, hardest))


def _set_alarm(seconds: float) -> None:
    """Die then, even in the middle of a library's loop, and even if the parent is gone."""
    if HAS_ALARM:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    sys.exit(main())
