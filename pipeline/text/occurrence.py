"""Whether a name occurs anywhere in a document."""

from __future__ import annotations

from functools import lru_cache

from pipeline.records import PageText
from pipeline.text.grounding import PageIndex
from pipeline.text.normalize import normalized


def occurs_in(text: PageText, name: str) -> bool:
    """Whether `name` occurs on a page of the document, ignoring white space, dashes, quotes, accents and case."""
    wanted = normalized(name)
    pages = tuple(page.text for page in text.pages)
    candidates = (page for page, known in zip(pages, _normalized_pages(pages), strict=True) if wanted in known)
    return bool(wanted) and any(PageIndex(page).locate_nearest(name, 0) for page in candidates)


@lru_cache(maxsize=1)
def _normalized_pages(pages: tuple[str, ...]) -> tuple[str, ...]:
    """The normalized pages of one document. It is searched for many names, one after the other."""
    return tuple(map(normalized, pages))
