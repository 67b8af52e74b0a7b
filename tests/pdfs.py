"""PDFs, written object by object, that do to a reader what strangers' files do."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def stream(content: bytes, entries: bytes = b"") -> bytes:
    """A compressed stream object."""
    packed = zlib.compress(content, 1)
    return b"<</Filter/FlateDecode/Length %d%s>>\nstream\n%s\nendstream" % (len(packed), entries, packed)


def bomb(pattern: bytes, megabytes: int, entries: bytes = b"") -> bytes:
    """A stream that unpacks to many megabytes."""
    packer, block = zlib.compressobj(9), pattern * ((1 << 20) // len(pattern))
    packed = b"".join([*(packer.compress(block) for _ in range(megabytes)), packer.flush()])
    return b"<</Filter/FlateDecode/Length %d%s>>\nstream\n%s\nendstream" % (len(packed), entries, packed)


def text(line: str) -> bytes:
    """The content of a page with one line."""
    return stream(b"BT /F1 10 Tf 50 700 Td (%s) Tj ET" % line.encode("latin-1"))


def slow() -> bytes:
    """The content of a page that takes many seconds to go through."""
    return bomb(b"q Q 0 0 m 1 1 l n\n", 400)


def huge_font() -> bytes:
    """A font that needs more memory than READ_MEMORY_MB can be set to at least."""
    return bomb(b"\0", 700, b"/Length1 %d" % (700 << 20))


def write(path: Path, pages: Sequence[bytes], font_file: bytes | None = None) -> Path:
    """A PDF with these page contents; `font_file` is embedded in the font of all of them."""
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
    made, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    xref = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R>>\n" % (size, table, size)
    return made + xref + b"startxref\n%d\n%%%%EOF\n" % len(made)
