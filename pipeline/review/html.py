"""The review page: one HTML file with all data in it. It needs no server and no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.files import replacing
from pipeline.pages.template import DATA, page_template
from pipeline.records import CLASS_FIELDS, TEXT_FIELDS
from pipeline.review.review_pages import ReviewPage


def write_html(pages: Iterable[ReviewPage], path: Path) -> int:
    """Write the review page. Returns the number of pages in it. Holds one page in memory at a time."""
    # The browser saves the labels under this key, so that reviews of different output folders are kept apart.
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    template = page_template(Path(__file__).with_name("review.html"), "Review of dataset mentions", f'data-key="{key}"')
    before, after = template.split(DATA)
    count = 0
    with replacing(path) as file:
        file.write(before.encode())
        file.write(_json({"choices": CLASS_FIELDS, "texts": TEXT_FIELDS})[:-1] + b', "pages": [')
        for page in pages:
            file.write((b",\n" if count else b"\n") + _json(page.model_dump()))
            count += 1
        file.write(b"\n]}" + after.encode())
    return count


def _json(value: object) -> bytes:
    """JSON without `<`, so that no text in it can close the script element around it."""
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c").encode("ascii")
