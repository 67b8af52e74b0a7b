"""Builds one document of one stage from the answers in the ledger. The same answers always give the same document."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache

from pipeline.config import Config
from pipeline.ledger import Ledger
from pipeline.ledger.asks import CurrentAsk
from pipeline.ledger.documents import Failure
from pipeline.ledger.state import AskState, Attempt, ask_state
from pipeline.prefilter import PREFILTERED
from pipeline.records import NOT_SENT, Document, MentionPage, Page, PageText, Recipe
from pipeline.stages import Stage
from pipeline.stages.base import Answered
from pipeline.text.chunks import Chunk, chunk_at
from pipeline.workflow.contradictions import judged_both_ways

Part = tuple[Chunk, AskState]


class DocumentBuilder:
    """Adds the pages of one document one by one.

    `before`: the document after the previous stage. `prefiltered`: the pages that the prefilter skips, if they are not
    answered and not in progress. `failures`: the questions that were given up.
    """

    def __init__(
        self, stage: Stage, text: PageText, before: Document | None, ledger: Ledger, config: Config,
        prefiltered: Collection[int] = (),
    ) -> None:  # fmt: skip
        self._stage, self._text, self._before, self._config = stage, text, before, config
        self._prefiltered = prefiltered
        self._recipe = cache(ledger.asks.recipe)
        self.failures: list[Failure] = []
        self.document = Document(source=text.source, process=stage.process, text_sha256=text.digest())
        if before:
            self.document.provenance = list(before.provenance)
            self.document.usage = dict(before.usage)
        self.document.usage[stage.process] = ledger.usage.total(stage.process, text.source)
        self._asked = defaultdict[int, list[CurrentAsk]](list)
        for ask in ledger.asks.of_document(stage.process, text.source):
            self._asked[ask.page].append(ask)
        self._attempts = defaultdict[tuple[int, int], list[Attempt]](list)
        for page, part, attempt in ledger.attempts.of_document(stage.process, text.source) if self._asked else ():
            self._attempts[page, part].append(attempt)

    def build(self) -> Document:
        for page in self._text.pages:
            status, known = self._page(page)
            self.document.page_status[str(page.page)] = status
            if known:
                self.document.pages.append(known)
        self.document.judged_both_ways = judged_both_ways(self.document)
        return self.document

    def _page(self, page: Page) -> tuple[str, MentionPage | None]:
        """(status, what is known about the page)."""
        found = self._before.page(page.page) if self._before else None
        asked = self._asked.get(page.page)
        if not asked:
            obstacle = self._stage.obstacle(page, self._before, self._config.skip_pages)
            return obstacle or (PREFILTERED if page.page in self._prefiltered else NOT_SENT), found
        # The ledger has all parts of a page or none, so these are all. A page that was asked is merged even if the
        # settings would skip it now.
        obstacle = self._stage.obstacle(page, self._before, ())
        if obstacle:
            return obstacle, found
        chunks = [self._chunk(page, found, ask) for ask in asked]
        states = [ask_state(self._attempts[page.page, ask.part], self._config.max_attempts) for ask in asked]
        if page.page in self._prefiltered and not any(state.state in ("answered", "in_progress") for state in states):
            return PREFILTERED, found
        if None in chunks:
            return NOT_SENT, found
        if any(state.state in ("to_send", "in_progress") for state in states):
            return "pending", found
        parts = [(chunk, state) for chunk, state in zip(chunks, states, strict=True) if chunk]
        return self._finished(page, found, parts, self._recipe(asked[0].recipe))

    def _chunk(self, page: Page, found: MentionPage | None, ask: CurrentAsk) -> Chunk | None:
        """What the question was about, or None if that has changed since."""
        datasets = found.datasets() if found else []
        context_chars = self._recipe(ask.recipe).page_context_chars
        chunk = chunk_at(self._text, page, ask.part, (ask.start, ask.end), context_chars)
        try:
            chunk = chunk.about(datasets, ask.datasets)
        except IndexError:
            return None
        return chunk if self._stage.input_hash(chunk, len(datasets)) == ask.input_hash else None

    def _finished(
        self, page: Page, found: MentionPage | None, parts: Sequence[Part], recipe: Recipe
    ) -> tuple[str, MentionPage | None]:
        """A page that expects no more answers. Answers count even if other parts of the page were given up."""
        answers, status = [], "answered"
        for chunk, state in parts:
            assert state.last
            if state.state == "answered":
                answers.append(Answered(chunk, self._stage.load(state.last.content or "")))
                continue
            status = f"failed:{state.last.outcome}" if status == "answered" else status
            self._note_failure(chunk, state.last, len(parts))
        if not answers:
            return status, found
        merged = self._stage.merge(self._text, page, found, answers)
        if recipe not in self.document.provenance:
            self.document.provenance.append(recipe)
        merged.answered_by = self.document.provenance.index(recipe)
        return status, merged

    def _note_failure(self, chunk: Chunk, last: Attempt, parts: int) -> None:
        page = chunk.page.page
        failure: Failure = {"page": page} | ({"part": chunk.part} if parts > 1 else {})
        attempts = len(self._attempts[page, chunk.part])
        self.failures.append({**failure, "kind": last.outcome or "", "message": last.message, "attempts": attempts})
