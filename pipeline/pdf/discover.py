"""Find the PDFs, read those that are new or changed, and write the manifest that all later steps use."""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import cast

from tqdm import tqdm

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.files import file_size, replacing, write_atomic
from pipeline.pdf.dask_cluster import cluster_readers
from pipeline.pdf.ocr import find_tessdata, how_to_install
from pipeline.pdf.pool import Limits, ReadResult
from pipeline.pdf.readers import Readers, local_readers
from pipeline.pdf.version import EXTRACTION_VERSION
from pipeline.records import ManifestEntry, PageText, storable
from pipeline.store import manifest_entries
from pipeline.text.language import decide_languages
from pipeline.workspace import Workspace

SUFFIX = ".pdf"
MAX_RANGES = 8  # ranges of page numbers that a remark lists
MAX_NAME_BYTES = 250  # most file systems allow 255, and ".json" is added


def refreshed(workspace: Workspace, config: Config) -> Iterator[ManifestEntry]:
    """Update manifest.jsonl and text/ from the papers in INPUT_DIR, and yield the manifest's entries.

    Each entry is yielded as soon as its text is on disk, so that other work can be done while the next papers are read.
    The old manifest is replaced after the last one. A paper that cannot be read has a `problem` in its entry.

    Raises InputError if the folder is missing, has no PDF, or has two papers with the same document id, and
    ClusterError if DASK_SCHEDULER is set and the cluster cannot be used.
    """
    _create_default_folder(config)
    papers = find_papers(config.input_dir)
    has_ocr = config.ocr != "off" and find_tessdata(config.ocr_languages) is not None
    limits = Limits(config.read_timeout_s, config.read_memory_mb, config.ocr_languages if has_ocr else None)
    needs_ocr = False
    open_readers = cluster_readers if config.dask_scheduler else local_readers
    with (
        replacing(workspace.manifest) as manifest,
        open_readers(config, limits) as readers,
        closing(_PreviousManifest(workspace)) as previous,
    ):
        entries = _Refresh(workspace, config, readers).entries(papers, previous)
        with tqdm(entries, "Reading papers", len(papers), unit=" papers", leave=False, disable=None) as progress:
            for entry in progress:
                manifest.write(entry.model_dump_json(exclude_defaults=True).encode() + b"\n")
                needs_ocr |= entry.needs_ocr
                yield entry
    if needs_ocr and config.ocr != "off":
        print(f"warning: {how_to_install(config.ocr_languages)}", file=sys.stderr)


def _create_default_folder(config: Config) -> None:
    """Git keeps no empty folders. A missing INPUT_DIR of the user's own is more likely a mistake.

    Raises InputError after creating it, because it is empty.
    """
    folder = config.input_dir
    if folder.exists() or folder != config.folder / Config.model_fields["input_dir"].default:
        return
    with suppress(OSError):
        folder.mkdir()
        raise InputError(
            f"The folder {folder} was missing. It was created and is empty: put your PDFs there (sub-folders are "
            "fine), or set INPUT_DIR."
        )


def find_papers(input_dir: Path) -> list[str]:
    """The paths of all PDFs in `input_dir`, relative to it, sorted by document id. Raises InputError."""
    if not input_dir.is_dir():
        raise InputError(f"There is no folder {input_dir}: create it and put your PDFs there, or set INPUT_DIR.")
    papers = sorted(_pdf_files(input_dir), key=document_id)
    for one, other in pairwise(papers):
        if document_id(one) == document_id(other):
            raise InputError(
                f"{input_dir / one} and {input_dir / other} have the same document id, '{document_id(one)}': rename "
                "one of them."
            )
    if not papers:
        raise InputError(f"There are no PDFs in {input_dir}: put some there (sub-folders are fine), or set INPUT_DIR.")
    return papers


def document_id(paper: str) -> str:
    """The id of the paper at this path, relative to INPUT_DIR: the path without `.pdf`, in valid UTF-8."""
    return paper[: -len(SUFFIX)].encode("utf-8", "backslashreplace").decode().replace("\\", "_")


def _pdf_files(folder: Path) -> Iterator[str]:
    seen = set()
    for name, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        if real in seen:  # a link to a parent folder would be followed forever
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [subfolder for subfolder in subfolders if not subfolder.startswith(".")]
        relative = Path(name).relative_to(folder)
        for file in files:
            if file.lower().endswith(SUFFIX) and not file.startswith("."):
                yield (relative / file).as_posix()


