"""The OpenAI Batch API, and every server that implements it. The only module that imports the client library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx2
import openai
from openai import OpenAI
from openai.pagination import SyncCursorPage
from openai.types import Batch

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.config import OPENAI_URL, Config
from pipeline.errors import ConfigError, ProviderError, UnknownBatchError, UnreachableError, UnsettledError
from pipeline.files import replacing
from pipeline.providers.base import BatchInfo, BatchProvider, Prompt
from pipeline.providers.openai_format import BUDGETS, ChatRequests, outcome_of
from pipeline.records import Outcome, storable
from pipeline.workspace import Workspace

RETRY_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0)  # seconds between attempts
PROBE_WAITS = RETRY_WAITS[:3]
LIST_WAITS = RETRY_WAITS[:4]  # a list may be a few seconds behind
CHAT_WAITS = RETRY_WAITS[:3]
LONGEST_WAIT = 120.0  # seconds that a server may ask for with Retry-After
CREATE_TIMEOUT = 60.0  # seconds; then the list of batches shows whether the batch was created
PROBE_TOKENS = 16  # the smallest limit that all models accept
BLOCK = 1 << 20  # bytes of a download that are written at a time
LATEST_TIME = 10**11  # seconds; a larger value is not a time in seconds
# What the client raises if something other than the API answers: a login page, or incomplete JSON.
UNEXPECTED_REPLY = (AttributeError, TypeError, ValueError)
Result = TypeVar("Result")


def make_client(config: Config, max_retries: int = len(RETRY_WAITS)) -> OpenAI:
    """The official client with the key and the server of the settings. Raises ConfigError without a key."""
    if config.openai_api_key is None:
        raise ConfigError(
            "OPENAI_API_KEY is not set: put it in .env (copy .env.example), or set PROVIDER: local in config.yaml to "
            "try everything without a key."
        )
    return OpenAI(api_key=config.openai_api_key, base_url=config.openai_base_url, max_retries=max_retries)


def list_batches(client: OpenAI) -> list[dict[str, Any]]:
    """All batches of the key, newest first: id, status, created (Unix seconds), done, total, failed (None: unknown).

    For notebooks; no command uses it.
    """
    fields = ("id", "status", "created", "done", "total", "failed")
    infos = (_info(batch) for batch in client.batches.list(limit=100))
    return [{name: getattr(info, name) for name in fields} for info in infos]


class OpenAIProvider(BatchProvider):
    """Batches over HTTP. Calls are retried here rather than in the client, which would sleep on its own clock."""

    kind = "openai"

    def __init__(self, config: Config, workspace: Workspace, clock: Clock = SYSTEM_CLOCK) -> None:
        self.base_url = config.openai_base_url
        self._config, self._clock = config, clock

    @cached_property
    def _client(self) -> OpenAI:
        return make_client(self._config, max_retries=0)

    def check_ready(self) -> None:
        """Raises ConfigError without a key."""
        _ = self._client

    def close(self) -> None:
        if "_client" in self.__dict__:  # it was created
            self._client.close()

    def request_format(self, prompt: Prompt) -> ChatRequests:
        model = self._config.model_for(prompt.process)
        return ChatRequests(prompt, model, self._config.batch_endpoint, self._config.params_for(model))

    def read_row(self, row: Mapping[str, Any]) -> tuple[object, Outcome]:
        return row.get("custom_id"), outcome_of(row)

    def probe(self, body: dict[str, Any]) -> None:
        """One synchronous request for a few tokens. The answer is discarded. Servers without this route pass."""
        small = body | {name: PROBE_TOKENS for name in BUDGETS if name in body}

        def post() -> object:
            return self._client.post("/chat/completions", body=small, cast_to=object)

        try:
            _with_retries(post, PROBE_WAITS, self._clock)
        except openai.APIStatusError as error:
            no_such_route = error.status_code in (404, 405, 501) and error.code != "model_not_found"
            temporary = _is_temporary(error) and error.status_code != 409
            if not (no_such_route or temporary):
                raise self._translated(error) from None
        except openai.OpenAIError as error:
            raise self._translated(error) from None

    def upload(self, path: Path) -> str:
        purpose = cast(Any, self._config.file_purpose)
        return str(self._call(lambda: self._client.files.create(file=path, purpose=purpose).id))

    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        """A repeated create would be a second batch and a second bill.

        So it is repeated only after replies that say "not now". After any other failure the provider's list decides.
        """
        for wait in RETRY_WAITS:
            try:
                return self._create_once(file_id, metadata)
            except openai.APIStatusError as error:
                refusal = error
                if _may_have_created(error):
                    return self._find_created(file_id, error)
                if not _not_now(error):
                    raise self._translated(error) from None
            except (openai.APIConnectionError, *UNEXPECTED_REPLY) as error:
                return self._find_created(file_id, error)
            self._clock.sleep(max(wait, _retry_after(refusal)))
        raise self._translated(refusal)

    def _create_once(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        batch = self._client.with_options(timeout=CREATE_TIMEOUT).batches.create(
            input_file_id=file_id,
            endpoint=cast(Any, self._config.batch_endpoint),
            completion_window=cast(Any, self._config.completion_window),
            metadata=metadata,
        )
        return _info(batch)

    def _find_created(self, file_id: str, doubt: Exception) -> BatchInfo:
        """The batch of an uploaded file, after it became unclear whether there is one. Raises UnsettledError."""
        for wait in LIST_WAITS:
            self._clock.sleep(wait)
            try:
                created = self.find(file_id)
            except ProviderError:
                continue
            if created:
                return created
        raise UnsettledError(str(self._translated(doubt)))

    def find(self, file_id: str) -> BatchInfo | None:
        return next((info for info in self.list() if info.input_file_id == file_id), None)

    def status(self, batch_id: str) -> BatchInfo:
        return self._call(lambda: _info(self._client.batches.retrieve(batch_id)), self._unknown(batch_id))

    def _unknown(self, batch_id: str) -> UnknownBatchError:
        return UnknownBatchError(
            f"{self.base_url} does not know batch {batch_id}. Nothing was changed: check the id, OPENAI_API_KEY and "
            "OPENAI_BASE_URL, which may belong to another project."
        )

    def cancel(self, batch_id: str) -> BatchInfo:
        try:
            # Not repeated after a 409, which says that the batch has ended or is about to.
            return _info(self._client.batches.cancel(batch_id))
        except (openai.ConflictError, openai.BadRequestError):
            return self.status(batch_id)
        except openai.NotFoundError:
            raise self._unknown(batch_id) from None
        except (openai.OpenAIError, *UNEXPECTED_REPLY) as error:
            raise self._translated(error) from None

    def size(self, file_id: str) -> int:
        unknown = UnknownBatchError(f"{self.base_url} does not know file {file_id}.")
        return int(self._call(lambda: self._client.files.retrieve(file_id).bytes, unknown))

    def delete(self, file_id: str) -> None:
        self._call(lambda: self._client.files.delete(file_id))

    def list(self) -> Iterator[BatchInfo]:
        get_page: Callable[[], SyncCursorPage[Batch]] | None = partial(self._client.batches.list, limit=100)
        while get_page:
            # A page is complete before the first batch is used, so that an error cannot look like the end of the list.
            infos, get_page = self._call(partial(_read_page, get_page))
            yield from infos

    def download(self, file_id: str, path: Path) -> None:
        """A connection that breaks in the middle starts the download again."""
        gone = UnknownBatchError(f"{self.base_url} does not have the result file {file_id} any more.")

        def once() -> None:
            with self._client.files.with_streaming_response.content(file_id) as response, replacing(path, True) as file:
                for block in response.iter_bytes(BLOCK):
                    file.write(block)

        self._call(once, gone)

    def _call(self, function: Callable[[], Result], unknown: ProviderError | None = None) -> Result:
        """Call the server, with retries. Errors are raised as ours; `unknown` is raised for a 404."""
        try:
            return _with_retries(function, RETRY_WAITS, self._clock)
        except openai.NotFoundError as error:
            raise unknown or self._translated(error) from None
        except (httpx2.HTTPError, openai.OpenAIError, *UNEXPECTED_REPLY) as error:
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> ProviderError:
        """The client's error as ours, without the key."""
        text, key = _sentence(error, self.base_url), self._config.openai_api_key
        kind = UnreachableError if _is_temporary(error) else ProviderError
        return kind(storable(text.replace(key, "***") if key else text))


