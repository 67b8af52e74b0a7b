"""What a provider of batches has to do. Providers know nothing of datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """A batch as its provider tells of it. Counts are None where it does not say; moments are in seconds (Unix).

    `since`: when it came to its status.
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
        """A status that nobody has heard of means that it is still running."""
        return self.status in ENDED


class BatchProvider(Protocol):
    """Errors that the user can mend are raised as ProviderError."""

    kind: str
    base_url: str

    def ready(self) -> None:
        """Raises ConfigError where something is missing that is needed to send, such as a key."""
        ...

    def body(self, process: str, response_format: dict[str, Any]) -> dict[str, Any]:
        """Model, response format and parameters of a stage's requests, in the order in which they are sent."""
        ...

    def fitted(self, body: dict[str, Any], expects: int) -> dict[str, Any]:
        """`body` fitted to a request whose answer has to have `expects` rows (0: any number), before it is sent."""
        ...

    def probe(self, body: dict[str, Any]) -> None:
        """Find out with one cheap request whether `body` would be refused."""
        ...

    def upload(self, path: Path) -> str:
        """The id of the uploaded file."""
        ...

    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        """Make a batch of an uploaded file, once. Raises UnsettledError where it may or may not have been made."""
        ...

    def find(self, file_id: str) -> BatchInfo | None:
        """The batch that was made of an uploaded file, if the provider knows of one."""
        ...

    def status(self, batch_id: str) -> BatchInfo:
        """How a batch is doing. Raises UnknownBatchError where the provider does not know it."""
        ...

    def cancel(self, batch_id: str) -> BatchInfo:
        """Ask for the end of a batch; what it has answered is kept. One that has ended is told as it is."""
        ...

    def size(self, file_id: str) -> int:
        """Bytes of a file that the provider keeps. Raises UnknownBatchError where there is none of that id."""
        ...

    def delete(self, file_id: str) -> None:
        """Delete a file there."""
        ...

    def list(self) -> Iterator[BatchInfo]:
        """All batches that this key can see, newest first."""
        ...

    def download(self, file_id: str, path: Path) -> None:
        """Bring a file of results to `path`, whole or not at all."""
        ...

    def work(self, batch_id: str) -> None:
        """Answer the batch here and now, if this provider answers here; otherwise nothing."""
        ...
