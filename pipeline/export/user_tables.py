"""Reading tables that users have written: CSV or JSONL."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import InputError
from pipeline.records import invalid_because

_Record = TypeVar("_Record", bound=BaseModel)


def read_records(path: Path, origin: str, kind: type[_Record]) -> Iterator[_Record]:
    """The rows as records. `origin`: the option or setting that names the file. Raises InputError, with the line."""
    columns = ", ".join(field.alias or name for name, field in kind.model_fields.items())
    for number, row in read_rows(path, origin):
        try:
            yield kind.model_validate(row)
        except ValidationError as error:
            raise InputError(
                f"{origin} {path}, line {number}, is invalid ({invalid_because(error)}): fix that line. The columns "
                f"are {columns}."
            ) from None


def read_rows(path: Path, origin: str) -> Iterator[tuple[int, Any]]:
    """(line number, row) of a CSV with a header line, or of a JSONL. Raises InputError."""
    try:
        # Excel writes a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{origin} {path} is not a text file in UTF-8: save it again as CSV UTF-8.") from None
    except OSError as error:
        raise InputError(f"{origin} {path} cannot be read ({error.strerror}): check the path.") from None
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError:
                    raise InputError(f"{origin} {path}, line {number}, is not valid JSON: fix that line.") from None
        return
    blank = len(text) - len(text.lstrip("\r\n"))
    header = text[blank:].partition("\n")[0]
    # Excel separates columns by semicolons where commas are decimal points.
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text[blank:], newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = {key: value for key, value in row.items() if key}
            if any(cells.values()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(
            f"{origin} {path} is not valid CSV near line {reader.line_num} ({error}): check the quotation marks there."
        ) from None
