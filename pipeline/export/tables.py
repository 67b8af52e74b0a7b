"""Writing tables as CSV, JSONL, Parquet or Excel, row by row. A file replaces an older one only when it is complete."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, InputError
from pipeline.export.columns import Column, Row, Value
from pipeline.files import ReplacedFile, replacing, unwritable

FORMATS = ("csv", "jsonl", "parquet", "xlsx")
PACKAGES = {"parquet": "pyarrow", "xlsx": "xlsxwriter"}
ROWS_PER_GROUP = 10_000  # rows that a Parquet writer holds in memory
EXCEL_ROWS = 1_048_576  # Excel's limits, see support.microsoft.com, "Excel specifications and limits"
EXCEL_CHARACTERS = 32_767
# Spreadsheets take a cell that begins like this for a formula (OWASP, "CSV Injection").
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


class Table(ABC):
    """A table that is being written to `file`."""

    def __init__(self, file: ReplacedFile, columns: Sequence[Column]) -> None:
        self._file, self._columns = file, columns

    @abstractmethod
    def write(self, row: Row) -> None:
        """Add a row. Columns that it lacks are empty."""

    def close(self) -> None:  # noqa: B027 - most formats have nothing left to write
        """Write what is left."""


@contextmanager
def table(path: Path, columns: Sequence[Column]) -> Iterator[Table]:
    """A table in the format that the suffix of `path` names. Raises ConfigError if a package is missing."""
    form = path.suffix.removeprefix(".")
    package = PACKAGES.get(form)
    if package and find_spec(package) is None:
        raise ConfigError(
            f"--format {form} needs the package {package}: run `pip install -r requirements-export.txt` first."
        )
    with replacing(path) as file:
        made = _TABLES[form](file, columns)
        yield made
        made.close()


class CsvTable(Table):
    """CSV in UTF-8, with a byte order mark, without which Excel takes it for another encoding.

    A text that a spreadsheet would take for a formula gets an apostrophe in front; `unprotected` removes it.
    """

    def __init__(self, file: ReplacedFile, columns: Sequence[Column]) -> None:
        super().__init__(file, columns)
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text)
        self._file.write(b"\xef\xbb\xbf")
        self._flush([one.name for one in columns])

    def write(self, row: Row) -> None:
        self._flush([_csv_cell(row.get(one.name)) for one in self._columns])

    def _flush(self, cells: Sequence[Any]) -> None:
        self._writer.writerow(cells)
        self._file.write(self._text.getvalue().encode("utf-8", "replace"))
        self._text.seek(0)
        self._text.truncate()


def _csv_cell(value: Value) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return protected(value) if isinstance(value, str) else value


def protected(text: str) -> str:
    """A text that no spreadsheet takes for a formula. `unprotected` reverses it."""
    return "'" + text if _FORMULA.match(text) else text


def unprotected(text: str) -> str:
    """The text that `protected` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


class JsonlTable(Table):
    """One JSON object per row."""

    def write(self, row: Row) -> None:
        values = {one.name: row.get(one.name) for one in self._columns}
        self._file.write(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


class ParquetTable(Table):
    """Parquet. The meaning of a column is in its field's metadata, under `description`."""

    def __init__(self, file: ReplacedFile, columns: Sequence[Column]) -> None:
        super().__init__(file, columns)
        import pyarrow
        import pyarrow.parquet

        types = {
            "text": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "boolean": pyarrow.bool_(),
        }
        self._arrow = pyarrow
        self._schema = pyarrow.schema([
            pyarrow.field(one.name, types[one.type], metadata={"description": one.meaning}) for one in columns
        ])  # fmt: skip
        self._sink = pyarrow.PythonFile(_Sink(file), mode="w")
        self._writer = pyarrow.parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._rows: list[dict[str, Value]] = []

    def write(self, row: Row) -> None:
        self._rows.append({one.name: _clean(row.get(one.name)) for one in self._columns})
        if len(self._rows) >= ROWS_PER_GROUP:
            self._write_rows()

    def close(self) -> None:
        self._write_rows()
        self._writer.close()
        self._sink.close()

    def _write_rows(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()


def _clean(value: Value) -> Value:
    """Text that UTF-8 can hold: JSON of a model can contain lone surrogates."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class _Sink(io.RawIOBase):
    """A file object for writers that want one. After an error they still write when they are deleted: in vain."""

    def __init__(self, file: ReplacedFile) -> None:
        self._file, self._position = file, 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        data = bytes(content)
        if not self._file.closed:
            self._file.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position


class ExcelTable(Table):
    """An Excel workbook with one sheet. Every text is stored as text, so none can act as a formula."""

    def __init__(self, file: ReplacedFile, columns: Sequence[Column]) -> None:
        super().__init__(file, columns)
        import xlsxwriter

        self._book = xlsxwriter.Workbook(_Sink(file), {"constant_memory": True})
        self._sheet = self._book.add_worksheet("mentions")
        bold = self._book.add_format({"bold": True})
        self._sheet.freeze_panes(1, 0)
        for place, one in enumerate(columns):
            self._sheet.write_string(0, place, one.name, bold)
        self._rows = 1

    def write(self, row: Row) -> None:
        if self._rows == EXCEL_ROWS:
            raise InputError(
                f"An Excel sheet cannot have more than {EXCEL_ROWS - 1:,} rows: use --format csv or parquet, or select "
                "papers with --documents."
            )
        for place, one in enumerate(self._columns):
            value = row.get(one.name)
            if isinstance(value, bool):
                self._sheet.write_boolean(self._rows, place, value)
            elif isinstance(value, str):
                self._sheet.write_string(self._rows, place, _clean_excel(value))
            elif value is not None:
                self._sheet.write_number(self._rows, place, value)
        self._rows += 1

    def close(self) -> None:
        from xlsxwriter.exceptions import FileCreateError

        self._sheet.autofilter(0, 0, self._rows - 1, len(self._columns) - 1)
        try:
            self._book.close()
        except FileCreateError as error:  # it collects the rows in temporary files first
            raise unwritable(Path(tempfile.gettempdir()), error.args[0]) from None


def _clean_excel(text: str) -> str:
    """What a cell can hold. Excel refuses control characters and longer texts."""
    allowed = "".join(char for char in text if char in "\t\n\r" or ord(char) >= 0x20)
    return str(_clean(allowed))[:EXCEL_CHARACTERS]


_TABLES: dict[str, type[Table]] = {"csv": CsvTable, "jsonl": JsonlTable, "parquet": ParquetTable, "xlsx": ExcelTable}
