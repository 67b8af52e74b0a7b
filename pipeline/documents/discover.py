"""Find the PDFs, read those that are new or changed, and write the manifest that every later step walks."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from pipeline.config import Config
from pipeline.documents.children import Reading
from pipeline.documents.executor import READER, Readers, readers
from pipeline.documents.languages import fill_in
from pipeline.errors import InputError, WorkspaceError
from pipeline.records import ManifestEntry, PageText, storable
from pipeline.workspace import Workspace, file_size, replacing, write_atomic

SUFFIX = ".pdf"
SHOWN_RUNS = 8  # of page numbers in a remark
LONGEST_NAME = 250  # bytes: most file systems take 255, and ".json" has to fit


def refreshed(workspace: Workspace, config: Config) -> Iterator[ManifestEntry]:
    """Bring manifest.jsonl and text/ up to date with the papers in INPUT_DIR, paper by paper.

    Yields the manifest's entries as they come about, with their text on disk, so that other work can be done while the
    next papers are read. The manifest is that of before until the last one has been taken.

    A paper that cannot be read is in the manifest with its problem; the others go on.
    Raises InputError where the folder is missing, holds no PDF, or holds two papers of one document id.
    """
    papers = find_papers(config.input_dir)
    with replacing(workspace.manifest) as manifest, readers(config) as made:
        entries = _Desk(workspace, config, made).entries(papers)
        for entry in tqdm(entries, "Reading papers", len(papers), unit=" papers", leave=False, disable=None):
            manifest.write(entry.model_dump_json(exclude_defaults=True).encode() + b"\n")
            yield entry


def find_papers(input_dir: Path) -> list[str]:
    """Every PDF under `input_dir`, as its path from there, sorted by document id."""
    if not input_dir.is_dir():
        raise InputError(f"There is no folder {input_dir}: make it and put your PDFs there, or set INPUT_DIR.")
    papers = sorted(_pdf_files(input_dir), key=document_id)
    for one, other in pairwise(papers):
        if document_id(one) == document_id(other):
            both = f"{input_dir / one} and {input_dir / other}"
            raise InputError(f"{both} would both be document '{document_id(one)}': rename one of them.")
    if not papers:
        raise InputError(f"There are no PDFs in {input_dir}: put some there (sub-folders are fine), or set INPUT_DIR.")
    return papers


def manifest_entries(workspace: Workspace) -> Iterator[ManifestEntry]:
    """The documents of the manifest. Raises InputError where there is none yet."""
    path = workspace.manifest
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
        self._entries: Iterable[ManifestEntry] = manifest_entries(workspace) if exists else iter(())
        self._next: ManifestEntry | None = next(iter(self._entries), None)

    def entry(self, source: str) -> ManifestEntry | None:
        while self._next and self._next.source < source:
            self._next = next(iter(self._entries), None)
        return self._next if self._next and self._next.source == source else None


def _pdf_files(folder: Path) -> Iterator[str]:
    seen = set()
    for name, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        # A link to a folder above would otherwise be walked for ever.
        subfolders[:] = [] if real in seen else [sub for sub in subfolders if not sub.startswith(".")]
        files = [] if real in seen else files
        seen.add(real)
        inside = Path(name).relative_to(folder)
        papers = (file for file in files if file.lower().endswith(SUFFIX) and not file.startswith("."))
        yield from ((inside / file).as_posix() for file in papers)


def document_id(paper: str) -> str:
    """Of a paper by its path under the input folder: the same without `.pdf`, in valid UTF-8."""
    return paper[: -len(SUFFIX)].encode("utf-8", "backslashreplace").decode().replace("\\", "_")


class _Desk:
    """Has papers read ahead, and puts what was read into the workspace in their order."""

    def __init__(self, workspace: Workspace, config: Config, made: Readers) -> None:
        self._workspace, self._config, self._readers = workspace, config, made
        self._reader = f"{READER} {config.read_timeout_s:g} s {config.read_memory_mb} MB"

    def entries(self, papers: Iterable[str]) -> Iterator[ManifestEntry]:
        """The manifest's line of each paper."""
        known, ahead = _Known(self._workspace), deque[tuple[ManifestEntry, Future[Reading] | None]]()
        for paper in papers:
            ahead.append(self._started(paper, known.entry(document_id(paper))))
            while len(ahead) > self._readers.ahead or (ahead and ahead[0][1] is None):
                yield self._finished(*ahead.popleft())
        for entry, reading in ahead:
            yield self._finished(entry, reading)

    def _started(self, paper: str, known: ManifestEntry | None) -> tuple[ManifestEntry, Future[Reading] | None]:
        """The entry as far as it can be told without reading, and the reading where that has to be done."""
        source, file = document_id(paper), self._config.input_dir / paper
        entry = ManifestEntry(source=source, file=storable(paper), reader=self._reader)
        try:
            stat = file.stat()
        except OSError as error:
            entry.problem = f"it cannot be opened ({error.strerror}): check its rights"
            return entry, None
        entry.size, entry.mtime_ns = stat.st_size, stat.st_mtime_ns
        password = self._config.password_for(source)
        if known and self._unchanged(entry, known, password):
            return known, None
        entry.problem = _unusable_name(file, source)
        if entry.problem:
            return entry, None
        text = self._kept_text(entry)
        return entry, self._readers.start(str(file.resolve()), password, text.sha256 if text else None)

    def _unchanged(self, entry: ManifestEntry, known: ManifestEntry, password: str | None) -> bool:
        same = (entry.file, entry.size, entry.mtime_ns) == (known.file, known.size, known.mtime_ns)
        if not same or known.sha256 is None or (known.problem and password):
            return False
        if not known.problem and file_size(self._workspace.text(entry.source)) != known.text_bytes:
            return False  # it is lost or damaged
        in_order = not known.problem and not known.remark  # under other limits no more would be read
        return known.reader == entry.reader or (in_order and known.reader.split()[0:1] == [READER])

    def _kept_text(self, entry: ManifestEntry) -> PageText | None:
        """The text on disk, where it would be the same if the PDF is."""
        try:
            text = PageText.model_validate_json(self._workspace.text(entry.source).read_bytes())
        except (OSError, ValueError):
            return None  # it was never read, or is damaged
        return text if (text.file, text.reader) == (entry.file, entry.reader) else None

    def _finished(self, entry: ManifestEntry, reading: Future[Reading] | None) -> ManifestEntry:
        if reading is None:
            return entry
        read = self._readers.result(reading)
        text = self._kept_text(entry) if read.unchanged else None
        if read.unchanged and text is None:  # it was there a moment ago
            file = str((self._config.input_dir / entry.file).resolve())
            read = self._readers.result(self._readers.start(file, self._config.password_for(entry.source), None))
        entry.sha256, entry.problem = read.sha256, read.problem
        if entry.problem:
            return entry
        if text is None:
            text = PageText(
                source=entry.source, file=entry.file, sha256=read.sha256 or "", reader=entry.reader,
                n_pages=read.n_pages, pages=read.pages,
            )  # fmt: skip
            fill_in(text.pages)
            write_atomic(self._workspace.text(entry.source), text.model_dump_json(indent=1, exclude_none=True).encode())
        return _described(entry, text, file_size(self._workspace.text(entry.source)) or 0)


