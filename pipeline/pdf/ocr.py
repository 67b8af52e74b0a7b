"""OCR of pages without text, by the Tesseract engine inside PyMuPDF. Only its language files must be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pymupdf

DPI = 300  # what Tesseract's documentation recommends
_FOLDERS = (
    "/usr/share/tesseract-ocr", "/usr/share/tessdata", "/usr/share/tesseract", "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata", "/opt/local/share/tessdata", "C:/Program Files/Tesseract-OCR/tessdata",
)  # fmt: skip


@cache
def find_tessdata(languages: str) -> Path | None:
    """The folder with Tesseract's files for all `languages`, such as "eng+deu". TESSDATA_PREFIX is looked at first."""
    needed = [f"{language}.traineddata" for language in languages.split("+")]
    for folder in _candidates():
        with suppress(OSError):
            if all((folder / name).is_file() for name in needed):
                return folder
    return None


def _candidates() -> Iterator[Path]:
    if prefix := os.environ.get("TESSDATA_PREFIX"):
        yield from (Path(prefix), Path(prefix) / "tessdata")
    for name in _FOLDERS:
        yield Path(name)
        yield from sorted(Path(name).glob("*/tessdata"), reverse=True)  # Debian has a folder for each version
    if program := shutil.which("tesseract"):
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run([program, "--list-langs"], capture_output=True, text=True, timeout=10)
            _, _, rest = (done.stdout or done.stderr).partition('"')
            yield Path(rest.partition('"')[0])


def how_to_install(languages: str) -> str:
    """A sentence for the user: what is missing, and how to get it."""
    packages = " ".join(f"tesseract-ocr-{language.replace('_', '-').lower()}" for language in languages.split("+"))
    return (
        f"OCR needs the language files of Tesseract for {languages}, which were not found: install them (Debian, "
        f"Ubuntu: `apt install {packages}`, macOS: `brew install tesseract tesseract-lang`), or set TESSDATA_PREFIX to "
        "their folder, then run this again."
    )


def recognised(page: pymupdf.Page, languages: str, tessdata: Path) -> str:
    """The text that Tesseract sees on the page. Raises what PyMuPDF raises."""
    import pymupdf

    read = page.get_textpage_ocr(
        flags=pymupdf.TEXTFLAGS_TEXT, language=languages, dpi=DPI, full=True, tessdata=str(tessdata)
    )
    return str(page.get_text("text", textpage=read))