class _PreviousManifest:
    """The manifest of the last run. It is read in step with the sorted papers, so that it never fills the memory."""

    def __init__(self, workspace: Workspace) -> None:
        self._entries: Generator[ManifestEntry, None, None] | None = None
        if workspace.manifest.exists():
            self._entries = cast("Generator[ManifestEntry, None, None]", manifest_entries(workspace))
        self._next = self._advance()

    def entry(self, source: str) -> ManifestEntry | None:
        """The entry of document `source`. Ids must be asked for in sorted order. Raises WorkspaceError."""
        while self._next and self._next.source < source:
            self._next = self._advance()
        return self._next if self._next and self._next.source == source else None

    def _advance(self) -> ManifestEntry | None:
        return next(self._entries, None) if self._entries else None

    def close(self) -> None:
        """Close the file, which is still open if not all entries were asked for."""
        if self._entries:
            self._entries.close()


class _Refresh:
    """Reads papers ahead, and stores the results in the order of the papers."""

    def __init__(self, workspace: Workspace, config: Config, readers: Readers) -> None:
        self._workspace, self._config, self._readers = workspace, config, readers
        limits = readers.limits
        self._reader = f"{EXTRACTION_VERSION} {limits.seconds:g} s {limits.megabytes} MB"
        if limits.ocr:
            self._reader += f" OCR {limits.ocr}"

    def entries(self, papers: Iterable[str], previous: _PreviousManifest) -> Iterator[ManifestEntry]:
        """The manifest's entry for each paper."""
        ahead = deque[tuple[ManifestEntry, Future[ReadResult] | None]]()
        for paper in papers:
            ahead.append(self._start(paper, previous.entry(document_id(paper))))
            while len(ahead) > self._readers.queue_length or (ahead and ahead[0][1] is None):
                yield self._finish(*ahead.popleft())
        for entry, reading in ahead:
            yield self._finish(entry, reading)

    def _start(self, paper: str, known: ManifestEntry | None) -> tuple[ManifestEntry, Future[ReadResult] | None]:
        """What is known about the paper, and its reading, if it must be read."""
        source, file = document_id(paper), self._config.input_dir / paper
        entry = ManifestEntry(source=source, file=storable(paper), reader=self._reader)
        try:
            stat = file.stat()
        except OSError as error:
            entry.problem = f"it cannot be opened ({error.strerror}): check its permissions"
            return entry, None
        entry.size, entry.mtime_ns = stat.st_size, stat.st_mtime_ns
        password = self._config.password_for(source)
        if known and self._is_unchanged(entry, known, password):
            return known, None
        entry.problem = _name_problem(file, source)
        if entry.problem:
            return entry, None
        text = self._stored_text(entry)
        return entry, self._readers.start(str(file.resolve()), password, text.sha256 if text else None)

    def _is_unchanged(self, entry: ManifestEntry, known: ManifestEntry, password: str | None) -> bool:
        """Whether reading the paper again would give the same result as before."""
        same_file = (entry.file, entry.size, entry.mtime_ns) == (known.file, known.size, known.mtime_ns)
        if not same_file or known.sha256 is None or (known.problem and password):
            return False
        if not known.problem and file_size(self._workspace.text(entry.source)) != known.text_bytes:
            return False  # the stored text is lost or damaged
        # A paper that was read completely gives the same text under other limits. What OCR has read is kept without it.
        is_complete = not known.problem and not known.remark and not (known.ocr and self._readers.limits.ocr)
        return known.reader == entry.reader or (is_complete and known.reader.split()[:1] == [EXTRACTION_VERSION])

    def _stored_text(self, entry: ManifestEntry) -> PageText | None:
        """The text on disk, if it was extracted from a file of this name in the same way."""
        try:
            text = PageText.model_validate_json(self._workspace.text(entry.source).read_bytes())
        except (OSError, ValueError):
            return None  # the paper was never read, or its text is damaged
        return text if (text.file, text.reader) == (entry.file, entry.reader) else None

    def _finish(self, entry: ManifestEntry, reading: Future[ReadResult] | None) -> ManifestEntry:
        """Wait for the reading, store the text, and complete the entry."""
        if reading is None:
            return entry
        result = self._readers.result(reading)
        text = self._stored_text(entry) if result.unchanged else None
        if result.unchanged and text is None:  # the stored text was deleted in the meantime
            file = str((self._config.input_dir / entry.file).resolve())
            reading = self._readers.start(file, self._config.password_for(entry.source), None)
            result = self._readers.result(reading)
        entry.sha256, entry.problem = result.sha256, result.problem
        if entry.problem:
            return entry
        path = self._workspace.text(entry.source)
        if text is None:
            text = PageText(
                source=entry.source, file=entry.file, sha256=result.sha256 or "", reader=entry.reader,
                pdf_title=result.title, pdf_year=result.year, remark=result.remark, n_pages=result.n_pages,
                pages=result.pages,
            )  # fmt: skip
            if not result.has_languages:  # the worker died before it could decide
                decide_languages(text.pages)
            write_atomic(path, text.model_dump_json(indent=1, exclude_none=True).encode())
        entry.text_bytes = file_size(path) or 0
        _describe(entry, text)
        entry.text = text
        return entry


