"""The OpenAI Batch API, and every server that speaks it. The only place that knows the client library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx2
import openai
from openai import OpenAI
from openai.types import Batch

from pipeline.config import OPENAI_URL, Config
from pipeline.errors import ConfigError, ProviderError, UnknownBatchError, UnreachableError, UnsettledError
from pipeline.providers.base import BatchInfo
from pipeline.records import storable
from pipeline.workspace import replacing

RETRIES = 8  # of calls that may safely be repeated; the client waits 0.5 s, 1 s, … 8 s between them
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0)  # seconds between tries of a create
LONGEST_WAIT = 120.0  # seconds that a server may ask for with Retry-After
CREATE_TIMEOUT = 60.0  # seconds: after that the list is asked whether the batch was made
LAST_MOMENT = 10**11  # seconds; what is larger is none
# What the client raises where something else than the API answers: a login page, half a JSON text
NO_ANSWER = (AttributeError, TypeError, ValueError)
PROBE_RETRIES = 3
PROBE_TOKENS = 16  # the least that all models accept
Result = TypeVar("Result")


def make_client(config: Config) -> OpenAI:
    """The official client with this project's key and server. Raises ConfigError without a key."""
    if config.openai_api_key is None:
        raise ConfigError(
            "There is no OPENAI_API_KEY: put it in .env (copy .env.example), or set PROVIDER: local in config.yaml "
            "to try everything without a key."
        )
    return OpenAI(
        api_key=config.openai_api_key.get_secret_value(), base_url=config.openai_base_url, max_retries=RETRIES
    )


def list_batches(client: OpenAI) -> list[dict[str, Any]]:
    """All batches of the key, newest first: id, status, created (Unix seconds), done, total, failed (None: unknown)."""
    rows = (_info(batch) for batch in client.batches.list(limit=100))
    fields = ("id", "status", "created", "done", "total", "failed")
    return [{name: getattr(row, name) for name in fields} for row in rows]


