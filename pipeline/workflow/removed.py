"""The results of papers that are no longer in the input folder.

Their answers stay in the ledger, so that nothing is paid for again if a paper comes back.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from pipeline.errors import WorkspaceError
from pipeline.processes import PROCESSES
from pipeline.store import manifest_entries
from pipeline.workspace import Workspace

FOLDERS = ("text", "prefilter", *PROCESSES)


def removed_papers(workspace: Workspace) -> dict[str, list[Path]]:
    """The result files of each document that the manifest does not have. Raises InputError if there is no manifest."""
    present = {entry.source for entry in manifest_entries(workspace)}
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in FOLDERS:
        for path in sorted((workspace.root / folder).rglob("*.json")):
            source = path.relative_to(workspace.root / folder).as_posix().removesuffix(".json")
            if source not in present:
                found[source].append(path)
    return dict(sorted(found.items()))


def delete_files(papers: dict[str, list[Path]]) -> None:
    """Delete the result files, and folders that are empty then. Raises WorkspaceError."""
    for path in (path for paths in papers.values() for path in paths):
        try:
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder.name in FOLDERS or any(folder.iterdir()):
                    break
                folder.rmdir()
        except OSError as error:
            raise WorkspaceError(f"Cannot delete {path} ({error.strerror}): fix its permissions.") from None
