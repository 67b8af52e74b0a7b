"""Make the PDFs of the sample papers: `<name>.html` becomes `<name>.pdf` in the same folder.

    python examples/papers/make_paper.py

The same source gives the same bytes with the same release of PyMuPDF: the PDF has no dates and no random ids.
"""

# PyMuPDF has no types:
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import argparse
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pymupdf

FOLDER = Path(__file__).resolve().parent
STYLE_LINK = '<link rel="stylesheet" href="style.css">'
PAGE = pymupdf.paper_rect("a5")  # short papers fill small pages
TEXT = pymupdf.Rect(46, 44, PAGE.x1 - 46, PAGE.y1 - 50)
FOOT = pymupdf.Rect(46, PAGE.y1 - 40, PAGE.x1 - 46, PAGE.y1 - 16)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert the given HTML files, or all in this folder."""
    parser = argparse.ArgumentParser(description="Turn the HTML sources of the sample papers into PDFs.")
    parser.add_argument("sources", nargs="*", type=Path, help="HTML files (default: all in the folder of this script)")
    sources: list[Path] = parser.parse_args(argv).sources or sorted(FOLDER.glob("*.html"))
    for source in sources:
        if not source.is_file():
            parser.error(f"{source}: no such file")
    for source in sources:
        target = source.with_suffix(".pdf")
        target.write_bytes(paper(source.read_text(encoding="utf-8")))
        print(target)
    return 0


def paper(source: str) -> bytes:
    """The PDF of one HTML source, with fonts reduced to the characters that it uses."""
    with pymupdf.open(stream=_layout(source), filetype="pdf") as document:
        document.subset_fonts()
        author = _first(r'<meta name="author" content="(.*?)">', source)
        document.set_metadata({"title": _first(r"<title>(.*?)</title>", source), "author": author})
        data: bytes = document.tobytes(garbage=4, deflate=True, deflate_fonts=True, no_new_id=True)
    return data


def _layout(source: str) -> bytes:
    buffer = io.BytesIO()
    writer = pymupdf.DocumentWriter(buffer)
    shared = (FOLDER / "style.css").read_text(encoding="utf-8")
    story = pymupdf.Story(source.replace(STYLE_LINK, f"<style>{shared}</style>"))
    number, more = 0, True
    while more:
        number += 1
        device = writer.begin_page(PAGE)
        more = bool(story.place(TEXT)[0])
        story.draw(device)
        foot = pymupdf.Story(f'<p style="font-family: serif; font-size: 8.5pt; text-align: center">{number}</p>')
        foot.place(FOOT)
        foot.draw(device)
        writer.end_page()
    writer.close()
    return buffer.getvalue()


def _first(pattern: str, source: str) -> str:
    found = re.search(pattern, source, re.DOTALL)
    return html.unescape(found[1]).strip() if found else ""


if __name__ == "__main__":
    raise SystemExit(main())
