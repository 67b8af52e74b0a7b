"""Reading files that users give: label files, gold labels, tables. Editors and Excel may have saved them again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.encoding import NULL, decoded
from pipeline.errors import PipelineError
from pipeline.records import invalid_because
from pipeline.words import counted

# A row of a file: where it is, for messages ("line 3" or "row 3"), and its JSON value.
JsonRow = tuple[str, Any]
_Record = TypeVar("_Record", bound=BaseModel)
# How files begin that are no text, and what they are.
_SIGNATURES = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"\x1f\x8b": "a gzip file",
    b"SQLite format 3": "an SQLite database",
}
_MARKUP = re.compile(r"\s*<(?:!doctype|html|\?xml|head|body)\b", re.IGNORECASE)
_SPACE = re.compile(r"\s*")


def read_text(path: Path, wanted: str, error: type[PipelineError]) -> str:
    """The text of a file in UTF-8 or UTF-16, without byte order mark. Windows programs write all of these.

    `wanted`: what the user should give, with its article. Raises `error` if the file is missing or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise error(f"Cannot read {path} ({problem.strerror}): give the path of {wanted}.") from None
    for signature, what in _SIGNATURES.items():
        if content.startswith(signature):
            raise error(f"{path} is {what}: give {wanted}.")
    try:
        text = decoded(content, guess=True)
    except UnicodeDecodeError as problem:
        if problem.reason == NULL:
            raise error(f"{path} is not a text file: give {wanted}.") from None
        raise error(f"{path} is not a text file in UTF-8 (byte {problem.start}): save it again as UTF-8.") from None
    if _MARKUP.match(text):
        raise error(f"{path} is an HTML or XML file: give {wanted}.")
    return text


def json_rows(text: str, path: Path, wanted: str, error: type[PipelineError]) -> list[JsonRow]:
    """The objects in JSONL, in a JSON array, or in JSON that was formatted over several lines.

    Raises `error` if any of it cannot be read: a line that is left out would be missing in every result.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    rows: list[JsonRow] = []
    unreadable: list[tuple[int, str]] = []
    for number, line in lines:
        try:
            rows.append((f"line {number}", json.loads(_without_cell_quotes(line))))
        except (ValueError, RecursionError) as problem:
            unreadable.append((number, getattr(problem, "msg", "it is nested too deeply")))
    if unreadable:
        try:
            rows = [(f"row {number}", value) for number, value in enumerate(_values(text), start=1)]
        except (ValueError, RecursionError):
            number, reason = unreadable[0]
            raise error(
                f"{path}, line {number}, is not valid JSON ({reason}; {len(unreadable):,} of "
                f"{counted(len(lines), 'line')} cannot be read): fix or delete them, or give {wanted}."
            ) from None
    if any(isinstance(value, list) for _, value in rows):
        items = (item for _, value in rows for item in (value if isinstance(value, list) else [value]))
        rows = [(f"row {number}", item) for number, item in enumerate(items, start=1)]
    wrong = [place for place, value in rows if not isinstance(value, dict)]
    if wrong:
        raise error(
            f"{path}, {wrong[0]}, is not a JSON object ({len(wrong):,} of {counted(len(rows), 'row')}): fix or delete "
            f"them, or give {wanted}."
        )
    return rows


def _without_cell_quotes(line: str) -> str:
    """A line that Excel has saved as a cell has quotation marks around it, and doubled ones inside."""
    cell = line.strip()
    return cell[1:-1].replace('""', '"') if cell.startswith('"{""') and cell.endswith('}"') else line


def _values(text: str) -> Iterator[Any]:
    """JSON objects and arrays one after the other. Raises ValueError."""
    decoder, position = json.JSONDecoder(), _SPACE.match(text).end()  # type: ignore[union-attr]
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        if not isinstance(value, dict | list):
            raise ValueError("neither an object nor an array")
        yield value
        position = _SPACE.match(text, position).end()  # type: ignore[union-attr]


def records(
    rows: Sequence[JsonRow], kind: type[_Record], path: Path, what: str, advice: str, error: type[PipelineError]
) -> list[_Record]:
    """The rows as records. `what`: a row, with its article. Raises `error` with the number of invalid rows."""
    made: list[_Record] = []
    invalid: list[tuple[str, str]] = []
    for place, value in rows:
        try:
            made.append(kind.model_validate(value))
        except ValidationError as problem:
            invalid.append((place, invalid_because(problem)))
    if invalid:
        place, reason = invalid[0]
        number = f"{len(invalid):,} of {counted(len(rows), 'row')}"
        raise error(f"{path}, {place}, is not {what} ({reason}; {number}): {advice}.")
    return made


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the last line, cells) of each row that is not empty. Raises csv.Error.

    The delimiter is found in the first line: Excel separates columns by semicolons where commas are decimal points, and
    by tabs in "Unicode Text".
    """
    blank = len(text) - len(text.lstrip("\r\n"))
    first = re.split(r"[\r\n]", text[blank:], maxsplit=1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text[blank:], newline=""), delimiter=delimiter, strict=True)
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row