@contextmanager
def chat_completer(base_url: str, clock: Clock) -> Iterator[Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]]:
    """A function that posts a chat completion to a server of the user's own: body -> (HTTP status, reply).

    OPENAI_API_KEY is not sent there. The function raises ProviderError if the server does not respond.
    """
    client = OpenAI(api_key="none", base_url=base_url, max_retries=0)

    def complete(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        def post() -> object:
            return client.post("/chat/completions", body=body, cast_to=object)

        try:
            return 200, cast("dict[str, Any]", _with_retries(post, CHAT_WAITS, clock))
        except openai.APIStatusError as error:
            return error.status_code, {"error": error.body or {"message": error.message}}
        except openai.OpenAIError as error:
            raise ProviderError(_sentence(error, base_url).replace("OPENAI_BASE_URL", "LOCAL_BASE_URL")) from None

    with client:
        yield complete


def _with_retries(function: Callable[[], Result], waits: Sequence[float], clock: Clock) -> Result:
    """The result of `function`, which is repeated after temporary errors. Raises the last one."""
    for wait in waits:
        try:
            return function()
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            if not _is_temporary(error):
                raise
            clock.sleep(max(wait, _retry_after(error)))
    return function()


def _is_temporary(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, openai.APIStatusError):
        busy = error.status_code in (408, 409, 429) or error.status_code >= 500
        return busy and error.code != "insufficient_quota"
    return isinstance(error, openai.APIConnectionError | httpx2.HTTPError)


def _may_have_created(error: openai.APIStatusError) -> bool:
    """Whether the server, or a proxy before it, may have created the batch nevertheless.

    A 503 in the API's own format is a refusal. A proxy's 503 says nothing about the server behind it.
    """
    if error.status_code == 503:
        return not (isinstance(error.body, dict) and error.body.get("message"))
    return error.status_code >= 500 or error.status_code in (408, 409)


def _not_now(error: openai.APIStatusError) -> bool:
    """Whether the batch was certainly not created, and creating it may succeed in a few seconds."""
    if error.status_code in (429, 503):
        return error.code != "insufficient_quota"
    said = str(error.message).lower()
    # A file that was just uploaded may not be known everywhere yet.
    return error.status_code in (400, 404) and "find" in said and "file" in said


def _retry_after(error: Exception) -> float:
    """Seconds that the server asks to wait. Only numbers are understood, not dates."""
    if not isinstance(error, openai.APIStatusError):
        return 0.0
    value = error.response.headers.get("retry-after", "")
    return min(float(value), LONGEST_WAIT) if value.replace(".", "", 1).isdecimal() else 0.0


def _read_page(
    get_page: Callable[[], SyncCursorPage[Batch]],
) -> tuple[list[BatchInfo], Callable[[], SyncCursorPage[Batch]] | None]:
    """(the batches on a page of the list, how to get the next page)."""
    page = get_page()
    return [_info(batch) for batch in page.data], page.get_next_page if page.has_next_page() else None


def _info(batch: Batch) -> BatchInfo:
    """Some servers write statuses in upper case, and omit or null what the official API always has."""
    counts = batch.request_counts
    status = str(batch.status).lower()
    problems = (batch.errors.data if batch.errors else None) or []
    messages = (": ".join(str(part) for part in (e.code, e.message) if part) for e in problems)
    message = "; ".join(filter(None, messages))
    return BatchInfo(
        id=batch.id,
        status=status,
        created=_time(batch.created_at),
        since=_time(getattr(batch, f"{status}_at", None)) or _time(batch.created_at),
        expires=_time(batch.expires_at),
        total=_count(counts and counts.total),
        done=_count(counts and counts.completed),
        failed=_count(counts and counts.failed),
        input_file_id=batch.input_file_id,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        message=storable(message) if message else None,
    )


def _time(value: object) -> int | None:
    """Seconds (Unix). Some servers write dates as text; these are ignored."""
    return int(value) if isinstance(value, int | float) and 0 < value < LATEST_TIME else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _sentence(error: Exception, base_url: str) -> str:
    """What went wrong and what to do about it."""
    if isinstance(error, UNEXPECTED_REPLY):
        return f"{base_url} does not reply like the OpenAI API: check OPENAI_BASE_URL (it usually ends in /v1)."
    if isinstance(error, openai.AuthenticationError):
        return f"{base_url} refused the key: check OPENAI_API_KEY in .env or the environment."
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        return f"Cannot reach {base_url}: check the network and OPENAI_BASE_URL, then run the same command again."
    if not isinstance(error, openai.APIError):
        return f"The request to {base_url} failed: {error}"
    body = error.body if isinstance(error.body, dict) else {}
    said = " ".join(str(body.get("message") or error.message).split())[:300]
    if error.code == "model_not_found":
        return f"{base_url} does not serve the model: set another MODEL in config.yaml. It replied: {said}"
    if error.code == "insufficient_quota":
        return f"The account at {base_url} has no credit left: add credit, then run the same command again."
    if isinstance(error, openai.PermissionDeniedError):
        return f"{base_url} does not allow this key to do that: check the project's permissions. It replied: {said}"
    if isinstance(error, openai.BadRequestError):
        name = f"the parameter '{error.param}'" if error.param else "the request"
        setting = "COMPLETION_WINDOW" if error.param == "completion_window" else "REQUEST_PARAMS or MODEL"
        return f"{base_url} refused {name}: fix {setting} in config.yaml. It replied: {said}"
    name = "The OpenAI API" if base_url == OPENAI_URL else base_url
    return f"{name} failed ({said}): run the same command again later."
