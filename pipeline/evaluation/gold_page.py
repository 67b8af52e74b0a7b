"""A gold page before it is placed in the texts of the pipeline, and reading a gold file's bytes."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import LabelError
from pipeline.evaluation.pages import MarkedName

# How files begin that are not UTF-8 text, and what they are.
_SIGNATURES = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"\x1f\x8b": "a gzip file",
    codecs.BOM_UTF8: "UTF-8 text with a byte order mark",
    codecs.BOM_UTF16_LE: "UTF-16 text",
    codecs.BOM_UTF16_BE: "UTF-16 text",
}


@dataclass(frozen=True)
class GoldPage:
    """A page as the gold file has it. `document`: its id there. Offsets of the mentions refer to the gold's own text.

    `page`: None if the gold does not say it; then the page is found by its text. `text` is None for labels, which have
    only the hash of the text (`text_sha256`).
    """

    document: str
    page: int | None
    mentions: tuple[MarkedName, ...]
    text: str | None = None
    text_sha256: str | None = None


def read_gold_bytes(path: Path) -> bytes:
    """The content of a UTF-8 text file that is not empty. Raises LabelError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"Cannot read {path} ({error.strerror}): give the path of a file with gold labels.") from None
    if not content.strip():
        raise LabelError(f"{path} is empty: give a file with gold labels.")
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature):
            advice = "save it as UTF-8 without a byte order mark" if "text" in what else "give a file with gold labels"
            raise LabelError(f"{path} is {what}: {advice}.")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from None
    return content
