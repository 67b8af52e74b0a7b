"""Reading label files of any supported format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import LabelError
from pipeline.review.label_studio import read_export
from pipeline.review.labels import PageLabel, parse_labels


def read_labels(path: Path) -> Iterator[PageLabel]:
    """The labels in a labels.jsonl or in a JSON export of Label Studio. Raises LabelError."""
    try:
        with path.open("rb") as file:
            is_array = file.read(64).lstrip()[:1] == b"["
    except OSError as error:
        raise LabelError(f"Cannot read {path} ({error.strerror}): give the path of a label file.") from None
    return read_export(path) if is_array else parse_labels(path)
