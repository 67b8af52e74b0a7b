"""Every PDF ends as read, or with a sentence; none takes the others with it, and none takes for ever."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pdfs
import pymupdf
import pytest
from conftest import Project
from server import Server

from pipeline.config import ROOT
from pipeline.documents import children
from pipeline.documents.children import Limits, read_paper
from pipeline.documents.discover import load_text, manifest_entries
from pipeline.records import ManifestEntry
from pipeline.workspace import Workspace

CHECK = "run_batch.py --check"


def manifest(project: Project) -> dict[str, ManifestEntry]:
    return {entry.source: entry for entry in manifest_entries(Workspace(project.output))}


def encrypted(path: Path, password: str) -> Path:
    with pymupdf.open() as document:
        document.new_page().insert_text((50, 50), "We use the Korvian Household Survey.")
        document.save(path, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw=password, owner_pw="owner")
    return path


def readers() -> list[int]:
    """The reader processes of this one, by pid."""
    listed = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "pipeline.documents.reader"], capture_output=True, text=True
    )
    return [int(pid) for pid in listed.stdout.split()]


def test_a_page_that_takes_too_long_costs_what_comes_after_it_in_that_paper(project: Project) -> None:
    project.configure(READ_TIMEOUT_S=1)
    pdfs.write(project.input / "slow.pdf", [pdfs.text("One."), pdfs.slow(), pdfs.text("Three.")])
    project.paper("sound.pdf", "We use the Korvian Household Survey.")
    printed = project.run(CHECK, expect=3)
    assert "pages 2-3 cannot be read (it takes longer than READ_TIMEOUT_S, 1 seconds)" in printed
    assert [page.text for page in load_text(Workspace(project.output), "slow").pages] == ["One.\n", "", ""]
    assert manifest(project)["sound"].remark is None
    project.configure(READ_TIMEOUT_S=1.5)
    project.run(CHECK, expect=3)
    assert "1.5 seconds" in (manifest(project)["slow"].remark or ""), "other limits deserve another try"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_page_that_takes_too_much_memory_is_given_up(project: Project) -> None:
    project.configure(READ_MEMORY_MB=500)
    pdfs.write(project.input / "bomb.pdf", [pdfs.text("One.")], pdfs.huge_font())
    project.paper("sound.pdf", "We use the Korvian Household Survey.")
    assert "page 1 cannot be read (it needs more memory than READ_MEMORY_MB, 500)" in project.run(CHECK, expect=3)
    assert manifest(project)["sound"].characters
    project.run("run_batch.py --process extraction", expect=3)
    project.run("retrieve_results.py --process extraction --wait", expect=3)
    assert project.document("extraction", "bomb")["page_status"] == {"1": "unreadable"}


def crash_readers(times: int) -> threading.Thread:
    """Kill the next readers of this process, each when it is in the middle of a page."""
    children.children.close()  # so that the paper gets readers of its own

    def crash() -> None:
        killed: set[int] = set()
        while len(killed) < times:
            own = [pid for pid in readers() if pid not in killed]
            if own:
                time.sleep(1.5)  # by then it is at the second page
                os.kill(own[0], signal.SIGSEGV)
                killed.add(own[0])
            time.sleep(0.01)

    started = threading.Thread(target=crash)
    started.start()
    return started


def test_a_page_that_makes_the_reader_crash_costs_that_page_alone(tmp_path: Path) -> None:
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.text("One."), pdfs.slow(), pdfs.text("Three.")])
    killer = crash_readers(2)
    reading = read_paper(str(paper), None, None, Limits(60, 2000))
    killer.join()
    assert [page.text for page in reading.pages] == ["One.\n", "", "Three.\n"]
    assert reading.pages[1].problem == "the PDF library crashes on it"


def test_a_reader_that_is_killed_once_is_not_blamed_on_the_paper(tmp_path: Path) -> None:
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.text("One."), pdfs.slow(), pdfs.text("Three.")])
    killer = crash_readers(1)
    reading = read_paper(str(paper), None, None, Limits(4, 2000))
    killer.join()
    assert reading.pages[1].problem == "it takes longer than READ_TIMEOUT_S, 4 seconds", "it was tried again"


def test_ctrl_c_does_not_wait_for_a_slow_page(project: Project) -> None:
    project.configure(READ_TIMEOUT_S=100)
    pdfs.write(project.input / "slow.pdf", [pdfs.slow()])
    command = [sys.executable, "run_batch.py", "--check", "--config", str(project.folder / "config.yaml")]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    pattern = ["pgrep", "-P", str(running.pid), "-f", "pipeline.documents.reader"]
    while subprocess.run(pattern, capture_output=True).returncode:
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=20)[1]
    assert running.returncode == 130 and "Nothing is lost" in told and "Traceback" not in told


def test_a_text_that_was_damaged_is_read_again(project: Project) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    project.run("run_batch.py --process extraction --wait")
    for damage in (b"", b"{", b'{"source": "a"}'):
        (project.output / "text" / "a.json").write_bytes(damage)
        project.run("run_batch.py --process extraction")
        assert load_text(Workspace(project.output), "a").pages[0].text.startswith("We use")


def test_a_blank_page_of_a_repaired_file_is_blank(project: Project) -> None:
    file = pdfs.write(project.input / "a.pdf", [pdfs.text("One."), pdfs.stream(b"")])
    file.write_bytes(file.read_bytes().replace(b"startxref\n", b"startxref\n9"))
    project.run(CHECK)
    assert manifest(project)["a"].kinds == {"blank": 1}


def test_a_reader_whose_parent_is_gone_ends_by_itself(tmp_path: Path) -> None:
    paper = pdfs.write(tmp_path / "a.pdf", [pdfs.slow()])
    code = (
        f"import sys; from pipeline.documents.children import *;read_paper({str(paper)!r}, None, None, Limits(1, 2000))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 20
    pattern = ["pgrep", "-P", str(parent.pid), "-f", "pipeline.documents.reader"]
    while not (child := subprocess.run(pattern, capture_output=True, text=True).stdout.split()):
        assert time.monotonic() < deadline
    time.sleep(0.8)  # started, and at the page
    parent.kill()
    parent.wait()
    while Path(f"/proc/{child[0]}/stat").exists() and "Z" not in Path(f"/proc/{child[0]}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "it goes on for ever"
        time.sleep(0.1)


def test_passwords_open_encrypted_papers_and_are_written_nowhere(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted(project.input / "one.pdf", "marker-one")
    encrypted(project.input / "two.pdf", "marker-two")
    printed = project.run("run_batch.py --process extraction", expect=3)
    assert printed.count("asks for a password: give it in PDF_PASSWORDS, in .env") == 2
    (project.folder / ".env").write_text('PDF_PASSWORDS={"o*": marker-one, "tw*": marker-wrong}\n')
    printed = project.run("run_batch.py --process extraction", expect=3)
    assert "two.pdf: it is encrypted and asks for a password: the one in PDF_PASSWORDS does not open it" in printed
    (project.folder / ".env").write_text('PDF_PASSWORDS={"o*": marker-one, two: marker-two}\n')
    printed += project.run("run_batch.py --process extraction --wait")
    assert project.document("extraction", "two")["page_status"] == {"1": "answered"}
    assert "marker" not in printed
    assert not [name for name, content in project.files().items() if b"marker" in content]


def test_a_password_in_the_settings_file_is_refused(project: Project) -> None:
    project.paper("a.pdf", "Text.")
    project.configure(PDF_PASSWORDS={"a": "marker"})
    printed = project.run(CHECK, expect=1)
    assert "PDF_PASSWORDS stands in" in printed and "marker" not in printed


def test_check_lists_everything_and_sends_nothing(
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
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in printed.splitlines() if line[:1].isalpha()}
    assert lines["a"].split() == ["2", "385", "en", "1"]
    assert "the same file as a" in lines["copy"]
    assert "it is not a PDF" in lines["web"]
    assert "page 1 has no text, only pictures: run OCR" in lines["scan"]
    assert "4 documents, 1 of them unreadable, 1 duplicates" in printed
    assert "5 pages: 2 with text to ask about, 2 blank, 1 only pictures" in printed
    assert server.requests == []
    (project.input / "web.pdf").unlink()
    (project.input / "scan.pdf").unlink()
    project.run(CHECK)


def test_the_papers_that_break_programs(project: Project, shared: Path) -> None:
    """What is wrong with each, and what the user can do."""
    for paper in (shared / "nasty").glob("*.pdf"):
        shutil.copy(paper, project.input)
    project.run(CHECK, expect=3)
    found = manifest(project)
    assert len(found) == 23
    refetch = ("empty", "poppler-67295-0", "poppler-85140-0", "truncated-55pct", "zero-pages-REDHAT-1531897-0")
    assert all("fetch it again" in (found[name].problem or "") for name in (*refetch, "html-not-pdf"))
    locked = ("encrypted-real-paper", "encrypted-user-password")
    assert all("PDF_PASSWORDS" in (found[name].problem or "") for name in locked)
    sound = {name: entry for name, entry in found.items() if not entry.problem}
    assert len(sound) == 15
    remarks = {name: entry.remark for name, entry in sound.items() if entry.remark}
    assert remarks.keys() == {"Pages-tree-refs", "issue5481"}
    assert "OCR" in (remarks["issue5481"] or "")
    pages = {name: entry.n_pages for name, entry in sound.items()}
    assert (pages["huge-2050-pages"], pages["rcc-3169-formfeeds"], pages["junk-before-header"]) == (2050, 44, 10)
    assert found["blank-page"].kinds == {"blank": 1}


def test_pages_that_a_cut_file_has_lost_are_not_taken_for_blank(project: Project, shared: Path) -> None:
    """The page tree lies before them in these files, so that MuPDF finds as many pages as before."""
    for name, share, lost in (("rcc-3277", 0.3, 8), ("drr-10.1088_1748-9326_ab751c", 0.9, 3), ("rcc-3284", 0.3, 1)):
        whole = (shared / "pdfs" / f"{name}.pdf").read_bytes()
        (project.input / f"{name}.pdf").write_bytes(whole[: int(share * len(whole))])
        project.run(CHECK, expect=3)
        assert manifest(project)[name].kinds["unreadable"] == lost
        assert "cannot be read (the file is damaged)" in (manifest(project)[name].remark or "")
