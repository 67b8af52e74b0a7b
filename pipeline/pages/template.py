"""Self-contained HTML pages: one frame, one look, and a content security policy that lets nothing else act."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

HERE = Path(__file__).parent
DATA = "{{DATA}}"  # where the data of a page with a script go


def page_template(path: Path, title: str, attributes: str = "") -> str:
    """The page whose body is the HTML file `path`, with the style sheet and the script of the same name.

    The browser applies and runs nothing else, even if text from a paper were taken for markup. `attributes`: of the
    root element. A page with a script has a place for its data, DATA.
    """
    style = _read(HERE / "base.css") + _read(path.with_suffix(".css"))
    script = _read(path.with_suffix(".js"))
    policy = f"default-src 'none'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"
    scripts = ""
    if script:
        policy += f"; script-src '{_hash(script)}'"
        scripts = f'<script type="application/json" id="data">{DATA}</script>\n<script>{script}</script>'
    parts = {
        "ATTRIBUTES": f" {attributes}" if attributes else "", "POLICY": policy, "TITLE": title, "STYLE": style,
        "BODY": _read(path), "SCRIPTS": scripts,
    }  # fmt: skip
    page = _read(HERE / "frame.html")
    for name, content in parts.items():
        page = page.replace("{{" + name + "}}", content)
    return page


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