def _name_problem(file: Path, source: str) -> str | None:
    """Why a paper cannot be used under its name, if so."""
    *folders, name = source.split("/")
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"its name is longer than {MAX_NAME_BYTES} bytes: rename it"
    if any("\udc80" <= char <= "\udcff" for char in str(file)):  # Python's replacements for invalid bytes
        return "its name is not valid UTF-8: rename it"
    if any(folder.endswith(".json") for folder in folders):  # it would collide with an output file
        return "the name of its folder ends in .json: rename the folder"
    return None


def _describe(entry: ManifestEntry, text: PageText) -> None:
    """Add to the manifest's entry what is known about the text."""
    languages = Counter(page.language for page in text.pages if page.language)
    entry.n_pages, entry.characters = text.n_pages, sum(len(page.text) for page in text.pages)
    entry.language = languages.most_common(1)[0][0] if languages else None
    kinds: dict[str, list[int]] = {}
    for page in text.pages:
        kind = "unreadable" if page.problem else page.kind
        if kind:
            kinds.setdefault(kind, []).append(page.page)
    entry.kinds = {kind: len(pages) for kind, pages in sorted(kinds.items())}
    entry.kind_pages = {kind: _ranges(pages) for kind, pages in sorted(kinds.items())}
    entry.ocr = sum(page.ocr for page in text.pages)
    entry.remark = "; ".join([*_page_remarks(text), *([text.remark] if text.remark else [])]) or None


def _page_remarks(text: PageText) -> Iterator[str]:
    """What the user has to know about pages that cannot be read, or not completely."""
    problems: dict[str, list[int]] = {}
    for page in text.pages:
        if page.problem:
            problems.setdefault(page.problem, []).append(page.page)
    for problem, pages in problems.items():
        yield f"{_page_ranges(pages)} cannot be read ({problem})"
    pictures = [page for page in text.pages if page.kind == "image" and not page.ocr]
    for reason, found in (
        ("no text, only pictures", [page.page for page in pictures if not page.unmapped and not page.text.strip()]),
        ("a picture and hardly any text", [page.page for page in pictures if not page.unmapped and page.text.strip()]),
        ("text in a font without letters", [page.page for page in pictures if page.unmapped]),
    ):
        if found:
            verb, pronoun = ("have", "them") if len(found) > 1 else ("has", "it")
            yield f"{_page_ranges(found)} {verb} {reason}: run OCR on {pronoun} (OCR: missing, or ocrmypdf)"
    in_part = [page.page for page in text.pages if page.unmapped and page.kind != "image"]
    if in_part:
        verb = "have" if len(in_part) > 1 else "has"
        yield f"{_page_ranges(in_part)} {verb} some letters in a font without letters, which the text does not have"


def _page_ranges(numbers: list[int]) -> str:
    """`page 3`, or `pages 1, 5-7`."""
    return f"{'pages' if len(numbers) > 1 else 'page'} {_ranges(numbers)}"


def _ranges(numbers: list[int]) -> str:
    """`3`, or `1, 5-7`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    more = " …" if len(ranges) > MAX_RANGES else ""
    return ", ".join("-".join(map(str, pages)) for pages in ranges[:MAX_RANGES]) + more
