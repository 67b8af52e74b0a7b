"""What a person sees on a page is in its text, or is reported with what to do. Nothing visible is called blank."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_ocr_worker
import pdfs
import pymupdf
import pytest
from conftest import Project
from server import Server

from pipeline.pdf.extract import OpenPaper
from pipeline.pdf.ocr import find_tessdata
from pipeline.pdf.pool import workers
from pipeline.records import ManifestEntry, Page
from pipeline.store import load_text, manifest_entries
from pipeline.workspace import Workspace

CHECK = "run_batch.py --check"
LINES = (
    "Our estimates use the Korvian Household Panel of 2014,",
    "which the statistics office collected in nine provinces.",
)
FONT = pymupdf.Font("helv")
Draw = Callable[[pymupdf.Page], object]


def paper(path: Path, *pages: Draw) -> Path:
    """A PDF with a page for each function that draws one."""
    with pymupdf.open() as document:
        for draw in pages:
            draw(document.new_page())
        document.save(path)
    return path


def read(path: Path) -> list[Page]:
    with OpenPaper(path) as opened:
        return list(opened.pages())


def read_one(folder: Path, draw: Draw) -> Page:
    [page] = read(paper(folder / "page.pdf", draw))
    return page


def entry_of(project: Project, source: str) -> ManifestEntry:
    [found] = [entry for entry in manifest_entries(Workspace(project.output)) if entry.source == source]
    return found


def photographed() -> pymupdf.Pixmap:
    """A picture of a page of text."""
    with pymupdf.open() as document:
        page = document.new_page()
        for number in range(20):
            page.insert_text((50, 80 + 30 * number), LINES[number % 2], fontsize=18)
        return page.get_pixmap(dpi=100, colorspace=pymupdf.csGRAY)


def scan(page: pymupdf.Page) -> None:
    page.insert_image(page.rect, pixmap=photographed())


def scan_in_strips(page: pymupdf.Page) -> None:
    picture, height = photographed(), page.rect.height / 8
    for number in range(8):
        page.insert_image(pymupdf.Rect(0, number * height, page.rect.width, (number + 1) * height), pixmap=picture,
                          keep_proportion=False)  # fmt: skip


def stencil(page: pymupdf.Page) -> None:
    """A scan as fax machines and JBIG2 scanners store it."""
    content(page, b"q 595 0 0 842 0 0 cm /Im0 Do Q", "<</XObject<</Im0 %d 0 R>>>>", b"\xaa\x55" * 800,
            "<</Type/XObject/Subtype/Image/Width 64/Height 200/BitsPerComponent 1/ImageMask true>>")  # fmt: skip


def content(page: pymupdf.Page, drawn: bytes, resources: str, stream: bytes, entries: str) -> None:
    """Write the content of a page. `%d` in `resources` is the number of the object with `stream` and `entries`."""
    document = page.parent
    used, painted = document.get_new_xref(), document.get_new_xref()
    document.update_object(used, entries)
    document.update_stream(used, stream)
    document.update_object(painted, "<<>>")
    document.update_stream(painted, drawn)
    document.xref_set_key(page.xref, "Resources", resources.replace("%d", str(used)))
    document.xref_set_key(page.xref, "Contents", f"{painted} 0 R")


def unknown_codes(codes: bytes) -> Draw:
    """Lines of letters, drawn by a font that has no names for them."""

    def draw(page: pymupdf.Page) -> None:
        lines = b" ".join(b"<" + bytes(codes[(k * 7 + j) % len(codes)] for j in range(40)).hex().encode() + b"> Tj T*"
                          for k in range(30))  # fmt: skip
        number = page.parent.xref_length()  # the number of the next object, which draws every letter
        letters = "".join(f"/q{code} {number} 0 R" for code in codes)
        names = " ".join(f"/q{code}" for code in range(256))
        font = (
            "<</Font<</F0<</Type/Font/Subtype/Type3/FontBBox[0 0 600 700]/FontMatrix[.001 0 0 .001 0 0]/FirstChar 0"
            f"/LastChar 255/Widths[{'600 ' * 256}]/Encoding<</Type/Encoding/Differences[0 {names}]>>"
            f"/CharProcs<<{letters}>>/Resources<<>>>>>>>>"
        )
        drawn = b"BT /F0 12 Tf 14 TL 72 750 Td " + lines + b" ET"
        content(page, drawn, font, b"600 0 0 0 500 700 d1 0 0 300 500 re f", "<<>>")

    return draw


def stamp(text: str) -> Draw:
    return lambda page: page.insert_text((60, 830), text, fontsize=7)


def both(*draws: Draw) -> Draw:
    def draw(page: pymupdf.Page) -> None:
        for one in draws:
            one(page)

    return draw


def shapes(page: pymupdf.Page) -> None:
    """Letters as shapes, as some programs print them."""
    for number in range(400):
        x, y = 60 + number % 40 * 11, 80 + number // 40 * 20
        page.draw_rect(pymupdf.Rect(x, y, x + 7, y + 10), fill=(0, 0, 0))


@pytest.mark.parametrize(
    "draw",
    [
        scan, scan_in_strips, stencil, both(scan, stamp("Downloaded from an archive, 3 May 2019. Page 7 of 9.")),
        both(scan, stamp("12")), shapes, both(shapes, stamp("- 7 -")), unknown_codes(bytes(range(1, 20))),
        unknown_codes(bytes((9, 10, 13, 32))), lambda page: page.draw_line((50, 700), (500, 700)),
        lambda page: page.draw_rect(pymupdf.Rect(50, 50, 60, 52), fill=(0.6, 0.6, 0.6), color=None),
    ],
    ids=[
        "scan", "strips", "stencil", "stamp", "page number", "shapes", "shapes and number", "codes below 32",
        "codes of white space", "rule", "dash",
    ],
)  # fmt: skip
def test_visible_page_without_text_is_a_picture(tmp_path: Path, draw: Draw) -> None:
    assert read_one(tmp_path, draw).kind == "image"


@pytest.mark.parametrize(
    "draw",
    [
        lambda page: None, lambda page: page.draw_rect(page.rect, fill=(1, 1, 1), color=(1, 1, 1)),
        lambda page: page.insert_text((50, 50), "   "),
        lambda page: page.insert_text((50, 50), " ", color=(1, 1, 1)),
    ],
    ids=["nothing", "white", "spaces", "white space"],
)  # fmt: skip
def test_page_on_which_nothing_can_be_seen_is_blank(tmp_path: Path, draw: Draw) -> None:
    assert read_one(tmp_path, draw).kind == "blank"


def test_page_with_a_figure_and_text_is_text(tmp_path: Path) -> None:
    def draw(page: pymupdf.Page) -> None:
        page.insert_image(pymupdf.Rect(50, 50, 540, 400), pixmap=photographed())
        for number in range(10):
            page.insert_text((50, 450 + 15 * number), LINES[number % 2])

    assert read_one(tmp_path, draw).kind is None


def test_letters_in_unknown_codes_are_reported(project: Project) -> None:
    paper(project.input / "all.pdf", unknown_codes(bytes(range(1, 20))))
    printed = project.run(CHECK, expect=3)
    assert "page 1 has text in a font without letters: run OCR on it" in printed
    with pymupdf.open() as document:
        page = document.new_page()
        unknown_codes(bytes(range(1, 20)))(page)
        data = document.tobytes()
    with pymupdf.open(stream=data, filetype="pdf") as document:
        for number in range(180):
            document[0].insert_text((50, 10 + 4.5 * number), " ".join(LINES) * 2, fontsize=4)
        document.save(project.input / "all.pdf")
    printed = project.run(CHECK, expect=3)
    assert "page 1 has some letters in a font without letters, which the text does not have" in printed


def portfolio(path: Path, *names: str, collection: bool = True) -> Path:
    with pymupdf.open() as document:
        document.new_page().insert_text((72, 100), "For the best experience, open this PDF portfolio in a new reader.")
        for number, name in enumerate(names):
            document.embfile_add(f"{number}", b"%PDF-1.7", filename=name, ufilename=name)
        if collection:
            document.xref_set_key(document.pdf_catalog(), "Collection", "<</Type/Collection/View/D>>")
        document.save(path)
    return path


def test_attached_papers_are_reported_and_not_written(project: Project) -> None:
    portfolio(project.input / "a.pdf", "one.pdf", "../../two.PDF", "three.pdf", "four.pdf")
    portfolio(project.input / "b.pdf", "supplement.pdf", "data.csv", collection=False)
    portfolio(project.input / "c.pdf", "report.docx", "paper.pdf")
    portfolio(project.input / "d.pdf", "data.csv", collection=False)
    before = sorted(project.folder.rglob("*.[pP][dD][fF]"))
    printed = project.run(CHECK, expect=3)
    assert "it contains 4 attached PDFs (one.pdf, ../../two.PDF, three.pdf …), which are not read" in printed
    assert "it contains 1 attached PDF (supplement.pdf), which is not read: save it to INPUT_DIR" in printed
    assert "it contains 2 attached files (report.docx, paper.pdf)" in printed
    assert entry_of(project, "d").remark is None
    assert sorted(project.folder.rglob("*.[pP][dD][fF]")) == before
    assert project.run(CHECK, expect=3) == printed, "nothing is read again"


def form(path: Path, needs_rendering: bool, text: str) -> Path:
    with pymupdf.open() as document:
        document.new_page().insert_text((72, 100), text)
        xfa = document.get_new_xref()
        document.update_object(xfa, "<<>>")
        document.update_stream(xfa, b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'><template/></xdp:xdp>")
        document.xref_set_key(document.pdf_catalog(), "AcroForm", f"<</Fields[]/XFA {xfa} 0 R>>")
        if needs_rendering:
            document.xref_set_key(document.pdf_catalog(), "NeedsRendering", "true")
        document.save(path)
    return path


def test_forms_that_only_some_viewers_show_are_reported(project: Project) -> None:
    form(project.input / "dynamic.pdf", True, "Your viewer cannot show this document.")
    form(project.input / "waiting.pdf", False, "Please wait... If this message is not replaced, update your viewer.")
    form(project.input / "static.pdf", False, "Name of the household head:")
    assert project.run(CHECK, expect=3).count("it is a form (XFA) whose text is not in its pages") == 2
    assert entry_of(project, "static").remark is None


def words_twice(page: pymupdf.Page) -> None:
    for number, line in enumerate(LINES):
        x = 50.0
        for word in line.split():
            for shift in (0, 0.4):
                page.insert_text((x + shift, 100 + 16 * number), f"{word} ")
            x += FONT.text_length(f"{word} ", 11)


def lines_twice(page: pymupdf.Page) -> None:
    for number, line in enumerate(LINES):
        for shift in (0, 0.5):
            page.insert_text((50 + shift, 100 + 16 * number), line)


def ocr_layer(page: pymupdf.Page) -> None:
    """A layer of OCR with errors and in another font, drawn after all of the text."""
    for number, line in enumerate(LINES):
        page.insert_text((50, 100 + 16 * number), line)
    for number, line in enumerate(LINES):
        wrong = line.replace("estimates", "estirnates").replace("nine", "nlne")
        x = 50.0
        for word, printed in zip(wrong.split(), line.split(), strict=True):
            page.insert_text((x + 0.5, 101 + 16 * number), word, fontsize=10.6, fontname="tiro", render_mode=3)
            x += FONT.text_length(f"{printed} ", 11)


def heading_twice(page: pymupdf.Page) -> None:
    for shift in (0, 0.3, 0.6):
        page.insert_text((50 + shift, 80), "Data and sources")
    for number, line in enumerate(LINES):
        page.insert_text((50, 100 + 16 * number), line)


@pytest.mark.parametrize("draw", [words_twice, lines_twice, ocr_layer, heading_twice])
def test_text_that_is_drawn_twice_is_kept_once(tmp_path: Path, draw: Draw) -> None:
    text = read_one(tmp_path, draw).text
    assert " ".join(text.split()).removeprefix("Data and sources ") == " ".join(LINES)
    assert [line.strip() for line in text.splitlines() if "Data and" not in line] == list(LINES)


def test_table_that_repeats_its_cells_stays_as_it_is(tmp_path: Path) -> None:
    def draw(page: pymupdf.Page) -> None:
        for row in range(12):
            for column in range(4):
                page.insert_text((50 + 60 * column, 100 + 10 * row), "Yes Yes", fontsize=6)

    assert read_one(tmp_path, draw).text.split() == ["Yes"] * 96


@pytest.fixture
def fake_ocr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with empty language files, and workers in which OCR returns a fixed text."""
    yield from _ocr(tmp_path, monkeypatch, "tests.fake_ocr_worker")


