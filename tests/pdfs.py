"""PDFs, written object by object, that are hard to read: slow pages, huge fonts, damaged files."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def stream(content: bytes, entries: bytes = b"") -> bytes:
    """A compressed stream object. `entries`: more entries of its dictionary."""
    return _stream(zlib.compress(content, 1), entries)


def bomb(pattern: bytes, megabytes: int, entries: bytes = b"") -> bytes:
    """A small stream object that unpacks to so many megabytes of a pattern."""
    block = pattern * ((1 << 20) // len(pattern))
    packer = zlib.compressobj(9)
    start = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block does not depend on what was before it, so it is compressed once and repeated.
    repeated = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(megabytes):
        checksum = zlib.adler32(block, checksum)
    end = b"\x03\x00" + checksum.to_bytes(4, "big")  # an empty last block
    return _stream(start + repeated * (megabytes - 1) + end, entries)


def _stream(packed: bytes, entries: bytes) -> bytes:
    return b"<</Filter/FlateDecode/Length %d%s>>\nstream\n%s\nendstream" % (len(packed), entries, packed)


def text(line: str) -> bytes:
    """The content of a page with one line."""
    return stream(b"BT /F1 10 Tf 50 700 Td (%s) Tj ET" % line.encode("latin-1"))


def slow() -> bytes:
    """The content of a page that takes many seconds to read."""
    return bomb(b"q Q 0 0 m 1 1 l n\n", 400)


def huge_font() -> bytes:
    """A font that needs more memory than the lowest value of READ_MEMORY_MB."""
    return bomb(b"\0", 700, b"/Length1 %d" % (700 << 20))


def write(path: Path, pages: Sequence[bytes], font_file: bytes | None = None) -> Path:
    """Write a PDF with these page contents. `font_file` is embedded in the font of all of them."""
    objects: list[bytes] = [b"", b"", FONT]
    if font_file:
        objects[2] = b"<</Type/Font/Subtype/TrueType/BaseFont/Odd/FontDescriptor 4 0 R>>"
        objects += [b"<</Type/FontDescriptor/FontName/Odd/Flags 32/FontFile2 5 0 R>>", font_file]
    kids = []
    for content in pages:
        number = len(objects) + 1
        resources = b"/Resources<</Font<</F1 3 0 R>>>>"
        objects += [
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]%s/Contents %d 0 R>>" % (resources, number + 1),
            content,
        ]
        kids.append(b"%d 0 R" % number)
    objects[0] = b"<</Type/Catalog/Pages 2 0 R>>"
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_file(objects))
    return path


def _file(objects: Sequence[bytes]) -> bytes:
    body, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    xref = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R>>\n" % (size, table, size)
    return body + xref + b"startxref\n%d\n%%%%EOF\n" % len(body)
