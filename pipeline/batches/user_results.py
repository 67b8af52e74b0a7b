"""Reads result files that a user gives. Editors, shells and other programs save them in many ways."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, TextIO, cast

from pipeline.errors import WorkspaceError

GZIP = b"\x1f\x8b"
SEPARATORS = " \t\r\n,[]"  # between the objects of a file: white space, and the signs of an array

Row = dict[str, Any]


def user_rows(file: Path) -> Iterator[Row | None]:
    """The JSON objects in a file, and None for each line that is not part of one.

    They may be one per line, in an array, or printed over several lines, in UTF-8, UTF-16 or UTF-32 with or without a
    byte order mark, and compressed with gzip. Raises WorkspaceError if the file cannot be read.
    """
    try:
        with _text(file) as text:
            first = next((line for line in text if line.strip()), "")
            if isinstance(_parsed(first), dict):
                yield from map(_row, filter(str.strip, chain([first], text)))  # line by line: files can be large
            else:
                yield from _objects(first + text.read())
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise WorkspaceError(f"Cannot read {file} ({reason}): check the path and the file, then run again.") from None


def _text(file: Path) -> TextIO:
    """The decoded text. Lines end with \\n only. A byte that cannot be decoded becomes an escape that no JSON has."""
    with file.open("rb") as raw:
        compressed = raw.read(len(GZIP)) == GZIP
    with _bytes(file, compressed) as content:
        encoding = json.detect_encoding(content.read(4))
    opened = gzip.open if compressed else open
    return cast(TextIO, opened(file, "rt", encoding=encoding, errors="backslashreplace", newline="\n"))


def _bytes(file: Path, compressed: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file) if compressed else file.open("rb"))


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _row(line: str) -> Row | None:
    row = _parsed(line)
    return row if isinstance(row, dict) else None


def _objects(text: str) -> Iterator[Row | None]:
    """The objects in a text, wherever their lines end. After something else, it goes on with the next line."""
    decoder, place = json.JSONDecoder(), 0
    while True:
        while place < len(text) and text[place] in SEPARATORS:
            place += 1
        if place == len(text):
            return
        row = None
        if text[place] == "{":
            try:
                row, place = decoder.raw_decode(text, place)
            except (ValueError, RecursionError):
                row = None
        if row is None:
            place = text.find("\n", place) + 1 or len(text)
        yield row