@pytest.fixture
def broken_ocr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with empty language files, which the real Tesseract cannot use."""
    yield from _ocr(tmp_path, monkeypatch, "pipeline.pdf.worker")


def _ocr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> Iterator[Path]:
    folder = tmp_path / "tessdata"
    folder.mkdir()
    (folder / "eng.traineddata").touch()
    monkeypatch.setenv("TESSDATA_PREFIX", str(folder))
    find_tessdata.cache_clear()
    workers.restart(module)
    yield folder
    find_tessdata.cache_clear()
    workers.restart()


def test_scan_is_read_by_ocr_and_marked(project: Project, server: Server, fake_ocr: Path) -> None:
    project.configure(OCR="missing")
    paper(project.input / "a.pdf", scan, stamp("We use the Korvian Household Survey."), both(scan, stamp("12")))
    printed = project.run(CHECK)
    assert "2 pages read by OCR" in printed and "run OCR" not in printed
    pages = load_text(Workspace(project.output), "a").pages
    assert [(page.ocr, page.kind) for page in pages] == [(True, None), (False, None), (True, None)]
    assert [page.text for page in pages[::2]] == [f"eng page {number}: {fake_ocr_worker.TEXT}" for number in (1, 3)]
    project.all_stages()
    project.run("export_mentions.py --format jsonl")
    rows = (project.output / "export" / "mentions.jsonl").read_text()
    assert '"page": 1, "ocr": true' in rows and '"page": 2, "ocr": false' in rows


def test_changed_ocr_settings_read_only_papers_that_they_concern(project: Project, fake_ocr: Path) -> None:
    paper(project.input / "scan.pdf", scan)
    project.paper("text.pdf", "We use the Korvian Household Survey.")
    project.run(CHECK, expect=3)
    project.configure(OCR="missing")
    project.run(CHECK)
    assert entry_of(project, "scan").reader.endswith("OCR eng") and entry_of(project, "scan").ocr == 1
    assert "OCR" not in entry_of(project, "text").reader, "it was not read again"
    (fake_ocr / "deu.traineddata").touch()
    project.configure(OCR="missing", OCR_LANGUAGES="deu+eng")
    project.run(CHECK)
    assert load_text(Workspace(project.output), "scan").pages[0].text.startswith("deu+eng")
    project.configure(OCR="off")
    project.run(CHECK)
    assert entry_of(project, "scan").ocr == 1, "what was read is kept"


def test_ocr_without_its_language_files_says_what_to_install(project: Project, server: Server) -> None:
    project.configure(OCR="missing", OCR_LANGUAGES="qqq+eng")
    project.paper("text.pdf", "We use the Korvian Household Survey.")
    project.run(CHECK)
    paper(project.input / "scan.pdf", scan)
    paper(project.input / "two.pdf", scan)
    for command in (CHECK, CHECK, "run_batch.py --process extraction --wait"):
        printed = project.run(command, expect=3)
        assert printed.count("apt install tesseract-ocr-qqq tesseract-ocr-eng") == 1
    assert project.document("extraction", "text")["page_status"] == {"1": "answered"}


def test_page_on_which_ocr_fails_is_reported(project: Project, broken_ocr: Path) -> None:
    project.configure(OCR="missing")
    paper(project.input / "scan.pdf", scan, stamp("We use the Korvian Household Survey."))
    project.paper("text.pdf", "We use the Korvian Household Survey.")
    assert "page 1 cannot be read (" in project.run(CHECK, expect=3)
    assert entry_of(project, "scan").characters and entry_of(project, "text").characters


def test_real_ocr(project: Project) -> None:
    find_tessdata.cache_clear()
    if find_tessdata("eng") is None:
        pytest.skip("Tesseract's language files are not installed")
    project.configure(OCR="missing")
    paper(project.input / "scan.pdf", scan)
    project.run(CHECK)
    assert "Korvian Household Panel" in load_text(Workspace(project.output), "scan").pages[0].text


@pytest.mark.parametrize("languages", ["", "../eng", "eng,deu", "eng+"])
def test_ocr_languages_are_names(project: Project, languages: str) -> None:
    project.configure(OCR_LANGUAGES=languages or " ")
    project.paper("a.pdf", "Text.")
    assert "OCR_LANGUAGES" in project.run(CHECK, expect=1)


def test_hidden_text_of_a_damaged_table_of_files_is_no_error(tmp_path: Path) -> None:
    made = pdfs.write(tmp_path / "a.pdf", [pdfs.text("One.")])
    made.write_bytes(
        made.read_bytes().replace(b"/Catalog/Pages 2 0 R", b"/Catalog/Pages 2 0 R/Names<</EmbeddedFiles 1 0 R>>")
    )
    with OpenPaper(made) as opened:
        assert opened.remark is None and [page.text for page in opened.pages()] == ["One.\n"]


def test_real_texts_are_as_before(shared: Path, tmp_path: Path) -> None:
    """No page of the 20 papers has text that is drawn twice."""
    for one in sorted((shared / "pdfs").glob("*.pdf")):
        shutil.copy(one, tmp_path)
        with OpenPaper(one) as opened, pymupdf.open(one) as document:
            for page, plain in zip(opened.pages(), document, strict=True):
                assert len(page.text) >= 0.99 * len(plain.get_text())