def _unusable_name(file: Path, source: str) -> str | None:
    *folders, name = source.split("/")
    if len(name.encode()) > LONGEST_NAME:
        return f"its name is longer than {LONGEST_NAME} bytes: rename it"
    if any("\udc80" <= char <= "\udcff" for char in str(file)):  # bytes that Python could not decode
        return "its name is not valid UTF-8: rename it"
    if any(folder.endswith(".json") for folder in folders):
        return "it lies in a folder whose name ends in .json, like our own files: rename the folder"
    return None


def _described(entry: ManifestEntry, text: PageText, text_bytes: int) -> ManifestEntry:
    """What the manifest tells of a paper that was read."""
    kinds = Counter("unreadable" if page.problem else page.kind for page in text.pages)
    languages = Counter(page.language for page in text.pages if page.language)
    entry.text_bytes = text_bytes
    entry.n_pages, entry.characters = text.n_pages, sum(len(page.text) for page in text.pages)
    entry.language = languages.most_common(1)[0][0] if languages else None
    entry.kinds = {kind: count for kind, count in sorted(kinds.items(), key=str) if kind}
    entry.remark = "; ".join(_remarks(text)) or None
    return entry


def _remarks(text: PageText) -> Iterator[str]:
    problems: dict[str, list[int]] = {}
    for page in text.pages:
        if page.problem:
            problems.setdefault(page.problem, []).append(page.page)
    for problem, pages in problems.items():
        yield f"{_pages(pages)} cannot be read ({problem})"
    pictures = [page.page for page in text.pages if page.kind == "image"]
    if pictures:
        need = "have no text, only pictures: run" if len(pictures) > 1 else "has no text, only pictures: run"
        yield f"{_pages(pictures)} {need} OCR (ocrmypdf, for example) to have it read"


def _pages(numbers: list[int]) -> str:
    """`page 3` or `pages 1, 5-7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    listed = ", ".join("-".join(map(str, run)) for run in runs[:SHOWN_RUNS]) + (" …" if len(runs) > SHOWN_RUNS else "")
    return f"{'pages' if len(numbers) > 1 else 'page'} {listed}"
