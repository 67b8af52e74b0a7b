"""Text files as editors and shells write them."""

from __future__ import annotations

import codecs
import json

BYTE_ORDER_MARK = "\ufeff"
NULL = "null character"


def decoded(content: bytes, guess: bool = False) -> str:
    """The text of a file in UTF-8 or, if it starts with a byte order mark, in UTF-16, as Windows PowerShell writes it.

    `guess`: recognize UTF-16 without that mark, and UTF-32, by where the null bytes are. Not used for secrets and
    settings. Raises UnicodeDecodeError, with the reason `NULL` if the text has a null character.
    """
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = json.detect_encoding(content) if guess else "utf-16" if is_utf16 else "utf-8"
    text = content.decode(encoding).lstrip(BYTE_ORDER_MARK)
    if "\0" in text:
        null = content.index(b"\0")
        raise UnicodeDecodeError("utf-8", content, null, null + 1, NULL)
    return text


def undecodable(error: UnicodeDecodeError) -> str:
    """What is wrong with a file, without its content, which may be secret."""
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"it is not in UTF-8: byte 0x{error.object[error.start]:02x} in line {line}"
