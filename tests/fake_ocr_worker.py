"""A worker process in which OCR returns a fixed text, because Tesseract's language files are rarely installed.

Run by the pool as `-m tests.fake_ocr_worker`. Everything but the call of Tesseract is the real code.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pymupdf

from pipeline.pdf import extract, worker

TEXT = "We use the Korvian Household Survey of 2014, which was collected in all provinces. " * 4


def recognised(page: pymupdf.Page, languages: str, tessdata: Path) -> str:
    return f"{languages} page {page.number + 1}: {TEXT}"


if __name__ == "__main__":
    extract.recognised = recognised
    sys.exit(worker.main())
