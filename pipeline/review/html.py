"""One self-contained page for reviewing: no server, no network, nothing that a paper says is ever markup."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.review.label_studio import CHOICES, TEXTS
from pipeline.review.pages import ReviewPage
from pipeline.workspace import replacing

_HERE = Path(__file__).parent
_CHOICES = {name: values for name, values in CHOICES.items() if name != "verdict"}


def write_html(pages: Iterable[ReviewPage], path: Path) -> int:
    """The page with all its data. Returns the number of pages in it. Written page by page."""
    style, script = (_read(name) for name in ("review.css", "review.js"))
    count = 0
    template = _read("review.html").replace("{{STYLE}}", style).replace("{{SCRIPT}}", script)
    template = template.replace("{{STYLE_HASH}}", _hash(style)).replace("{{SCRIPT_HASH}}", _hash(script))
    # What the browser keeps belongs to this file; labels of a text that has changed are not taken over.
    template = template.replace("{{KEY}}", hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16])
    before, after = template.split("{{DATA}}")
    with replacing(path) as file:
        file.write(before.encode())
        file.write(_data({"choices": _CHOICES, "texts": TEXTS})[:-1] + b', "pages": [')
        for page in pages:
            file.write((b",\n" if count else b"\n") + _data(page.model_dump()))
            count += 1
        file.write(b"\n]}" + after.encode())
    return count


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """As a content security policy names what may run."""
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _data(value: object) -> bytes:
    """JSON that cannot close the script element it stands in."""
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c").encode("ascii")
