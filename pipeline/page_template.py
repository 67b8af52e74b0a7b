"""Filling in the templates of self-contained HTML pages."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


def page_template(path: Path) -> str:
    """The HTML file `path`, with the style sheet and the script of the same name in it, if there are any.

    The page's content security policy gets their hashes. The browser applies and runs nothing else, even if text from a
    paper were taken for markup.
    """
    template = path.read_text(encoding="utf-8")
    for name, suffix in (("STYLE", ".css"), ("SCRIPT", ".js")):
        file = path.with_suffix(suffix)
        if file.exists():
            content = file.read_text(encoding="utf-8")
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            template = template.replace("{{" + name + "_HASH}}", digest).replace("{{" + name + "}}", content)
    return template
