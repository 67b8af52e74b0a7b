"""Reading tables that users have written: CSV or JSONL."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import InputError
from pipeline.records import invalid_because
from pipeline.user_files import csv_rows, json_rows, read_text

_Record = TypeVar("_Record", bound=BaseModel)


def read_records(path: Path, origin: str, kind: type[_Record]) -> Iterator[_Record]:
    """The rows as records. `origin`: the option or setting that names the file. Raises InputError, with the place."""
    columns = ", ".join(field.alias or name for name, field in kind.model_fields.items())
    for place, row in read_rows(path, origin):
        try:
            yield kind.model_validate(row)
        except ValidationError as error:
            raise InputError(
                f"{origin} {path}, {place}, is invalid ({invalid_because(error)}): fix that line. The columns "
                f"are {columns}."
            ) from None


def read_rows(path: Path, origin: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of a CSV with a header line, or of a JSONL or JSON file. Raises InputError."""
    wanted = f"a CSV or JSONL file for {origin}"
    text = read_text(path, wanted, InputError)
    if path.suffix.lower() in (".jsonl", ".json"):
        yield from json_rows(text, path, wanted, InputError)
        return
    header: list[str] | None = None
    number = 0
    try:
        for number, cells in csv_rows(text):
            if header is None:
                header = cells
            else:
                yield f"line {number}", {name: cell for name, cell in zip(header, cells, strict=False) if name}
    except csv.Error as error:
        raise InputError(
            f"{origin} {path} is not valid CSV near line {number + 1} ({error}): check the quotation marks there."
        ) from None
