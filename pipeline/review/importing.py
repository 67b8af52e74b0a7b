"""A file of labels, whoever made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import LabelError
from pipeline.labels import PageLabel, parse_labels
from pipeline.review.label_studio import labels_of


def read_any(path: Path) -> Iterator[PageLabel]:
    """The labels of a labels.jsonl or of Label Studio's JSON export. Raises LabelError."""
    try:
        with path.open("rb") as file:
            is_array = file.read(64).lstrip()[:1] == b"["
        if is_array:
            return labels_of(json.loads(path.read_bytes()))
    except OSError as error:
        raise LabelError(f"{path} cannot be read ({error.strerror}): name a file of labels.") from None
    except (ValueError, RecursionError):
        raise LabelError(f"{path} is no valid JSON: export it again.") from None
    return parse_labels(path)
