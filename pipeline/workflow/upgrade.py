"""Converts the asks of a version 3 ledger, which did not store what they were about.

They are rendered once more, under the settings that they were asked under, and compared with their old hash.
"""

from __future__ import annotations

import hashlib

from tqdm import tqdm

from pipeline.batches.session import Session
from pipeline.errors import WorkspaceError
from pipeline.processes import PROCESSES, earlier_processes
from pipeline.records import Ask
from pipeline.stages import get_stage
from pipeline.stages.blocks import ABOUT_CONTEXT
from pipeline.store import load_text
from pipeline.text.chunks import Chunking
from pipeline.workflow.merge import GROUP, Merger

# Version 3 hashed the whole question, this sentence included.
_OLD_ABOUT_CONTEXT = (
    "The text in <before> and <after> surrounds this page: read on there where a sentence or a name runs over, and "
    "leave out what stands only there."
)


def upgrade_asks(session: Session) -> None:
    """Fill in what the asks of an older ledger were about. Asks about something that has changed become outdated.

    Stage by stage, because the questions of a stage depend on the documents of the stages before it.
    """
    waiting = session.ledger.asks.without_span()
    for process in PROCESSES if waiting else ():
        merger = Merger(session, [one for one in earlier_processes(process) if session.ledger.asks.any(one)])
        sources = [source for one, source in waiting if one == process]
        title = f"Converting {process}"
        with tqdm(total=len(sources), desc=title, unit=" papers", leave=False, disable=None) as bar:
            for start in range(0, len(sources), GROUP):
                group = sources[start : start + GROUP]
                with session.ledger.transaction():
                    for source in group:
                        for ask in _converted(session, merger, process, source):
                            session.ledger.asks.set_input(ask)
                    merger.finish()
                bar.update(len(group))


def _converted(session: Session, merger: Merger, process: str, source: str) -> list[Ask]:
    old = session.ledger.asks.old_input_hashes(process, source)
    # An empty hash matches nothing, so the page counts as not asked until it is planned again.
    converted = {place: Ask(process, source, *place, 0, 0, (), "", "") for place in old}
    stage = get_stage(process)
    try:
        text = load_text(session.workspace, source)
        merger.take(source)
        before = merger.document(stage.previous, text) if stage.previous else None
    except WorkspaceError:
        return list(converted.values())
    recipes = {page: session.ledger.asks.recipe(number) for (page, _), (_, number) in old.items()}
    for page in text.pages:
        recipe = recipes.get(page.page)
        if recipe is None:
            continue
        chunking = Chunking(recipe.max_page_tokens, recipe.page_context_chars)
        asks = list(stage.asks(text, [page], before, chunking))
        if {(ask.page, ask.part) for ask in asks} != {place for place in old if place[0] == page.page}:
            continue  # version 3 could drop single parts of a page
        for ask in asks:
            if _old_hash(ask) == old[ask.page, ask.part][0]:
                converted[ask.page, ask.part] = ask
    return list(converted.values())


def _old_hash(ask: Ask) -> str:
    content = ask.content.replace(ABOUT_CONTEXT, _OLD_ABOUT_CONTEXT, 1)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
