"""A stage: one question about each page. Subclasses define what is asked, what a valid answer is, and what it changes.

A stage knows nothing about batches or providers.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config import Config
from pipeline.processes import previous_process
from pipeline.records import NOT_SENT, Ask, Dataset, Document, MentionPage, OutcomeKind, Page, PageText, storable
from pipeline.stages.repair import find_objects, repair_fields
from pipeline.text.chunks import Chunk, Chunking, chunks

SCHEMAS = Path(__file__).parent / "schemas"
HASH_DIGITS = 32  # 128 bits: two different inputs never share a hash


class InvalidAnswer(Exception):
    """An answer that cannot be used. `kind`: the outcome that it gets."""

    def __init__(self, kind: OutcomeKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Answer(BaseModel):
    """Base of all answers. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Answered:
    """A chunk of a page and the accepted answer to the question about it."""

    chunk: Chunk
    answer: Any


@dataclass(frozen=True)
class AskRules:
    """Which pages are asked about, and in which chunks. `skip`: kinds of pages that are not sent."""

    chunking: Chunking
    skip: Collection[str] = ()

    @classmethod
    def of(cls, config: Config, max_page_tokens: int | None = None) -> AskRules:
        """The rules of the settings. `max_page_tokens`: what the model can be asked about, if that is less."""
        limit = config.max_page_tokens if max_page_tokens is None else max_page_tokens
        return cls(Chunking(limit, config.page_context_chars), config.skip_pages)


class Stage(ABC):
    """One stage. `usual_output`: mean output tokens per answer, for a paper with few mentions and for one with many."""

    process: ClassVar[str]
    schema_name: ClassVar[str]
    answer_type: ClassVar[type[Answer]]
    usual_output: ClassVar[tuple[int, int]]

    # What a subclass defines

    @abstractmethod
    def content(self, chunk: Chunk) -> str:
        """The user message: the question about a chunk."""

    @abstractmethod
    def merge(self, text: PageText, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        """What is known about `page` of `text` after these answers; `found` is what was known before.

        The result depends on nothing but the arguments.
        """

    def chunks(self, text: PageText, page: Page, found: MentionPage | None, chunking: Chunking) -> Iterable[Chunk]:
        """The chunks of a page that there is something to ask about."""
        return chunks(text, page, chunking)

    def shown(self, dataset: Dataset) -> dict[str, Any]:
        """What the question contains about a dataset."""
        return {}

    def validate(self, answer: Any, expects: int) -> None:  # noqa: B027 - most stages check something, not all
        """Raises InvalidAnswer if the answer does not cover the `expects` datasets of the question."""

    def mentions_in(self, answer: Any) -> int:
        """How many mentions the answer adds to the page."""
        return 0

    # What all stages have in common

    @property
    def previous(self) -> str | None:
        """The stage before this one."""
        return previous_process(self.process)

    def parse(self, content: str, expects: int, repairs: list[str] | None = None) -> Answer:
        """Check a model's text. Raises InvalidAnswer (`invalid_json`, `invalid_answer`).

        Called once for each answer, when it is collected. What had to be repaired to read it is added to `repairs`.
        """
        try:
            answer = self.answer_type.model_validate_json(content)
        except ValidationError as error:
            try:
                answer, done = self._repaired(content, error)
            except RecursionError:
                raise InvalidAnswer("invalid_json", "the JSON of the answer is nested too deeply") from None
            if repairs is not None:
                repairs += done
        self.validate(answer, expects)
        return answer

    def _repaired(self, content: str, invalid: ValidationError) -> tuple[Answer, list[str]]:
        """The answer in a text that is not an answer as it is, and what was repaired. Raises InvalidAnswer."""
        required = {name for name, field in self.answer_type.model_fields.items() if field.is_required()}
        found = find_objects(content, required)
        if not found.objects:
            raise _reason(invalid) from None
        if len(found.objects) > 1:
            raise InvalidAnswer("invalid_answer", "it has different JSON objects: it is unclear which one is meant")
        text = json.dumps(found.objects[0], ensure_ascii=False)
        clean, repairs = storable(text), found.repairs
        if clean != text:
            repairs.append("broken character")
        try:
            return self.answer_type.model_validate_json(clean), repairs
        except ValidationError as error:
            value = json.loads(clean)
            repairs += repair_fields(value, error)
        try:
            return self.answer_type.model_validate_json(json.dumps(value)), repairs
        except ValidationError as error:
            raise _reason(error) from None

    def load(self, content: str) -> Answer:
        """An accepted answer, from the text in which the ledger keeps it."""
        return self.answer_type.model_validate_json(content)

    def asks(self, text: PageText, pages: Iterable[Page], before: Document | None, chunking: Chunking) -> Iterator[Ask]:
        """The questions about these pages of a document, one for each chunk. The pages must have no `obstacle`.

        `before`: the document after the previous stage.
        """
        for page in pages:
            found = before.page(page.page) if before else None
            total = len(found.datasets()) if found else 0
            for chunk in self.chunks(text, page, found, chunking):
                input_hash = self.input_hash(chunk, total)
                yield Ask(
                    self.process, text.source, page.page, chunk.part, chunk.start, chunk.end, chunk.places, input_hash,
                    self.content(chunk), chunk.text, chunk.tokens,
                )  # fmt: skip

    def input_hash(self, chunk: Chunk, total: int) -> str:
        """Hash of everything that the question depends on, without the prompt and without rendering it.

        `total`: number of datasets on the page. If it changes, some dataset has not been asked about.
        """
        datasets = [json.dumps(self.shown(dataset), ensure_ascii=False) for dataset in chunk.datasets]
        place = f"{chunk.start} {chunk.end} {total}"
        parts = [chunk.page.text, chunk.before, chunk.after, place, *datasets]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:HASH_DIGITS]

    def obstacle(self, page: Page, before: Document | None, skip: Collection[str]) -> str | None:
        """Why there is nothing to ask about a page, as a `page_status`; None if there is something."""
        if page.problem:
            return "unreadable"
        if page.kind in skip:
            return f"skipped:{page.kind}"
        if not page.text.strip():
            return "empty_text"
        if self.previous is None:
            return None
        status = before.page_status.get(str(page.page), NOT_SENT) if before else NOT_SENT
        if status in ("pending", NOT_SENT):
            return NOT_SENT  # the previous stage has not finished the page
        found = before.page(page.page) if before else None
        if found and found.datasets():
            return None
        if status.startswith("failed:"):
            return f"skipped:{self.previous}_failed"
        return "nothing_to_ask" if status == "answered" else status

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The strict JSON schema of the answer.

        It is read from a file instead of derived from `answer_type`: requests are identified by their bytes, and an
        upgrade of a library must not cause every page to be asked (and billed) again.
        """
        schema: dict[str, Any] = json.loads((SCHEMAS / f"{self.process}.json").read_text(encoding="utf-8"))
        return schema


def _reason(invalid: ValidationError) -> InvalidAnswer:
    """The first reason why an answer is invalid."""
    first = invalid.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    kind: OutcomeKind = "invalid_json" if first["type"] == "json_invalid" else "invalid_answer"
    return InvalidAnswer(kind, f"{place}: {first['msg']}" if place else first["msg"])
