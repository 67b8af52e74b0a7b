"""Find the PDFs, read those that are new or changed, and write the manifest that every later step walks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from tqdm import tqdm

from pipeline.documents.read import Unreadable, read_pages
from pipeline.errors import InputError, WorkspaceError
from pipeline.records import ManifestEntry, PageText
from pipeline.workspace import Workspace, replacing, write_atomic

LONGEST_NAME = 250  # bytes: most file systems take 255, and ".json" has to fit


def refresh(input_dir: Path, workspace: Workspace, changing: Callable[[str], object]) -> None:
    """Bring manifest.jsonl and text/ up to date with `input_dir`.

    `changing` is told each document before its text changes.

    A paper that cannot be read is in the manifest with its problem; the others go on.
    Raises InputError where the folder is missing, holds no PDF, or holds two papers of one document id.
    """
    papers = find_papers(input_dir)
    known = _Known(workspace)
    with replacing(workspace.manifest) as manifest:
        for source, file in tqdm(papers, desc="Reading papers", unit=" papers", leave=False, disable=None):
            entry = _entry(source, file, input_dir, workspace, known.entry(source), changing)
            manifest.write(entry.model_dump_json().encode() + b"\n")


def find_papers(input_dir: Path) -> list[tuple[str, Path]]:
    """(document id, file) of every PDF under `input_dir`, sorted by id."""
    if not input_dir.is_dir():
        raise InputError(f"There is no folder {input_dir}: make it and put your PDFs there, or set INPUT_DIR.")
    papers: dict[str, Path] = {}
    for file in _pdf_files(input_dir):
        source = _document_id(file, input_dir)
        if source in papers:
            raise InputError(f"{papers[source]} and {file} would both be document '{source}': rename one of them.")
        papers[source] = file
    if not papers:
        raise InputError(f"There are no PDFs in {input_dir}: put some there (sub-folders are fine), or set INPUT_DIR.")
    return sorted(papers.items())


def manifest_entries(workspace: Workspace, documents: str | None = None) -> Iterator[ManifestEntry]:
    """The documents of the manifest, optionally only those whose id matches the glob `documents`.

    Raises InputError where there is no manifest yet.
    """
    for entry in _read_manifest(workspace.manifest):
        if documents is None or fnmatchcase(entry.source, documents):
            yield entry


def _read_manifest(path: Path) -> Iterator[ManifestEntry]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield ManifestEntry.model_validate_json(line)
    except FileNotFoundError:
        raise InputError(f"There is no {path} yet: run  python run_batch.py --process extraction  first.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise WorkspaceError(f"{path} cannot be read ({reason}): delete it, and run_batch.py makes it anew.") from None


def load_text(workspace: Workspace, source: str) -> PageText:
    """The pages of one document. Raises WorkspaceError where its file is lost or damaged."""
    path = workspace.text(source)
    try:
        return PageText.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise WorkspaceError(
            f"{path} cannot be read ({reason}): run_batch.py --process extraction makes it anew."
        ) from None


class _Known:
    """The manifest of the last run, read alongside the sorted papers so that it is never in memory as a whole."""

    def __init__(self, workspace: Workspace) -> None:
        exists = workspace.manifest.exists()
        self._entries: Iterable[ManifestEntry] = _read_manifest(workspace.manifest) if exists else iter(())
        self._next: ManifestEntry | None = next(iter(self._entries), None)

    def entry(self, source: str) -> ManifestEntry | None:
        while self._next and self._next.source < source:
            self._next = next(iter(self._entries), None)
        return self._next if self._next and self._next.source == source else None


def _pdf_files(folder: Path) -> Iterator[Path]:
    seen = set()
    for name, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        # A link to a folder above would otherwise be walked for ever.
        subfolders[:] = [] if real in seen else [sub for sub in subfolders if not sub.startswith(".")]
        files = [] if real in seen else files
        seen.add(real)
        yield from (Path(name, file) for file in files if file.lower().endswith(".pdf") and not file.startswith("."))


def _document_id(file: Path, input_dir: Path) -> str:
    relative = file.relative_to(input_dir).with_suffix("").as_posix()
    return relative.encode("utf-8", "backslashreplace").decode().replace("\\", "_")


def _entry(
    source: str,
    file: Path,
    input_dir: Path,
    workspace: Workspace,
    known: ManifestEntry | None,
    changing: Callable[[str], object],
) -> ManifestEntry:
    name = file.relative_to(input_dir).as_posix().encode("utf-8", "replace").decode()
    try:
        stat = file.stat()
        entry = ManifestEntry(source=source, file=name, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
        if known and _unchanged(entry, known, workspace):
            return known
        entry.sha256 = _sha256(file)
        text = _text(entry, file, workspace, changing)
    except OSError as error:
        return ManifestEntry(
            source=source, file=name, problem=f"it cannot be opened ({error.strerror}): check its rights"
        )
    except Unreadable as problem:
        return entry.model_copy(update={"problem": str(problem)})
    return entry.model_copy(update={"n_pages": text.n_pages})


def _unchanged(entry: ManifestEntry, known: ManifestEntry, workspace: Workspace) -> bool:
    same = (entry.file, entry.size, entry.mtime_ns) == (known.file, known.size, known.mtime_ns)
    return same and known.sha256 is not None and (known.problem is not None or workspace.text(entry.source).exists())


def _text(entry: ManifestEntry, file: Path, workspace: Workspace, changing: Callable[[str], object]) -> PageText:
    """The text that is on disk if it was read from these very bytes, else read now."""
    path = workspace.text(entry.source)
    if len(path.name.encode()) > LONGEST_NAME + len(".json"):
        raise Unreadable(f"its name is longer than {LONGEST_NAME} bytes: rename it")
    if any("\udc80" <= char <= "\udcff" for char in str(file)):  # bytes that Python could not decode
        raise Unreadable("its name is not valid UTF-8: rename it")
    if any(folder.endswith(".json") for folder in entry.source.split("/")[:-1]):
        raise Unreadable("it lies in a folder whose name ends in .json, like our own files: rename the folder")
    if path.exists():
        try:
            text = PageText.model_validate_json(path.read_bytes())
            if text.sha256 == entry.sha256 and text.file == entry.file:
                return text
        except ValueError:
            pass  # damaged: read the PDF again
    pages = read_pages(file)
    text = PageText(source=entry.source, file=entry.file, sha256=entry.sha256 or "", n_pages=len(pages), pages=pages)
    changing(entry.source)
    write_atomic(path, text.model_dump_json(indent=1).encode())
    return text


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