class OpenAIProvider:
    """Batches over HTTP."""

    kind = "openai"

    def __init__(self, config: Config) -> None:
        self.base_url = config.openai_base_url
        self._config = config
        self._key = config.openai_api_key.get_secret_value() if config.openai_api_key else ""

    @cached_property
    def _client(self) -> OpenAI:
        return make_client(self._config)

    def ready(self) -> None:
        """Raises ConfigError without a key."""
        _ = self._client

    def body(self, process: str, response_format: dict[str, Any]) -> dict[str, Any]:
        model = self._config.model_for(process)
        return {"model": model, "response_format": response_format, **self._config.params_for(model)}

    def fitted(self, body: dict[str, Any], expects: int) -> dict[str, Any]:
        """One schema for all requests: cheaper to prepare for a provider than one per page."""
        return body

    def probe(self, body: dict[str, Any]) -> None:
        """One synchronous request for a few tokens, its answer discarded. Servers without that route pass."""
        small = body | {name: PROBE_TOKENS for name in ("max_completion_tokens", "max_tokens") if name in body}
        try:
            client = self._client.with_options(max_retries=PROBE_RETRIES)
            client.post("/chat/completions", body=small, cast_to=object)
        except openai.NotFoundError as error:
            if error.code == "model_not_found":
                raise self._told(error) from None
        except (openai.RateLimitError, openai.InternalServerError) as error:
            if error.code == "insufficient_quota":
                raise self._told(error) from None  # anything else of these passes by itself
        except openai.APIStatusError as error:
            if error.status_code not in (405, 501):
                raise self._told(error) from None
        except openai.OpenAIError as error:
            raise self._told(error) from None

    def upload(self, path: Path) -> str:
        purpose = cast(Any, self._config.file_purpose)
        return str(self._call(lambda: self._client.files.create(file=path, purpose=purpose).id))

    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        """The client's own retries are off: a repeated create is a second batch and a second bill.

        Only answers that say "not now" are followed by another try; after any other doubt the provider's list decides.
        """
        for wait in WAITS:
            try:
                return self._create_once(file_id, metadata)
            except openai.APIConnectionError as error:
                return self._made_after_all(file_id, error)
            except openai.APIStatusError as error:
                refusal = error
                if _in_doubt(error):
                    return self._made_after_all(file_id, error)
                if not _not_now(error):
                    raise self._told(error) from None
            except NO_ANSWER as error:
                return self._made_after_all(file_id, error)
            time.sleep(max(wait, _retry_after(refusal)))
        raise self._told(refusal)

    def _made_after_all(self, file_id: str, doubt: Exception) -> BatchInfo:
        for wait in WAITS[:4]:  # a list may lag some seconds behind
            time.sleep(wait)
            try:
                made = self.find(file_id)
            except ProviderError:
                continue
            if made:
                return made
        raise UnsettledError(str(self._told(doubt)))

    def _create_once(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        client = self._client.with_options(max_retries=0, timeout=CREATE_TIMEOUT)
        batch = client.batches.create(
            input_file_id=file_id,
            endpoint=cast(Any, self._config.batch_endpoint),
            completion_window=cast(Any, self._config.completion_window),
            metadata=metadata,
        )
        return _info(batch)

    def find(self, file_id: str) -> BatchInfo | None:
        return next((info for info in self.list() if info.input_file_id == file_id), None)

    def status(self, batch_id: str) -> BatchInfo:
        return self._call(lambda: _info(self._client.batches.retrieve(batch_id)), self._unknown(batch_id))

    def _unknown(self, batch_id: str) -> UnknownBatchError:
        return UnknownBatchError(
            f"{self.base_url} does not know batch {batch_id}, which was sent from here: OPENAI_API_KEY or "
            "OPENAI_BASE_URL is probably that of another project. Nothing was changed. If the batch is gone for good, "
            f"python batch_status.py --resolve {batch_id} lost  asks its requests again."
        )

    def cancel(self, batch_id: str) -> BatchInfo:
        def cancelled() -> BatchInfo:
            try:
                client = self._client.with_options(max_retries=0)  # it would repeat what a 409 has answered
                return _info(client.batches.cancel(batch_id))
            except (openai.ConflictError, openai.BadRequestError):
                return self.status(batch_id)  # it has ended, or is about to

        return self._call(cancelled, self._unknown(batch_id))

    def size(self, file_id: str) -> int:
        unknown = UnknownBatchError(f"{self.base_url} does not know file {file_id}.")
        return int(self._call(lambda: self._client.files.retrieve(file_id).bytes, unknown))

    def delete(self, file_id: str) -> None:
        self._call(lambda: self._client.files.delete(file_id))

    def list(self) -> Iterator[BatchInfo]:
        pages = iter(self._client.batches.list(limit=100))
        while True:
            info = self._call(lambda: next((_info(batch) for batch in pages), None))
            if info is None:
                return
            yield info

    def download(self, file_id: str, path: Path) -> None:
        """A connection that breaks in the middle is another try: the client repeats only what has not begun."""
        gone = UnknownBatchError(
            f"{self.base_url} has no file {file_id} (any more): if the results were saved elsewhere, bring them in"
            " with  retrieve_results.py --results FILE , else  batch_status.py --resolve ID lost  asks them again."
        )
        for wait in WAITS:
            try:
                return self._call(lambda: self._download_once(file_id, path), gone)
            except _Broken:
                time.sleep(wait)
        raise UnreachableError(
            f"{self.base_url} breaks off the download of {file_id}: run the same command again later."
        )

    def _download_once(self, file_id: str, path: Path) -> None:
        with self._client.files.with_streaming_response.content(file_id) as response, replacing(path, True) as file:
            for block in response.iter_bytes(1 << 20):
                file.write(block)

    def work(self, batch_id: str) -> None:
        """The batch is answered elsewhere."""

    def _call(self, function: Callable[[], Result], unknown: ProviderError | None = None) -> Result:
        """The result of a call to the server, or its failure in our terms; `unknown` is raised for a 404."""
        try:
            return function()
        except openai.NotFoundError as error:
            raise unknown or self._told(error) from None
        except httpx2.HTTPError:
            raise _Broken(_unreachable(self.base_url)) from None
        except (openai.OpenAIError, *NO_ANSWER) as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> ProviderError:
        passing = isinstance(error, openai.APIConnectionError) or (
            isinstance(error, openai.APIStatusError)
            and (error.status_code == 429 or error.status_code >= 500)
            and error.code != "insufficient_quota"
        )
        text = _sentence(error, self.base_url)
        kind = UnreachableError if passing else ProviderError
        return kind(storable(text.replace(self._key, "***") if self._key else text))


class _Broken(UnreachableError):
    """A download that broke off."""


def _info(batch: Batch) -> BatchInfo:
    """Some servers write statuses in capitals, and leave out or null what the official one always has."""
    counts = batch.request_counts
    status = str(batch.status).lower()
    problems = (batch.errors.data if batch.errors else None) or []
    message = (
        "; ".join(filter(None, (" ".join(str(part) for part in (e.code, e.message) if part) for e in problems))) or None
    )
    return BatchInfo(
        id=batch.id,
        status=status,
        created=_moment(batch.created_at),
        since=_moment(getattr(batch, f"{status}_at", None)) or _moment(batch.created_at),
        expires=_moment(batch.expires_at),
        total=_count(counts and counts.total),
        done=_count(counts and counts.completed),
        failed=_count(counts and counts.failed),
        input_file_id=batch.input_file_id,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        message=storable(message) if message else None,
    )


def _moment(told: object) -> int | None:
    """Seconds (Unix); some servers write dates as text, which are not read."""
    return int(told) if isinstance(told, int | float) and 0 < told < LAST_MOMENT else None


def _count(told: object) -> int | None:
    return told if isinstance(told, int) else None


def _in_doubt(error: openai.APIStatusError) -> bool:
    """Whether the server, or one before it, may have made the batch all the same.

    A 503 in the API's own words is a refusal; in those of a proxy it says nothing about what is behind it.
    """
    if error.status_code == 503:
        return not (isinstance(error.body, dict) and error.body.get("message"))
    return error.status_code >= 500 or error.status_code in (408, 409)


def _retry_after(error: openai.APIStatusError) -> float:
    """Seconds that the server asks to wait; other ways to say it than a number are not read."""
    told = error.response.headers.get("retry-after", "")
    return min(float(told), LONGEST_WAIT) if told.replace(".", "", 1).isdigit() else 0.0


def _unreachable(base_url: str) -> str:
    return f"{base_url} cannot be reached: check the network and OPENAI_BASE_URL, then run the same command again."


def _not_now(error: openai.APIStatusError) -> bool:
    """Whether the same create may well succeed in some seconds, and was certainly not carried out."""
    if error.status_code in (429, 503):
        return error.code != "insufficient_quota"
    said = str(error.message).lower()
    return (
        error.status_code in (400, 404) and "find" in said and "file" in said
    )  # just uploaded, not yet known everywhere


def _sentence(error: Exception, base_url: str) -> str:
    if isinstance(error, NO_ANSWER):
        return f"{base_url} does not answer as the API does: check OPENAI_BASE_URL (does it end in /v1?)."
    if isinstance(error, openai.AuthenticationError):
        return f"{base_url} refused the key: check OPENAI_API_KEY in .env."
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(base_url)
    if not isinstance(error, openai.APIError):
        return f"The request to {base_url} failed: {error}"
    said = _said(error)
    if error.code == "model_not_found":
        return f"{base_url} does not serve the model: set another MODEL in config.yaml. It said: {said}"
    if error.code == "insufficient_quota":
        return f"The account at {base_url} has no credit left: add some, then run the same command again."
    if isinstance(error, openai.PermissionDeniedError):
        return f"{base_url} does not allow this key to do that: check the project's rights. It said: {said}"
    if isinstance(error, openai.BadRequestError):
        name = f"the parameter '{error.param}'" if error.param else "the request"
        return f"{base_url} refused {name}: mend REQUEST_PARAMS or MODEL in config.yaml. It said: {said}"
    if base_url == OPENAI_URL:
        return f"The OpenAI API failed ({said}): run the same command again later."
    return f"{base_url} failed ({said}): run the same command again later."


def _said(error: openai.APIError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    text = str(body.get("message") or error.message)
    return " ".join(text.split())[:300]


def chat_completer(base_url: str) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
    """A function that posts a chat completion to a server of the user's own: body -> (HTTP status, answer).

    OPENAI_API_KEY is not sent there. The function raises ProviderError where nobody answers.
    """
    client = OpenAI(api_key="none", base_url=base_url, max_retries=3)

    def complete(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return 200, cast("dict[str, Any]", client.post("/chat/completions", body=body, cast_to=object))
        except openai.APIStatusError as error:
            return error.status_code, {"error": error.body or {"message": error.message}}
        except openai.OpenAIError as error:
            raise ProviderError(_sentence(error, base_url).replace("OPENAI_BASE_URL", "LOCAL_BASE_URL")) from None

    return complete
