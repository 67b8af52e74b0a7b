"""Reading PDFs: each one is read or has a problem that says why not. None affects the others or takes forever."""

from __future__ import annotations

import gc
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pdfs
import pymupdf
import pytest
from conftest import Project, has_open
from server import Server

from pipeline.config import ROOT
from pipeline.errors import WorkspaceError
from pipeline.pdf.layout_text import text_of
from pipeline.pdf.pool import WORKER_MODULE, Limits, read_paper, workers
from pipeline.records import ManifestEntry
from pipeline.store import load_text, manifest_entries
from pipeline.text.tokens import count_tokens
from pipeline.workspace import Workspace

CHECK = "run_batch.py --check"
SENTENCE = "We use the Korvian Household Survey."
GENEROUS = Limits(60, 2000)


def manifest(project: Project) -> dict[str, ManifestEntry]:
    return {entry.source: entry for entry in manifest_entries(Workspace(project.output))}


def encrypted(path: Path, password: str) -> Path:
    with pymupdf.open() as document:
        document.new_page().insert_text((50, 50), SENTENCE)
        document.save(path, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw=password, owner_pw="owner")
    return path


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_reader(parent: int, paper: Path) -> int:
    """Wait until a worker of the process `parent` is reading a page of the paper. Returns its process id."""

    def found() -> list[int]:
        command = ["pgrep", "-P", str(parent), "-f", WORKER_MODULE]
        listed = subprocess.run(command, capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in listed if has_open(int(pid), paper)]

    wait_until(lambda: bool(found()))
    time.sleep(0.2)  # the file is also open for a moment while its hash is computed
    [pid] = found()
    return pid


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_time_limit_ends_only_the_slow_paper(project: Project) -> None:
    project.configure(READ_TIMEOUT_S=0.5)
    pdfs.write(project.input / "slow.pdf", [pdfs.text("One."), pdfs.slow(), pdfs.text("Three.")])
    project.paper("sound.pdf", SENTENCE)
    printed = project.run(CHECK, expect=3)
    assert "pages 2-3 cannot be read (it takes longer than READ_TIMEOUT_S (0.5 s))" in printed
    assert [page.text for page in load_text(Workspace(project.output), "slow").pages] == ["One.\n", "", ""]
    assert manifest(project)["sound"].remark is None
    project.configure(READ_TIMEOUT_S=0.6)
    project.run(CHECK, expect=3)
    assert "0.6 s" in (manifest(project)["slow"].remark or ""), "it is read again after the limit was changed"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_page_over_the_memory_limit_is_reported(project: Project) -> None:
    project.configure(READ_MEMORY_MB=500)
    pdfs.write(project.input / "bomb.pdf", [pdfs.text("One.")], pdfs.huge_font())
    project.paper("sound.pdf", SENTENCE)
    assert "page 1 cannot be read (it needs more memory than READ_MEMORY_MB (500))" in project.run(CHECK, expect=3)
    assert manifest(project)["sound"].characters
    project.run("run_batch.py --process extraction", expect=3)
    project.run("retrieve_results.py --process extraction --wait", expect=3)
    assert project.document("extraction", "bomb")["page_status"] == {"1": "unreadable"}


@pytest.fixture
def crashing_workers() -> Iterator[None]:
    """Workers that crash on pages with the text CRASH."""
    workers.restart("tests.crashing_worker")
    yield
    workers.restart()


@pytest.mark.usefixtures("crashing_workers")
def test_crash_costs_only_the_page_that_causes_it(tmp_path: Path) -> None:
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.text(line) for line in ("One.", "CRASH", "Three.")])
    result = read_paper(str(paper), None, None, GENEROUS)
    assert [page.text for page in result.pages] == ["One.\n", "", "Three.\n"]
    assert [page.problem for page in result.pages] == [None, "the PDF library crashes on it", None]


@pytest.mark.usefixtures("crashing_workers")
def test_page_is_tried_again_after_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRASH_ONCE", str(tmp_path / "crashed"))
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.text(line) for line in ("One.", "CRASH", "Three.")])
    result = read_paper(str(paper), None, None, GENEROUS)
    assert (tmp_path / "crashed").exists()
    assert [page.text for page in result.pages] == ["One.\n", "CRASH\n", "Three.\n"]
    assert not any(page.problem for page in result.pages)


