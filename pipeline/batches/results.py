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
from pipeline.errors import IncompleteResultsError, ProviderError, UnknownBatchError, WorkspaceError
from pipeline.files import file_size, sha256_of, write_atomic
from pipeline.providers.base import BatchInfo
from pipeline.words import counted

# Without any other evidence, results with missing rows are complete if they were the same so many times in a row.
SAME_RESULTS = 4


class Results:
    """The output and the error file of an ended batch. `reused`: whether one of them was on this disk before.

    `matched`: rows that belong to a request of the batch, as the reader of the rows counts them.
    `keep_old`: if a file cannot be downloaded again, read the incomplete one.
    """

    def __init__(self, run: StageRun, info: BatchInfo, keep_old: bool = False) -> None:
        self._provider, self._info, self._keep_old = run.provider, info, keep_old
        self._files = {
            kind: (file_id, run.workspace.results(run.process, info.id, kind))
            for file_id, kind in ((info.output_file_id, "output"), (info.error_file_id, "errors"))
            if file_id
        }
        # What the files contained when they were found incomplete, and how often in a row.
        self._note = run.workspace.results(run.process, info.id, "output").with_suffix(".incomplete")
        self._rows: Counter[str] = Counter()
        self._unreadable = 0
        self._gone: list[str] = []
        self.reused = False
        self.matched = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of both files, which are downloaded if they are not here. Raises ProviderError, WorkspaceError.

        Lines that are not JSON objects are left out and counted. A file that does not exist any more is left out,
        unless it is the only one.
        """
        for kind, (file_id, path) in self._files.items():
            try:
                self._fetch(file_id, path)
            except UnknownBatchError:
                self._gone.append(kind)
                if len(self._gone) == len(self._files):
                    raise
                continue
            for row in read_rows(path):
                self._rows[kind] += row is not None
                self._unreadable += row is None
                if row is not None:
                    yield row

    def _fetch(self, file_id: str, path: Path) -> None:
        """The old file stays until the new one is complete on this disk."""
        if path.exists() and not self._note.exists():
            self.reused = True
            return
        try:
            self._provider.download(file_id, path)
        except ProviderError:
            if not (self._keep_old and path.exists()):
                raise

    def paths(self) -> list[Path]:
        """The files, after `rows` has downloaded them."""
        return [path for kind, (_, path) in self._files.items() if kind not in self._gone]

    def check(self) -> None:
        """For a batch with requests that have no row: raises IncompleteResultsError if the files may lack rows.

        They are downloaded again then, by the next command.
        """
        problem = self.problem()
        if problem:
            content = self._content()
            write_atomic(self._note, f"{self._times(content)} {content}".encode())
            raise IncompleteResultsError(f"The results of batch {self._info.id} are incomplete: {problem}.")
        self._note.unlink(missing_ok=True)

    def problem(self) -> str | None:
        """Why the files may lack rows, or None."""
        counts = self._info.done, self._info.failed
        all_counted_are_here = None not in counts and self.matched >= sum(count or 0 for count in counts)
        if self._unreadable and not all_counted_are_here:
            return f"{counted(self._unreadable, 'line')} cannot be read"
        return self.mismatch()

    def mismatch(self) -> str | None:
        """Why the files are not those that the provider describes, or None.

        Sizes are better evidence than counts, which some servers get wrong.
        """
        info = self._info
        if self._gone:
            return f"the provider does not have its {' and '.join(self._gone)} file any more"
        if info.done and not info.output_file_id:
            return f"the provider counts {counted(info.done, 'answer')}, but names no output file"
        if info.output_file_id and not self._rows["output"] and not self._rows["errors"]:
            return "there are no rows in its output file"
        sizes = [(file_size(path) or 0, self._size(file_id)) for file_id, path in self._files.values()]
        wrong = [(here, there) for here, there in sizes if there is not None and here != there]
        if wrong:
            here, there = wrong[0]
            return f"{here:,} of {there:,} bytes arrived"
        if sizes and all(there is not None for _, there in sizes):
            return None
        for kind, expected in (("output", info.done), ("errors", info.failed)):
            if expected and self._rows[kind] < expected:
                return f"{self._rows[kind]:,} of {counted(expected, 'row')} arrived"
        return self._unproven()

    def _unproven(self) -> str | None:
        """Without sizes, and with counts that are missing or do not add up, only time tells."""
        info = self._info
        adds_up = info.status != "completed" or (info.done or 0) + (info.failed or 0) >= (info.total or 0)
        if (
            info.status == "failed"
            or (info.done is not None and adds_up)
            or self._times(self._content()) >= SAME_RESULTS
        ):
            return None
        return "rows are missing, and the provider gives neither sizes nor counts that explain it"

    def _content(self) -> str:
        return "-".join(sha256_of(path) for path in self.paths() if path.exists()) or "nothing"

    def _times(self, content: str) -> int:
        """How many times in a row the results had this content, this time included."""
        try:
            times, _, before = self._note.read_text(encoding="utf-8").partition(" ")
        except (OSError, ValueError):
            return 1
        return int(times) + 1 if content == before and times.isdigit() else 1

    def _size(self, file_id: str) -> int | None:
        """The size of a file at the provider. None if the provider does not tell, or says 0, as some always do."""
        try:
            return self._provider.size(file_id) or None
        except ProviderError:
            return None


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
