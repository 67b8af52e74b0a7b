"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import WorkspaceError


def write_atomic(path: Path, content: bytes, durable: bool = False) -> None:
    """Write the whole file or nothing. With `durable` it survives a power failure. Raises WorkspaceError."""
    with replacing(path, durable) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[ReplacedFile]:
    """A file that replaces `path` when the block succeeds, and is deleted when it fails."""
    file = ReplacedFile(path, durable)
    try:
        yield file
        file.keep()
    finally:
        file.discard()


class ReplacedFile:
    """A file that replaces `path` on `keep`, and is deleted on `discard`. Raises WorkspaceError."""

    def __init__(self, path: Path, durable: bool = False) -> None:
        self._path, self._durable = path, durable
        # The name is always the same, so that a leftover of a killed program is overwritten. It is short, because a
        # document's name may already have the longest length that the file system allows.
        self._part = path.with_name(".new-" + hashlib.sha256(path.name.encode()).hexdigest()[:16])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb")
        except OSError as error:
            raise unwritable(path, error) from None

    def write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise unwritable(self._path, error) from None

    @property
    def closed(self) -> bool:
        """Whether it was kept or discarded."""
        return self._file.closed

    def keep(self) -> None:
        """Finish the file and give it its name. With `durable`, its content is on disk before it gets the name."""
        try:
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise unwritable(self._path, error) from None

    def discard(self) -> None:
        """Delete the file, unless it was kept."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a line. It is on disk when this returns. Raises WorkspaceError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_size(path: Path) -> int | None:
    """Size in bytes, or None if the file does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def file_stamp(path: Path) -> str:
    """Size and modification time: different whenever the file was written again. Empty if it does not exist."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def unwritable(path: Path, error: OSError) -> WorkspaceError:
    """The error for a file that cannot be written, as a sentence."""
    reason = error.strerror or str(error)
    return WorkspaceError(f"Cannot write {path} ({reason}): free disk space or fix its permissions, then run again.")