@pytest.mark.usefixtures("crashing_workers")
def test_three_crashes_end_the_paper(tmp_path: Path) -> None:
    lines = ("One.", "CRASH", "CRASH", "Four.", "CRASH", "Six.", "Seven.")
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.text(line) for line in lines])
    result = read_paper(str(paper), None, None, GENEROUS)
    assert [page.text for page in result.pages] == ["One.\n", "", "", "Four.\n", "", "", ""]
    problems = [page.problem or "" for page in result.pages]
    assert ["crashes on it" in problem for problem in problems] == [False, True, True, False, True, False, False]
    assert ["not tried" in problem for problem in problems] == [False] * 5 + [True] * 2


def test_worker_that_does_not_start_is_reported_and_closed(tmp_path: Path) -> None:
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.text("One.")])
    workers.restart("tests.no_such_module")
    try:
        with pytest.raises(WorkspaceError, match="READ_MEMORY_MB = 2000"):
            read_paper(str(paper), None, None, GENEROUS)
    finally:
        workers.restart()
    gc.collect()  # an open pipe or a process that was not waited for is a ResourceWarning here, and so an error


def test_interrupt_does_not_wait_for_a_slow_paper(project: Project) -> None:
    project.configure(READ_TIMEOUT_S=100)
    paper = pdfs.write(project.input / "slow.pdf", [pdfs.slow()] * 5)  # about half a minute
    command = [sys.executable, "run_batch.py", "--check", "--config", str(project.folder / "config.yaml")]
    # A process that was started in the background ignores Ctrl-C, and so would its children.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as running:
        worker = wait_for_reader(running.pid, paper)
        running.send_signal(signal.SIGINT)
        printed = running.communicate(timeout=5)[1]
    assert running.returncode == 130 and "Nothing is lost" in printed and "Traceback" not in printed
    assert not is_running(worker)


def test_worker_ends_by_itself_after_its_parent_died(tmp_path: Path) -> None:
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.slow()] * 5)
    code = f"from pipeline.pdf.pool import Limits, read_paper; read_paper({str(paper)!r}, None, None, Limits(1, 2000))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as parent:
        worker = wait_for_reader(parent.pid, paper)
        parent.kill()
    wait_until(lambda: not is_running(worker), seconds=5)


def test_damaged_text_is_extracted_again(project: Project) -> None:
    project.paper("a.pdf", SENTENCE)
    project.run("run_batch.py --process extraction --wait")
    for damage in (b"", b"{", b'{"source": "a"}'):
        (project.output / "text" / "a.json").write_bytes(damage)
        project.run("run_batch.py --process extraction")
        assert load_text(Workspace(project.output), "a").pages[0].text.startswith("We use")


def test_blank_page_of_a_repaired_file_is_blank(project: Project) -> None:
    file = pdfs.write(project.input / "a.pdf", [pdfs.text("One."), pdfs.stream(b"")])
    file.write_bytes(file.read_bytes().replace(b"startxref\n", b"startxref\n9"))
    project.run(CHECK)
    assert manifest(project)["a"].kinds == {"blank": 1}


def test_junk_before_the_header_changes_nothing(project: Project, shared: Path) -> None:
    paper = (shared / "pdfs" / "rcc-339.pdf").read_bytes()
    lengths = (0, 3, 1018, 1019, 2000, 4000)
    for length in lengths:
        (project.input / f"{length}.pdf").write_bytes(b"x" * length + paper)
    project.run(CHECK)
    original, *with_junk = (load_text(Workspace(project.output), str(length)).pages for length in lengths)
    assert len(original) == 10
    assert all(pages == original for pages in with_junk)


def test_passwords_open_encrypted_papers_and_are_not_written_to_any_file(project: Project) -> None:
    encrypted(project.input / "one.pdf", "marker-one")
    encrypted(project.input / "two.pdf", "marker-two")
    printed = project.run("run_batch.py --process extraction", expect=3)
    assert printed.count("asks for a password: add it to PDF_PASSWORDS in .env") == 2
    (project.folder / ".env").write_text('PDF_PASSWORDS={"o*": marker-one, "tw*": marker-wrong}\n')
    printed = project.run("run_batch.py --process extraction", expect=3)
    assert "two.pdf: it is encrypted and asks for a password: the one in PDF_PASSWORDS is wrong" in printed
    (project.folder / ".env").write_text('PDF_PASSWORDS={"o*": marker-one, two: marker-two}\n')
    printed += project.run("run_batch.py --process extraction --wait")
    assert project.document("extraction", "two")["page_status"] == {"1": "answered"}
    assert "marker" not in printed
    assert not [name for name, content in project.files().items() if b"marker" in content]


