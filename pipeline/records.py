"""The records that all packages share. Pages count from 1. Offsets are characters of the page's text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError


def storable(text: str) -> str:
    """`text` with lone surrogates replaced by `?`: JSON can contain them, but UTF-8 files cannot."""
    return text.encode("utf-8", "replace").decode()


def invalid_because(error: ValidationError) -> str:
    """The first reason why a record is invalid, on one line: where, and what is wrong."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def none_to_null(value: Any) -> Any:
    """Models write "None", "null" or "" for a value that they do not know. All mean null."""
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value


OptionalText = Annotated[str | None, BeforeValidator(none_to_null)]
Context = Literal["primary", "supporting", "background"]
Specificity = Literal["properly_named", "descriptive_but_unnamed", "vague_generic"]
SPECIFICITIES: tuple[str, ...] = get_args(Specificity)  # the clearest first
Relevance = Literal["directly_relevant", "indirectly_relevant", "not_relevant"]
PageKind = Literal["references", "contents", "blank", "image"]
Grounding = Literal["exact", "normalized", "fuzzy", "missing"]


NOT_SENT = "not_sent"  # page status: not asked, or the previous stage has not finished the page


class Record(BaseModel):
    """Base of everything that is read from our own files. Unknown keys are errors: another program wrote the file."""

    model_config = ConfigDict(extra="forbid")


class Page(Record):
    """One page of text as the PDF gives it, without control characters.

    `problem`: why the page could not be read. `kind`: None for a page with text to ask about; "image" for a page that
    shows only pictures, scans, or letters in codes that mean nothing. Its text is what it has besides, such as a stamp.
    `language`: ISO 639-1. `ocr`: the page was read by OCR. `unmapped`: number of letters in unknown codes, if there are
    many. `tokens`: of the text, if it is to be asked about; None if an older version read the page.
    """

    page: int
    text: str
    problem: str | None = None
    kind: PageKind | None = None
    language: str | None = None
    ocr: bool = False
    unmapped: int | None = None
    tokens: int | None = None


class PageText(Record):
    """text/<document>.json. All offsets refer to this text.

    `reader`: the version of the extraction, and the limits and languages of OCR that it ran with. `pdf_title`,
    `pdf_year`: what the PDF's metadata say; the year is that of its creation. `remark`: what the file has besides its
    pages, such as attached papers.
    """

    source: str
    file: str
    sha256: str
    reader: str = ""
    pdf_title: str | None = None
    pdf_year: int | None = None
    remark: str | None = None
    n_pages: int
    pages: list[Page]

    def digest(self) -> str:
        """SHA-256 of the text of all pages, in order."""
        return hashlib.sha256("\f".join(page.text for page in self.pages).encode()).hexdigest()


class ManifestEntry(Record):
    """One line of manifest.jsonl.

    `problem`: why the paper cannot be read (None: it can). `remark`: which part of it cannot. `kinds`: number of pages
    by kind, for pages without text to ask about, and "unreadable" ones. `kind_pages`: their numbers, such as "1, 5-7".
    `ocr`: number of pages that were read by OCR. `text`: the pages, if they were just read; not in the file.
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
    kind_pages: dict[str, str] = Field(default_factory=dict)
    ocr: int = 0
    problem: str | None = None
    remark: str | None = None
    text: PageText | None = Field(default=None, exclude=True)

    @property
    def needs_ocr(self) -> bool:
        """Whether pages have no text, and OCR was not tried."""
        return "image" in self.kinds and " OCR " not in self.reader


class DatasetFields(Record):
    """What can be said about a mentioned dataset, besides its name. The only list of these fields.

    `geography`: the places that the data cover, as printed.
    `context` and `specificity` are None where the final verdict is invalid; `relevance` is None where nobody gave it.
    A new field needs a default, so that files written before it existed stay readable. It also belongs in the answer
    schema (stages/schemas/) and the prompt of the stage that asks for it.
    """

    harmonized_name: str | None = None
    acronym: str | None = None
    producer: str | None = None
    year: str | None = None
    data_type: str | None = None
    geography: str | None = None
    context: Context | None = "background"
    specificity: Specificity | None = "properly_named"
    relevance: Relevance | None = "directly_relevant"

    def fields(self) -> dict[str, Any]:
        """The values of these fields alone, without those that a subclass adds."""
        return {name: getattr(self, name) for name in DATASET_FIELDS}

    def labelled_fields(self) -> dict[str, Any]:
        """The values that a model or a person has given, null included. Other fields only have their default."""
        return self.model_dump(include=set(DATASET_FIELDS), exclude_unset=True)


DATASET_FIELDS = tuple(DatasetFields.model_fields)
# The fields with a fixed set of values, and those values.
CLASS_FIELDS: dict[str, tuple[str, ...]] = {
    name: get_args(get_args(field.annotation)[0])
    for name, field in DatasetFields.model_fields.items()
    if isinstance(field.default, str)
}
# The fields that hold free text or null.
TEXT_FIELDS = tuple(name for name in DATASET_FIELDS if name not in CLASS_FIELDS)


def is_specific(specificity: str | None, minimum: str) -> bool:
    """Whether a mention is at least as clear as MIN_SPECIFICITY wants. One without a specificity is."""
    return specificity is None or SPECIFICITIES.index(specificity) <= SPECIFICITIES.index(minimum)


class NamedDataset(BaseModel):
    """The name of a mentioned dataset, as printed on the page."""

    raw_name: str


class Dataset(DatasetFields, NamedDataset):
    """One dataset mention. The fields are the best known so far; `verdicts` records what each stage said and changed.

    `page text[start:end]` is `raw_name`; both are None where `grounding` is "missing". `sent` is the sentence. `note`:
    what is uncertain about a valid mention, such as its name.
    """

    start: int | None = None
    end: int | None = None
    sent: str | None = None
    sent_start: int | None = None
    sent_end: int | None = None
    grounding: Grounding = "missing"
    valid: bool | None = None
    invalid_reason: str | None = None
    note: str | None = None
    verdicts: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Passage(Record):
    """A quoted passage of the page and the datasets that it mentions. Offsets are None if it is not on the page."""

    mentioned_in: str
    start: int | None
    end: int | None
    page: int
    dataset_used: bool
    datasets: list[Dataset]


class MentionPage(Record):
    """What is known about one page. `answered_by` is an index into the document's `provenance`."""

    page: int
    dataset_used: bool
    answered_by: int | None = None
    strategy: str | None = None
    rubric: str | None = None
    data_mentions: list[Passage] = Field(default_factory=list)

    def datasets(self) -> list[Dataset]:
        """All datasets of the page, in the order in which later stages number them (from 1)."""
        return [dataset for passage in self.data_mentions for dataset in passage.datasets]


