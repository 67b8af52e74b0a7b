"""The blocks that make up a user message: the page, and the numbered datasets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pipeline.text.chunks import Chunk

ABOUT_CONTEXT = (
    "The text in <before> and <after> surrounds this page. Use it only to complete a sentence or a name that is cut "
    "off. Do not report datasets that occur only there."
)


def page_block(chunk: Chunk) -> str:
    """The page, as every stage shows it. It comes last in the message."""
    block = f"<page>\n{chunk.text}\n</page>"
    if chunk.before:
        block = f"<before>\n{chunk.before}\n</before>\n{block}"
    if chunk.after:
        block = f"{block}\n<after>\n{chunk.after}\n</after>"
    return f"{ABOUT_CONTEXT}\n{block}" if chunk.before or chunk.after else block


def datasets_block(shown: Iterable[dict[str, Any]]) -> str:
    """The datasets of a page, one per line, numbered from 1."""
    lines = [
        json.dumps({"number": number, **values}, ensure_ascii=False, separators=(",", ":"))
        for number, values in enumerate(shown, start=1)
    ]
    # A name can contain anything, and must not be able to close the block.
    return "<datasets>\n" + "\n".join(line.replace("<", "\\u003c") for line in lines) + "\n</datasets>"
