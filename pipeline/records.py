"""The records that travel between the parts. Pages count from 1, offsets are characters of the page's text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr


def storable(text: str) -> str:
    """Half a surrogate pair, which JSON can spell and nothing can write, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


Context = Literal["primary", "supporting", "background"]
Specificity = Literal["properly_named", "descriptive_but_unnamed", "vague_generic"]
Relevance = Literal["directly_relevant", "indirectly_relevant", "not_relevant"]
PageKind = Literal["references", "contents", "blank", "image"]
Grounding = Literal["exact", "normalized", "fuzzy", "missing"]


class Record(BaseModel):
    """Strict base: a file with unknown keys was not written by us."""

    model_config = ConfigDict(extra="forbid")


class Page(Record):
    """One page of text as the PDF gives it, less control characters; `problem` says why there is none.

    `kind` is None for text to ask about; "image": nothing but pictures; `language`: ISO 639-1.
    """

    page: int
    text: str
    problem: str | None = None
    kind: PageKind | None = None
    language: str | None = None


class PageText(Record):
    """text/<document>.json: what every offset refers to. `reader`: the version and the limits it was read under."""

    source: str
    file: str
    sha256: str
    reader: str = ""
    n_pages: int
    pages: list[Page]

    def digest(self) -> str:
        """SHA-256 of all the text, page by page."""
        return hashlib.sha256("\f".join(page.text for page in self.pages).encode()).hexdigest()


class ManifestEntry(Record):
    """One line of manifest.jsonl. `problem` is None for a paper that could be read; `remark` says what of it could not.

    `kinds` counts the pages that are no text to ask about, by kind, and those that are `unreadable`.
    """

    source: str
    file: str
    sha256: str | None = None
    n_pages: int = 0
    size: int = 0
    mtime_ns: int = 0
    reader: str = ""
    text_bytes: int = 0
    characters: int = 0
    language: str | None = None
    kinds: dict[str, int] = Field(default_factory=dict)
    problem: str | None = None
    remark: str | None = None


class Dataset(Record):
    """One dataset that a passage mentions: the best known so far, and in `verdicts` what each stage said."""

    raw_name: str
    harmonized_name: str | None
    acronym: str | None
    producer: str | None
    year: str | None
    data_type: str | None
    context: Context
    specificity: Specificity
    relevance: Relevance
    start: int | None = None
    end: int | None = None
    sent: str | None = None
    sent_start: int | None = None
    sent_end: int | None = None
    grounding: Grounding = "missing"
    valid: bool | None = None
    invalid_reason: str | None = None
    verdicts: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Mention(Record):
    """A passage of the page and the datasets it speaks of. Offsets are None where it stands nowhere in the page."""

    mentioned_in: str
    start: int | None
    end: int | None
    page: int
    dataset_used: bool
    datasets: list[Dataset]


class MentionPage(Record):
    """What is known of one page. `answered_by` indexes the document's `provenance`."""

    page: int
    dataset_used: bool
    answered_by: int | None = None
    strategy: str | None = None
    rubric: str | None = None
    data_mentions: list[Mention] = Field(default_factory=list)

    def datasets(self) -> list[Dataset]:
        """All datasets of the page in the order in which the later stages number them, from 1."""
        return [dataset for mention in self.data_mentions for dataset in mention.datasets]


class Recipe(Record):
    """What an answer depends on besides the page: enough to tell two answers' origins apart."""

    process: str
    provider: str
    base_url: str
    model: str
    prompt_sha256: str
    schema_sha256: str
    params: dict[str, Any]
    max_page_tokens: int | None = None
    page_context_chars: int = 0


class Usage(Record):
    """What asks have used, failed attempts included. Cached tokens are part of the prompt's, reasoning tokens of the
    completion's. `cost_usd` is None where the price of the model is not known.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = 0.0


class Document(Record):
    """<process>/<document>.json. `text_sha256`: the digest of the text that all offsets refer to."""

    source: str
    process: str
    text_sha256: str | None = None
    provenance: list[Recipe] = Field(default_factory=list)
    usage: dict[str, Usage] = Field(default_factory=dict)
    page_status: dict[str, str] = Field(default_factory=dict)
    pages: list[MentionPage] = Field(default_factory=list)
    _by_number: dict[int, MentionPage] = PrivateAttr(default_factory=dict)

    def page(self, number: int) -> MentionPage | None:
        """The entry of page `number`, or None where no stage has answered it."""
        if len(self._by_number) != len(self.pages):
            self._by_number = {page.page: page for page in self.pages}
        return self._by_number.get(number)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about one page (or part of it). `basis` identifies what is asked about, without the prompt."""

    process: str
    source: str
    page: int
    part: int
    basis: str
    content: str
    expects: int


OutcomeKind = Literal[
    "ok", "api_error", "expired", "cancelled", "missing", "truncated", "refused", "content_filter",
    "invalid_json", "invalid_answer",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt. `code` is the API's own code for an error; tokens are as the answer reports them.

    `parameter` is the one that was refused, where that is why nothing was answered.
    """

    kind: OutcomeKind
    content: str | None = None
    message: str | None = None
    code: str | None = None
    parameter: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