def test_password_in_config_yaml_is_rejected(project: Project) -> None:
    project.paper("a.pdf", "Text.")
    project.configure(PDF_PASSWORDS={"a": "marker"})
    printed = project.run(CHECK, expect=1)
    assert "PDF_PASSWORDS" in printed and ".env" in printed and "marker" not in printed


def test_check_lists_all_papers_and_sends_nothing(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    first = project.paper(
        "a.pdf", "We use the data of the Korvian Household Survey of the year 2010 and others. " * 5, ""
    )
    shutil.copy(first, project.input / "copy.pdf")
    (project.input / "web.pdf").write_text("<html>404</html>")
    with pymupdf.open() as scan:
        picture = pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 50, 50))
        picture.clear_with(200)
        scan.new_page().insert_image(pymupdf.Rect(50, 50, 500, 700), pixmap=picture)
        scan.save(project.input / "scan.pdf")
    printed = project.run(CHECK, expect=3)
    rows = {line.split()[0]: line.split(maxsplit=1)[1:] for line in printed.splitlines() if line[:1].isalpha()}
    assert rows["a"][0].split() == ["2", "en", "blank", "2"]
    assert rows["scan"][0].split() == ["1", "pictures", "1"]
    assert re.search(r"^copy .*\n    the same file as a", printed, re.MULTILINE)
    assert "problem: web.pdf: it is not a PDF" in printed
    assert "warning: scan.pdf: page 1 has no text, only pictures: run OCR" in printed
    assert "4 documents, 1 unreadable, 1 duplicate" in printed
    assert "5 pages: 2 with text, 2 blank, 1 with pictures only" in printed
    assert server.requests == []
    (project.input / "web.pdf").unlink()
    (project.input / "scan.pdf").unlink()
    project.run(CHECK)


def test_papers_that_break_programs(project: Project, shared: Path) -> None:
    """What is wrong with each, and what the user can do."""
    for paper in (shared / "nasty").glob("*.pdf"):
        shutil.copy(paper, project.input)
    project.run(CHECK, expect=3)
    found = manifest(project)
    assert len(found) == 23
    damaged = (
        "empty", "html-not-pdf", "poppler-67295-0", "poppler-85140-0", "truncated-55pct", "zero-pages-REDHAT-1531897-0"
    )  # fmt: skip
    assert all("download it again" in (found[name].problem or "") for name in damaged)
    locked = ("encrypted-real-paper", "encrypted-user-password")
    assert all("PDF_PASSWORDS" in (found[name].problem or "") for name in locked)
    sound = {name: entry for name, entry in found.items() if not entry.problem}
    assert len(sound) == 15
    remarks = {name: entry.remark for name, entry in sound.items() if entry.remark}
    assert remarks.keys() == {"Pages-tree-refs", "ThuluthFeatures", "issue5481", "rcc-3169-formfeeds"}
    assert all("letters" in (remarks[name] or "") for name in ("ThuluthFeatures", "rcc-3169-formfeeds"))
    assert "OCR" in (remarks["issue5481"] or "")
    pages = {name: entry.n_pages for name, entry in sound.items()}
    assert (pages["huge-2050-pages"], pages["rcc-3169-formfeeds"], pages["junk-before-header"]) == (2050, 44, 10)
    assert found["blank-page"].kinds == {"blank": 1}


def test_pages_that_a_truncated_file_has_lost_are_not_blank(project: Project, shared: Path) -> None:
    """In these files the page tree comes first, so MuPDF finds all pages, but not the content of the last ones."""
    for name, share, lost in (("rcc-3277", 0.3, 8), ("drr-10.1088_1748-9326_ab751c", 0.9, 3), ("rcc-3284", 0.3, 1)):
        whole = (shared / "pdfs" / f"{name}.pdf").read_bytes()
        (project.input / f"{name}.pdf").write_bytes(whole[: int(share * len(whole))])
        project.run(CHECK, expect=3)
        assert manifest(project)[name].kinds["unreadable"] == lost
        assert "cannot be read (the file is damaged)" in (manifest(project)[name].remark or "")


