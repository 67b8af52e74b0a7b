"""Write PDFs of the gold pages, so that the whole program can be measured on them.

    python training/gold_papers.py build/papers --folds 3

Each document becomes `fold-<number>/<doc_id>.pdf`, a page of text for each gold page. Folds are those of corpus.py.
"""

# PyMuPDF has no types:
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pymupdf
from corpus import fold_documents, read_pages, read_rows

LINE, SIZE, MARGIN = 12, 9, 40  # points


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write PDFs of the gold pages.")
    parser.add_argument("output", type=Path, help="folder for the PDFs")
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args(argv)
    pages: dict[str, dict[int, str]] = defaultdict(dict)
    for row in read_rows("rcc_pages.jsonl"):
        pages[row["doc_id"]][row["page"]] = row["text"]
    for number, documents in enumerate(fold_documents(read_pages("rcc_pages.jsonl", "rcc"), options.folds)):
        folder = options.output / f"fold-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        for document in documents:
            write_paper(pages[document], folder / f"{document}.pdf")
        print(f"{folder}: {', '.join(documents)}")
    return 0


def write_paper(pages: dict[int, str], path: Path) -> None:
    """Write a PDF whose page N has the text of page N; pages that are missing are empty."""
    with pymupdf.open() as paper:
        for number in range(1, max(pages) + 1):
            lines = pages.get(number, "").splitlines()
            width = 2 * MARGIN + max([300.0, *(pymupdf.get_text_length(line, fontsize=SIZE) for line in lines)])
            page: Any = paper.new_page(width=width, height=2 * MARGIN + LINE * (len(lines) + 1))
            for place, line in enumerate(lines):
                page.insert_text((MARGIN, MARGIN + LINE * (place + 1)), line, fontsize=SIZE)
        path.write_bytes(paper.tobytes(garbage=4, deflate=True, no_new_id=True))


if __name__ == "__main__":
    raise SystemExit(main())
