"""A stage: one question about each page. Subclasses say what is asked, what a good answer is, and what it changes."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.batches.outcomes import Unacceptable
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.records import Ask, Dataset, Document, MentionPage, OutcomeKind, Page, PageText, Recipe
from pipeline.stages.pieces import Layout, Piece, pieces

SCHEMAS = Path(__file__).parent / "schemas"
ABOUT_CONTEXT = (
    "The text in <before> and <after> surrounds this page: read on there where a sentence or a name runs over, and "
    "leave out what stands only there."
)


@dataclass(frozen=True)
class Rules:
    """What is asked about the pages of a document. `skip`: kinds of pages that are not sent."""

    layout: Layout = field(default_factory=Layout)
    skip: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Config) -> Rules:
        return cls(Layout(config.max_page_tokens, config.page_context_chars), frozenset(config.skip_pages))

    def as_asked(self, recipe: Recipe) -> Rules:
        """What a page was asked under that was asked, whatever the settings are now."""
        return Rules(Layout(recipe.max_page_tokens, recipe.page_context_chars))


@dataclass(frozen=True)
class Answered:
    """A piece of a page and the accepted answer to the question about it."""

    piece: Piece
    answer: Any


class Answer(BaseModel):
    """Base of all answers: no key more, no key less, in every level."""

    model_config = ConfigDict(extra="forbid")


class Stage(ABC):
    """One of extraction, judge, reasoning."""

    process: ClassVar[str]
    previous: ClassVar[str | None] = None
    schema_name: ClassVar[str]
    answer_type: ClassVar[type[Answer]]

    @abstractmethod
    def content(self, piece: Piece) -> str:
        """The user message that asks about a page, or a part of it."""

    @abstractmethod
    def merge(self, page: Page, found: MentionPage | None, answers: Sequence[Answered]) -> MentionPage:
        """What is known of `page` after these answers; `found` is what was known before.

        Pure: the same in gives the same out.
        """

    def pieces(self, text: PageText, page: Page, found: MentionPage | None, layout: Layout) -> Iterable[Piece]:
        """What there is to ask about a page: all of it, in as many pieces as it takes."""
        return pieces(text, page, layout)

    def validate(self, answer: Any, expects: int) -> None:  # noqa: B027 - extraction has nothing to check
        """Raises Unacceptable where the answer does not cover the `expects` datasets that it was asked about."""

    def parse(self, content: str, expects: int) -> Any:
        """The model's text as an answer of this stage. Raises Unacceptable (`invalid_json`, `invalid_answer`)."""
        try:
            answer = self.answer_type.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            kind: OutcomeKind = "invalid_json" if first["type"] == "json_invalid" else "invalid_answer"
            raise Unacceptable(kind, f"{place}: {first['msg']}" if place else first["msg"]) from None
        self.validate(answer, expects)
        return answer

    def asks(self, text: PageText, before: Document | None, rules: Rules) -> Iterator[Ask]:
        """The asks about every page that has something to ask about and is final in the stage before."""
        for page in text.pages:
            yield from (ask for _, ask in self.page_asks(text, page, before, rules))

    def page_asks(
        self, text: PageText, page: Page, before: Document | None, rules: Rules
    ) -> Iterator[tuple[Piece, Ask]]:
        """The asks about one page as things stand now, one for each piece of it; none where `obstacle` names one."""
        if self.obstacle(page, before, rules.skip):
            return
        found = before.page(page.page) if before else None
        for piece in self.pieces(text, page, found, rules.layout):
            content = self.content(piece)
            basis = hashlib.sha256(content.encode()).hexdigest()[:32]
            yield piece, Ask(self.process, text.source, page.page, piece.part, basis, content, len(piece.datasets))

    def obstacle(self, page: Page, before: Document | None, skip: Collection[str]) -> str | None:
        """Why there is nothing to ask about a page, in the words of page_status, or None where there is."""
        if page.problem:
            return "unreadable"
        if page.kind in skip:
            return f"skipped:{page.kind}"
        if not page.text.strip():
            return "empty_text"
        if self.previous is None:
            return None
        status = before.page_status.get(str(page.page), "not_sent") if before else "not_sent"
        if status in ("pending", "not_sent"):
            return "not_sent"  # the stage before is not done with it
        found = before.page(page.page) if before else None
        if found and found.datasets():
            return None
        return f"skipped:{self.previous}_failed" if status.startswith("failed:") else _carried(status)

    def system_prompt(self, config: Config, with_examples: bool) -> str:
        """The text of prompts/<process>.md, with the worked examples of the stage where wanted. Raises ConfigError."""
        prompt = read_prompt(config, self.process)
        if with_examples:
            prompt += "\n\n" + _section(read_prompt(config, "examples"), self.process)
        return prompt

    @cached_property
    def response_format(self) -> dict[str, Any]:
        """The answer's strict JSON schema in the form in which the chat API takes it.

        It is read from a file and not derived from `answer_type`: requests are known by their bytes, and another
        version of a library must not have every page asked (and billed) again.
        """
        schema = json.loads((SCHEMAS / f"{self.process}.json").read_text(encoding="utf-8"))
        return {"type": "json_schema", "json_schema": {"name": self.schema_name, "strict": True, "schema": schema}}


def page_block(piece: Piece) -> str:
    """The page as every stage shows it: last in the message."""
    block = f"<page>\n{piece.text}\n</page>"
    if piece.before:
        block = f"<before>\n{piece.before}\n</before>\n{block}"
    if piece.after:
        block = f"{block}\n<after>\n{piece.after}\n</after>"
    return f"{ABOUT_CONTEXT}\n{block}" if piece.before or piece.after else block


def datasets_block(datasets: Sequence[Dataset], details: list[dict[str, Any]]) -> str:
    """The numbered datasets of a page, a line each; `details[i]` is added to what is known of dataset i."""
    lines = []
    for number, (dataset, more) in enumerate(zip(datasets, details, strict=True), start=1):
        line = json.dumps({"number": number, **known(dataset), **more}, ensure_ascii=False, separators=(",", ":"))
        # A name can hold anything, and must not be able to close the block.
        lines.append(line.replace("<", "\\u003c"))
    return "<datasets>\n" + "\n".join(lines) + "\n</datasets>"


def known(dataset: Dataset) -> dict[str, Any]:
    """What a later stage is told about a dataset: its fields as they stand, nothing about offsets."""
    fields = ("raw_name", "harmonized_name", "acronym", "producer", "year", "data_type", "context", "specificity")
    values = {field: getattr(dataset, field) for field in fields}
    sentence = " ".join(dataset.sent.split()) if dataset.sent else None  # its line breaks are on the page
    return {field: value for field, value in values.items() if value is not None} | {"sentence": sentence}


def _carried(status: str) -> str:
    return "nothing_to_ask" if status == "answered" else status


def read_prompt(config: Config, name: str) -> str:
    """The text of a prompt file, without white space around it. Raises ConfigError where it is missing or empty."""
    path = config.prompt_path(name)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"The prompt {path} cannot be read: restore it, or name another under PROMPTS in config.yaml."
        ) from None
    if not text:
        raise ConfigError(f"The prompt {path} is empty: restore it, or name another under PROMPTS in config.yaml.")
    return text


def _section(text: str, process: str) -> str:
    """The part of examples.md under the heading `# <process>`."""
    for part in text.split("\n# "):
        heading, _, body = part.removeprefix("# ").partition("\n")
        if heading.strip().lower() == process:
            return "Examples\n\n" + body.strip()
    return ""
