"""The result files of an ended batch: downloading them, reading their rows, and whether they are complete.

A reply with the status 200 can be half a file, a login page or nothing. Only what a file says itself, its size at the
provider and the counts of the batch show it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.batches.session import StageRun
from pipeline.errors import IncompleteResultsError, UnknownBatchError, WorkspaceError
from pipeline.files import file_size, sha256_of, write_atomic
from pipeline.providers.base import BatchInfo
from pipeline.words import counted

# Without any other evidence, a file with missing rows is complete if so many downloads in a row were the same.
SAME_DOWNLOADS = 4


class Results:
    """The output and the error file of an ended batch. `reused`: whether one of them was on this disk before."""

    def __init__(self, run: StageRun, info: BatchInfo) -> None:
        self._provider, self._info = run.provider, info
        self._files = {
            kind: (file_id, run.workspace.results(run.process, info.id, kind))
            for file_id, kind in ((info.output_file_id, "output"), (info.error_file_id, "errors"))
            if file_id
        }
        self._rows: Counter[str] = Counter()
        self._unreadable = 0
        self.reused = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of both files, which are downloaded if they are not here. Raises ProviderError, WorkspaceError.

        Lines that are not JSON objects are left out and counted.
        """
        for kind, (file_id, path) in self._files.items():
            if path.exists():
                self.reused = True
            else:
                self._provider.download(file_id, path)
            for row in read_rows(path):
                self._rows[kind] += row is not None
                self._unreadable += row is None
                if row is not None:
                    yield row

    def paths(self) -> list[Path]:
        """The files, after `rows` has downloaded them."""
        return [path for _, path in self._files.values()]

    def check(self) -> None:
        """For a batch with requests that have no row: raises IncompleteResultsError if the files may lack rows.

        The files are deleted then, so that they are downloaded again.
        """
        problem = self.problem()
        if problem:
            for path in self.paths():
                _note_download(path)
                path.unlink(missing_ok=True)
            raise IncompleteResultsError(f"The results of batch {self._info.id} are incomplete: {problem}.")

    def problem(self) -> str | None:
        """Why the files may lack rows, or None. Sizes are better evidence than counts, which some servers get wrong."""
        if self._unreadable:
            return f"{counted(self._unreadable, 'line')} cannot be read"
        if self._info.done and not self._info.output_file_id:
            return f"the provider counts {counted(self._info.done, 'answer')}, but names no output file"
        sizes = [(file_size(path) or 0, self._size(file_id)) for file_id, path in self._files.values()]
        wrong = [(here, there) for here, there in sizes if there is not None and here != there]
        if wrong:
            here, there = wrong[0]
            return f"{here:,} of {there:,} bytes arrived"
        if all(there is not None for _, there in sizes):
            return None
        for kind, expected in (("output", self._info.done), ("errors", self._info.failed)):
            if expected and self._rows[kind] < expected:
                return f"{self._rows[kind]:,} of {counted(expected, 'row')} arrived"
        if self._info.done is None and any(_times_downloaded(path) < SAME_DOWNLOADS for path in self.paths()):
            return "rows are missing, and the provider names neither sizes nor counts"
        return None

    def _size(self, file_id: str) -> int | None:
        """The size of a file at the provider. None if the provider does not know it, or says 0, as some always do."""
        try:
            return self._provider.size(file_id) or None
        except UnknownBatchError:
            return None


def _times_downloaded(path: Path) -> int:
    """How many downloads in a row had the content of this file, this one included."""
    times, _, content = _note(path).partition(" ")
    return int(times) + 1 if content == sha256_of(path) and times.isdigit() else 1


def _note_download(path: Path) -> None:
    """Remember what an incomplete file contained, for the next download of it."""
    if path.exists():
        write_atomic(path.with_suffix(".incomplete"), f"{_times_downloaded(path)} {sha256_of(path)}".encode())


def _note(path: Path) -> str:
    try:
        return path.with_suffix(".incomplete").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def read_rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """The JSON object in each line of a file; None for a line that is none. Lines end with \\n only.

    Raises WorkspaceError if the file cannot be read.
    """
    try:
        with path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    yield _object(line)
    except OSError as error:
        raise WorkspaceError(
            f"Cannot read {path} ({error.strerror}): check the path, then run the same command again."
        ) from None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
