"""What the text of a page depends on, besides the PDF: our own version, and those of the libraries."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

# Raise it when the content of text/ changes: all papers are then read again, once.
# 5: other pages are skipped, text that is drawn twice is kept once, the language is that of the document unless a page
# is clearly in another one, and what can be seen on a page is never blank.
EXTRACTION_VERSION = "5"


def extraction_environment(input_dir: str) -> dict[str, str]:
    """What must be the same on all machines, so that all of them extract the same text from the same papers."""
    import pymupdf  # slow to import, and the main process needs it only here

    return {
        "the folder of papers": input_dir if Path(input_dir).is_dir() else "missing",
        "the version of the extraction": EXTRACTION_VERSION,
        "the version of PyMuPDF": pymupdf.__version__,
        "the version of py3langid": version("py3langid"),
    }
