"""Reading what is in the workspace: the manifest, page texts, documents and mentions.

Imports nothing that reads PDFs or talks to a provider, so results can be read quickly from a notebook.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import InputError, WorkspaceError
from pipeline.processes import FINAL
from pipeline.records import Dataset, Document, ManifestEntry, PageText, Passage
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Mention:
    """One dataset mention and where it is. Offsets of `dataset` refer to the text of page `page`, counted from 1."""

    source: str
    page: int
    passage: Passage
    dataset: Dataset


def manifest_entries(workspace: Workspace) -> Iterator[ManifestEntry]:
    """The documents of the manifest, sorted by id. Raises InputError if there is no manifest yet, WorkspaceError."""
    path = workspace.manifest
    try:
        with path.open("rb") as file:
            for line in file:
                yield ManifestEntry.model_validate_json(line)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist yet: read the papers first with `python run_batch.py --check` (it needs no key)."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise WorkspaceError(
            f"Cannot read {path} ({reason}): delete it, then run `python run_batch.py --check`"
        ) from None


def load_text(workspace: Workspace, source: str) -> PageText:
    """The pages of one document. Raises WorkspaceError if the file is missing or damaged."""
    path = workspace.text(source)
    try:
        return PageText.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise WorkspaceError(
            f"Cannot read {path} ({reason}): run `python run_batch.py --check` to rebuild it."
        ) from None


def load_document(workspace: Workspace, process: str, source: str) -> Document | None:
    """Document `source` after stage `process`, or None if there is no such file. Raises WorkspaceError if damaged."""
    path = workspace.document(process, source)
    try:
        return Document.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise WorkspaceError(
            f"Cannot read {path} ({reason}): delete it and run `python retrieve_results.py --process {process}` to "
            "rebuild it."
        ) from None


def iter_mentions(workspace: Workspace, process: str = FINAL) -> Iterator[Mention]:
    """All mentions after stage `process`, rejected ones (`dataset.valid` is False) included, in manifest order.

    They are the pipeline's: human labels are not applied. Yields nothing for documents that have not reached the stage.
    Raises InputError, WorkspaceError.
    """
    for entry in manifest_entries(workspace):
        document = load_document(workspace, process, entry.source)
        for page in document.pages if document else ():
            for passage in page.data_mentions:
                for dataset in passage.datasets:
                    yield Mention(entry.source, page.page, passage, dataset)
