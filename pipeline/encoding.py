"""Text files as editors and shells write them."""

from __future__ import annotations

import codecs

BYTE_ORDER_MARK = "\ufeff"


def decoded(content: bytes) -> str:
    """The text of a file in UTF-8 or, if it starts with a byte order mark, in UTF-16, as Windows PowerShell writes it.

    Raises UnicodeDecodeError, also if the text has a null character: then it is UTF-16 without that mark, or no text.
    """
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if is_utf16 else "utf-8").removeprefix(BYTE_ORDER_MARK)
    if "\0" in text:
        null = content.index(b"\0")
        raise UnicodeDecodeError("utf-8", content, null, null + 1, "null character")
    return text


def undecodable(error: UnicodeDecodeError) -> str:
    """What is wrong with a file, without its content, which may be secret."""
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"it is not in UTF-8: byte 0x{error.object[error.start]:02x} in line {line}"
