"""What a provider of batches must be able to do. Providers know nothing about datasets or stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from pipeline.clock import Clock
from pipeline.config import Config
from pipeline.records import Outcome
from pipeline.workspace import Workspace

ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """A batch as its provider describes it. Counts are None if it gives none. Times are in seconds (Unix).

    `since`: when the batch got its status.
    """

    id: str
    status: str
    created: int | None = None
    since: int | None = None
    expires: int | None = None
    total: int | None = None
    done: int | None = None
    failed: int | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    message: str | None = None

    @property
    def ended(self) -> bool:
        """An unknown status means that the batch is still running."""
        return self.status in ENDED


@dataclass(frozen=True)
class Prompt:
    """What all requests of a stage have in common: the system prompt and the JSON schema of the answer."""

    process: str
    system: str
    schema_name: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class PromptStyle:
    """`name`: of the prompt file. `with_examples`: worked examples are added if PROMPT_EXAMPLES is auto.

    `page_tokens`: longest part of a page that the model can be asked about (None: MAX_PAGE_TOKENS decides).
    """

    name: str
    with_examples: bool = False
    page_tokens: int | None = None


class RequestFormat(ABC):
    """The requests of one stage in the provider's format.

    `params`: the parameters sent with each request. `answer_format`: the schema in the form in which it is sent.
    `output_limit`: most output tokens of an answer, or None.
    """

    model: str
    endpoint: str
    params: dict[str, Any]
    answer_format: dict[str, Any]
    output_limit: int | None

    @abstractmethod
    def body(self, content: str, expects: int, larger_budget: bool = False) -> dict[str, Any]:
        """The request that asks `content`.

        `expects`: number of verdicts in the answer (0: any). `larger_budget`: doubles the limit of output tokens.
        """

    @abstractmethod
    def line(self, custom_id: str, content: str, expects: int, larger_budget: bool = False) -> bytes:
        """The same request as one line of a request file: a JSON object with the key `custom_id`."""


class BatchProvider(ABC):
    """A provider of batches. Problems that the user can fix are raised as ProviderError or ConfigError."""

    kind: ClassVar[str]  # the value of PROVIDER
    is_free: ClassVar[bool] = False  # answers cost nothing
    has_queue: ClassVar[bool] = True  # limits the input tokens that are queued
    answers_here: ClassVar[bool] = False  # `work` answers the batches, in run_batch.py itself
    base_url: str

    @abstractmethod
    def __init__(self, config: Config, workspace: Workspace, clock: Clock) -> None: ...

    @property
    def server(self) -> tuple[str, str]:
        """What identifies the server: batches of another one are not touched."""
        return self.kind, self.base_url

    # The format

    def prompt_style(self, process: str) -> PromptStyle:
        """How the model of a stage wants to be asked. Raises ConfigError."""
        return PromptStyle(process)

    @abstractmethod
    def request_format(self, prompt: Prompt) -> RequestFormat:
        """How the requests of a stage look. Raises ConfigError if no model is set for it."""

    @abstractmethod
    def read_row(self, row: Mapping[str, Any]) -> tuple[object, Outcome]:
        """(custom id, outcome) of one row of a result file."""

    # Batches

    @abstractmethod
    def check_ready(self) -> None:
        """Raises ConfigError if something is missing that is needed to send requests, such as a key."""

    @abstractmethod
    def probe(self, body: dict[str, Any]) -> str | None:
        """Send one cheap request to find out whether `body` would be refused: a sentence if it was, or None.

        It is never stricter than a batch: only what would also stop the batch is raised, as ProviderError.
        """

    def model_name(self, process: str, model: str) -> str:
        """The model of the requests of a stage, as a person knows it."""
        return model

    def shutdown_date(self, model: str) -> date | None:
        """The day on which the provider stops serving a model, if it says so. Never raises an error."""
        return None

    @abstractmethod
    def upload(self, path: Path) -> str:
        """Upload a request file; returns its id."""

    @abstractmethod
    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        """Create a batch from an uploaded file, once. Raises UnsettledError if it may or may not exist."""

    @abstractmethod
    def find(self, file_id: str) -> BatchInfo | None:
        """The batch that was created from an uploaded file, if the provider knows one."""

    @abstractmethod
    def status(self, batch_id: str) -> BatchInfo:
        """Raises UnknownBatchError if the provider does not know the batch."""

    @abstractmethod
    def cancel(self, batch_id: str) -> BatchInfo:
        """Cancel a batch. Its answers so far are kept. A batch that has ended stays as it is."""

    @abstractmethod
    def list(self) -> Iterator[BatchInfo]:
        """All batches that this key can see, newest first."""

    @abstractmethod
    def size(self, file_id: str) -> int | None:
        """Size of a file at the provider in bytes, None if it does not say. Raises UnknownBatchError."""

    @abstractmethod
    def delete(self, file_id: str) -> None:
        """Delete a file at the provider."""

    @abstractmethod
    def download(self, file_id: str, path: Path) -> None:
        """Download a result file to `path`, completely or not at all."""

    def work(self, batch_id: str) -> None:  # noqa: B027 - only providers that answer here do something
        """Answer a batch now, if this provider `answers_here`."""

    def close(self) -> None:  # noqa: B027 - only providers with connections do something
        """Close the connections."""