class Recipe(Record):
    """What an answer depends on besides the page: where it came from, and under which settings it was asked."""

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
    """Tokens and dollars of requests, failed attempts included.

    Cached tokens are part of the prompt tokens, reasoning tokens part of the completion tokens. `cost_usd` is None
    where the model's price is unknown.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = 0.0


class JudgedBothWays(Record):
    """A dataset name that is valid on some pages of a document and invalid on others."""

    name: str
    valid_on: list[int]
    invalid_on: list[int]


class Document(Record):
    """<process>/<document>.json. `text_sha256`: digest of the text that all offsets refer to.

    `judged_both_ways`: the names on which the verdicts of different mentions contradict each other.
    """

    source: str
    process: str
    text_sha256: str | None = None
    provenance: list[Recipe] = Field(default_factory=list)
    usage: dict[str, Usage] = Field(default_factory=dict)
    page_status: dict[str, str] = Field(default_factory=dict)
    judged_both_ways: list[JudgedBothWays] = Field(default_factory=list)
    pages: list[MentionPage] = Field(default_factory=list)
    _by_number: dict[int, MentionPage] = PrivateAttr(default_factory=dict)

    def page(self, number: int) -> MentionPage | None:
        """The entry of page `number`, or None where no stage has answered it."""
        if len(self._by_number) != len(self.pages):
            self._by_number = {page.page: page for page in self.pages}
        return self._by_number.get(number)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about a page, or about a part of it (`part` counts from 0).

    `start`, `end`: the span of the page's text that it is about. `datasets`: the datasets that it is about, as indexes
    into `MentionPage.datasets()`; empty for the first stage. `input_hash`: hash of everything on the page that the
    question depends on, without the prompt. `content`: the user message, `text` the part of it that is from the page,
    and `text_tokens` its tokens, if they are known.
    """

    process: str
    source: str
    page: int
    part: int
    start: int
    end: int
    datasets: tuple[int, ...]
    input_hash: str
    content: str
    text: str = ""
    text_tokens: int | None = None

    @property
    def expects(self) -> int:
        """How many verdicts the answer must give; 0 for any number of items."""
        return len(self.datasets)


OutcomeKind = Literal[
    "ok", "api_error", "expired", "cancelled", "missing", "truncated", "refused", "content_filter",
    "invalid_json", "invalid_answer",
    "too_long",
]  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """The result of one attempt. `code`: the API's error code. Token counts are those that the answer reports.

    `parameter`: the request parameter that the server refused, if that is why there is no answer. `repairs`: what was
    repaired to read the answer, such as "extra key", once for each time.
    """

    kind: OutcomeKind
    content: str | None = None
    message: str | None = None
    code: str | None = None
    parameter: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0  # to the cache
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    repairs: tuple[str, ...] = ()