def test_fast_text_is_what_pymupdf_extracts(tmp_path: Path) -> None:
    """`text_of` uses a function that is made for searching, so it must not leave anything out."""
    lines = [
        "first line",
        "hyphen-",
        "ated  two   spaces ",
        "",
        "\N{LATIN SMALL LIGATURE FI}eld",
        "你好 Ж",
        "\u00a0end",
    ]
    with pymupdf.open() as made:
        for page_lines in (lines, lines[::-1], []):
            page = made.new_page()
            for number, line in enumerate(page_lines):
                page.insert_text((50, 80 + 20 * number), line, fontname="china-s" if not line.isascii() else "helv")
            page.insert_text((300, 80), "another\ncolumn-\nof text")
        made.save(tmp_path / "a.pdf")
    same_text(tmp_path / "a.pdf")


def test_page_with_the_letter_nul_keeps_its_text(tmp_path: Path) -> None:
    """In fonts of TeX, the code 0 is the minus sign. It has no letter, and the rest of the page has."""
    with pymupdf.open() as made:
        page = made.new_page()
        page.insert_text((50, 50), SENTENCE)
        glyph = made.get_new_xref()
        made.update_object(glyph, "<<>>")
        made.update_stream(glyph, b"600 0 0 0 500 700 d1 0 300 500 90 re f")
        font = made.get_new_xref()
        made.update_object(
            font,
            "<</Type/Font/Subtype/Type3/FontBBox[0 0 600 700]/FontMatrix[.001 0 0 .001 0 0]/FirstChar 0/LastChar 0"
            f"/Widths[600]/Encoding<</Type/Encoding/Differences[0/a0]>>/CharProcs<</a0 {glyph} 0 R>>/Resources<<>>>>",
        )
        helvetica = page.get_fonts()[0][0]
        made.xref_set_key(page.xref, "Resources", f"<</Font<</helv {helvetica} 0 R/F9 {font} 0 R>>>>")
        drawn = made.get_new_xref()
        made.update_object(drawn, "<<>>")
        made.update_stream(drawn, b"BT /F9 12 Tf 60 700 Td <00> Tj ET")
        made.xref_set_key(page.xref, "Contents", f"[{page.get_contents()[0]} 0 R {drawn} 0 R]")
        made.save(tmp_path / "a.pdf")
    (page_read,) = read_paper(str(tmp_path / "a.pdf"), None, None, GENEROUS).pages
    assert page_read.problem is None and page_read.text.startswith(SENTENCE)


@pytest.mark.usefixtures("crashing_workers")
def test_crash_after_the_last_page_adds_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRASH_AT_END", "1")
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.text("One."), pdfs.text("Two.")])
    result = read_paper(str(paper), None, None, GENEROUS)
    assert [(page.text, page.problem) for page in result.pages] == [("One.\n", None), ("Two.\n", None)]


def test_fast_text_of_real_papers(shared: Path) -> None:
    papers = sorted((shared / "pdfs").glob("*.pdf"))[:8]
    assert papers
    for paper in papers:
        same_text(paper)


def same_text(paper: Path) -> None:
    with pymupdf.open(paper) as document:
        for page in document:
            layout = page.get_textpage(flags=pymupdf.TEXTFLAGS_TEXT)
            assert text_of(layout) == layout.extractText(), f"{paper.name} {page.number}"


@pytest.mark.usefixtures("crashing_workers")
def test_a_crash_does_not_change_the_language(project: Project) -> None:
    """A worker decides about the languages when it has read all pages. If it has died before, its parent does."""
    german = "Wir verwenden die Daten des Haushaltspanels,\ndas seit Jahren im ganzen Land erhoben wird.\n" * 4
    project.paper("a.pdf", german, german, "CRASH", "42", german)
    project.run(CHECK, expect=3)
    pages = load_text(Workspace(project.output), "a").pages
    assert [page.problem is None for page in pages] == [True, True, False, True, True]
    assert [page.language for page in pages] == ["de"] * 5


def test_reader_counts_the_tokens_of_pages_to_ask_about(project: Project) -> None:
    project.paper("a.pdf", SENTENCE, "", "References\nBrandt, J. (1998). Wells.")
    project.run(CHECK)
    text, blank, references = load_text(Workspace(project.output), "a").pages
    assert text.tokens == count_tokens(text.text) and (blank.tokens, references.tokens) == (None, None)
