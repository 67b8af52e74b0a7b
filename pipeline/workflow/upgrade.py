"""Converts the asks of a version 3 ledger, which did not store what they were about.

They are rendered once more, under the settings that they were asked under, and compared with their old hash.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pipeline.batches.session import Session
from pipeline.errors import WorkspaceError
from pipeline.records import Ask
from pipeline.stages import get_stage
from pipeline.stages.blocks import ABOUT_CONTEXT
from pipeline.store import load_document, load_text
from pipeline.text.chunks import Chunking

# Version 3 hashed the whole question, this sentence included.
_OLD_ABOUT_CONTEXT = (
    "The text in <before> and <after> surrounds this page: read on there where a sentence or a name runs over, and "
    "leave out what stands only there."
)


def upgrade_asks(session: Session) -> None:
    """Fill in what the asks of an older ledger were about. Asks about something that has changed become outdated."""
    for process, source in session.ledger.asks.without_span():
        with session.ledger.transaction():
            for ask in _converted(session, process, source):
                session.ledger.asks.set_input(ask)


def _converted(session: Session, process: str, source: str) -> list[Ask]:
    old = session.ledger.asks.old_input_hashes(process, source)
    # An empty hash matches nothing, so the page counts as not asked until it is planned again.
    converted = {place: Ask(process, source, *place, 0, 0, (), "", "") for place in old}
    stage = get_stage(process)
    try:
        text = load_text(session.workspace, source)
        before = load_document(session.workspace, stage.previous, source) if stage.previous else None
    except WorkspaceError:
        return list(converted.values())
    recipes = {page: session.ledger.asks.recipe(number) for (page, _), (_, number) in old.items()}
    for page in text.pages:
        if page.page in recipes:
            recipe = recipes[page.page]
            chunking = Chunking(recipe.max_page_tokens, recipe.page_context_chars)
            for ask in stage.page_asks(text, page, before, chunking):
                content = ask.content.replace(ABOUT_CONTEXT, _OLD_ABOUT_CONTEXT, 1)
                old_hash = hashlib.sha256(content.encode()).hexdigest()[:32]
                if old.get((page.page, ask.part), ("",))[0] == old_hash:
                    converted[page.page, ask.part] = replace(ask, content="")
    return list(converted.values())
