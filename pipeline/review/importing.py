"""Reading label files of any supported format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import LabelError
from pipeline.review.label_studio import is_label_studio, read_export
from pipeline.review.labels import LABEL_FILE, PageLabel, labels_from
from pipeline.user_files import json_rows, read_text


@dataclass(frozen=True)
class LabelFile:
    """The labels of a file. `notes`: sentences about what was left out while reading."""

    labels: list[PageLabel]
    notes: list[str]


def read_labels(path: Path, own_tasks: Path | None = None) -> LabelFile:
    """The labels in a labels.jsonl or in a JSON export of Label Studio. Raises LabelError, also if there are none.

    `own_tasks`: the tasks that the Label Studio project was made from (see `read_export`).
    """
    rows = json_rows(read_text(path, LABEL_FILE, LabelError), path, LABEL_FILE, LabelError)
    if not rows:
        raise LabelError(f"{path} is empty: give {LABEL_FILE}.")
    if not is_label_studio(rows):
        return LabelFile(labels_from(rows, path), [])
    labels, notes = read_export(rows, path, own_tasks)
    if not labels:
        raise LabelError(
            f"{path} has no labels ({'; '.join(notes)}): label the tasks in Label Studio, submit them, and export the "
            "project again."
        )
    return LabelFile(labels, notes)
