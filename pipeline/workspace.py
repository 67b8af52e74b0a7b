"""Where every file lives, and the only ways in which files are written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import LockedError, WorkspaceError

LOCK_PATIENCE = 5.0  # seconds that a command waits for another one: most hold the lock for less


class Workspace:
    """The folder OUTPUT_DIR and the names in it (tree in the README)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / "manifest.jsonl"
        self.ledger = root / "ledger.sqlite"
        self.finetune = root / "finetune"
        self.labels = root / "labels.jsonl"
        self.review = root / "review"

    def prepare(self) -> None:
        """Make the folder and prove that it can be written. Raises WorkspaceError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise _unwritable(self.root, error) from None

    def text(self, source: str) -> Path:
        """The page text of document `source`."""
        return self._inside("text", source)

    def document(self, process: str, source: str) -> Path:
        """What `process` and the stages before it found in document `source`."""
        return self._inside(process, source)

    def shard(self, process: str, number: int) -> Path:
        """The requests of one batch, as they are sent."""
        return self.root / "batches" / process / f"part-{number:05d}.jsonl"

    def last_shard(self) -> int:
        """The highest number of a file of requests that is on disk, whether the ledger knows of it or not."""
        names = (path.stem.removeprefix("part-") for path in (self.root / "batches").glob("*/part-*.jsonl"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    def results(self, process: str, batch_id: str, kind: str) -> Path:
        """The untouched `output` or `errors` file of a batch."""
        return self.root / "batches" / process / f"{_safe(batch_id)}.{kind}.jsonl"

    def batch_ids(self, process: str) -> Path:
        """The ids of all batches of a stage, one a line, oldest first."""
        return self.root / f"{process}_batches.txt"

    def failures(self, process: str) -> Path:
        """Every ask of a stage that was given up, and why."""
        return self.root / "failures" / f"{process}.jsonl"

    def _inside(self, folder: str, source: str) -> Path:
        parts = source.split("/")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            raise WorkspaceError(f"'{source}' is no document id: it would lead outside of {self.root}.")
        return self.root.joinpath(folder, *parts[:-1], parts[-1] + ".json")

    @contextmanager
    def lock(self, holder: str) -> Iterator[None]:
        """Only one program at a time plans, submits or collects. Raises LockedError, naming the other's `holder`."""
        from filelock import FileLock, Timeout

        path = self.root / "ledger.lock"
        note = self.root / "ledger.lock.holder"
        try:
            with FileLock(path, timeout=LOCK_PATIENCE):
                note.write_text(f"{holder} (process {os.getpid()})", encoding="utf-8")
                try:
                    yield
                finally:
                    note.unlink(missing_ok=True)
        except Timeout:
            other = note.read_text(encoding="utf-8") if note.exists() else "another command"
            raise LockedError(f"{other} is working in {self.root}: wait for it to end, then run this again.") from None


def write_atomic(path: Path, content: bytes, durable: bool = False) -> None:
    """Write the whole file or nothing; `durable` also survives a power cut. Raises WorkspaceError."""
    with replacing(path, durable) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[ReplacedFile]:
    """A file that takes the place of `path` when the block ends well, and vanishes when it does not."""
    file = ReplacedFile(path, durable)
    try:
        yield file
        file.keep()
    finally:
        file.discard()


class ReplacedFile:
    """A file that takes the place of `path` with `keep`, or vanishes with `discard`. Raises WorkspaceError."""

    def __init__(self, path: Path, durable: bool = False) -> None:
        self._path, self._durable = path, durable
        # Always the same name, so that what a killed program left is written over; and a short one: a document's name
        # may already be as long as the file system allows.
        self._part = path.with_name(".new-" + hashlib.sha256(path.name.encode()).hexdigest()[:16])
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")

    def write(self, content: bytes) -> None:
        with self._told():
            self._file.write(content)

    def keep(self) -> None:
        """From now on this is the file, whole; with `durable` even after a power cut."""
        with self._told():
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)

    def discard(self) -> None:
        """Leave no trace, unless it was kept."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _unwritable(self._path, error) from None


def file_size(path: Path) -> int | None:
    """Bytes, or None where there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def file_stamp(path: Path) -> str:
    """Another one whenever the file was written anew; empty where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def append_line(path: Path, line: str) -> None:
    """Add one line, so that it is on disk when this returns. Raises WorkspaceError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> WorkspaceError:
    reason = error.strerror or str(error)
    return WorkspaceError(f"{path} cannot be written ({reason}): make room or change its rights, then run this again.")


def _safe(name: str) -> str:
    """A batch id comes from a server, so it may not decide a path."""
    return "".join(char if char.isalnum() or char in "-_" else "_" for char in name)[:120]
