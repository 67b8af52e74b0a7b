"""Where every file of the output folder is, and the lock that lets one command at a time change them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.errors import LockedError, WorkspaceError
from pipeline.files import unwritable

LOCK = "ledger.lock"  # held while planning, submitting or collecting
WAITING = "waiting.lock"  # held by a command that waits for answers
LOCK_TIMEOUT = 5.0  # seconds that a command waits for another one; most hold the lock for less
LOCK_POLL = 0.05  # seconds between two attempts to get the lock


class Workspace:
    """The folder OUTPUT_DIR and the paths in it (docs/output.md lists them)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = root / "manifest.jsonl"
        self.ledger = root / "ledger.sqlite"
        self.finetune = root / "finetune"
        self.labels = root / "labels.jsonl"
        self.review = root / "review"
        self.evaluation = root / "evaluation"

    def prepare(self) -> None:
        """Create the folder and check that it is writable. Raises WorkspaceError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise unwritable(self.root, error) from None

    def text(self, source: str) -> Path:
        """The page text of document `source`."""
        return self._inside("text", source)

    def prefilter(self, source: str) -> Path:
        """The probability of each page of document `source` that it mentions a dataset."""
        return self._inside("prefilter", source)

    def document(self, process: str, source: str) -> Path:
        """The mentions in document `source` after stage `process`."""
        return self._inside(process, source)

    def request_file(self, process: str, number: int) -> Path:
        """The requests of one batch, as they are sent."""
        return self.root / "batches" / process / f"part-{number:05d}.jsonl"

    def last_request_file(self) -> int:
        """The highest number of a request file on disk, whether the ledger knows it or not; 0 if there is none."""
        names = (path.stem.removeprefix("part-") for path in (self.root / "batches").glob("*/part-*.jsonl"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    def results(self, process: str, batch_id: str, kind: str) -> Path:
        """The unmodified result file of a batch; `kind` is `output` or `errors`."""
        return self.root / "batches" / process / f"{_file_name(batch_id)}.{kind}.jsonl"

    def batch_ids(self, process: str) -> Path:
        """The ids of all batches of a stage, one per line, oldest first."""
        return self.root / f"{process}_batches.txt"

    def listed_batches(self, process: str) -> list[str]:
        """The ids in that file. A user may have saved it in UTF-16; the lines that we add are in UTF-8."""
        file = self.batch_ids(process)
        content = file.read_bytes().replace(b"\0", b"") if file.exists() else b""
        return content.decode("ascii", errors="ignore").split()

    def failures(self, process: str) -> Path:
        """Every question of a stage that was given up, and why."""
        return self.root / "failures" / f"{process}.jsonl"

    def _inside(self, folder: str, source: str) -> Path:
        parts = source.split("/")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            raise WorkspaceError(f"'{source}' is not a valid document id: it would lead outside {self.root}.")
        return self.root.joinpath(folder, *parts[:-1], parts[-1] + ".json")

    @contextmanager
    def lock(self, holder: str, clock: Clock = SYSTEM_CLOCK) -> Iterator[None]:
        """Held while planning, submitting or collecting. Raises LockedError, which names the other `holder`."""
        from filelock import FileLock, Timeout

        lock, note = FileLock(self.root / LOCK), self._note(LOCK)
        deadline = clock.monotonic() + LOCK_TIMEOUT
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if clock.monotonic() >= deadline:
                    raise LockedError(
                        f"{self._holder(LOCK)} is working in {self.root}: wait until it ends, then run this again."
                    ) from None
                clock.sleep(LOCK_POLL)
        try:
            try:
                note.write_text(f"{holder} (process {os.getpid()})", encoding="utf-8")
            except OSError as error:
                raise unwritable(note, error) from None
            yield
        finally:
            note.unlink(missing_ok=True)
            lock.release()

    @contextmanager
    def waiting(self, holder: str) -> Iterator[None]:
        """Held by a command that waits for answers and collects them. It keeps no other command from doing anything.

        Of several commands that wait, only the first holds it.
        """
        from filelock import FileLock, Timeout

        lock, note = FileLock(self.root / WAITING), self._note(WAITING)
        with suppress(Timeout):  # longer than `other_command` holds it
            lock.acquire(timeout=10 * LOCK_POLL)
        try:
            if lock.is_locked:
                with suppress(OSError):
                    note.write_text(f"{holder} (process {os.getpid()})", encoding="utf-8")
            yield
        finally:
            if lock.is_locked:
                note.unlink(missing_ok=True)
                lock.release()

    def other_command(self) -> tuple[str, bool] | None:
        """Another command that works here now, and whether it will collect the answers. None: there is no other."""
        from filelock import FileLock, Timeout

        for name in (WAITING, LOCK):
            lock = FileLock(self.root / name)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return self._holder(name), name == WAITING
            lock.release()
        return None

    def _holder(self, lock: str) -> str:
        try:
            return self._note(lock).read_text(encoding="utf-8") or "another command"
        except OSError:
            return "another command"

    def _note(self, lock: str) -> Path:
        """Who holds the lock. On Windows, the file of a lock cannot be read while it is held."""
        return self.root / f"{lock}.holder"


def _file_name(batch_id: str) -> str:
    """The id comes from a server, so it must not decide a path. Different ids give different names."""
    safe = "".join(char if (char.isascii() and char.isalnum()) or char in "-_" else "_" for char in batch_id)[:100]
    return safe if safe == batch_id else f"{safe}-{hashlib.sha256(batch_id.encode()).hexdigest()[:16]}"
