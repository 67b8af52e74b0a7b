"""The OpenAI Batch API, and every server that implements it. Only here the client library is called."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httpx2
import openai
from openai import OpenAI
from openai.pagination import SyncCursorPage
from openai.types import Batch, FileObject
from tqdm import tqdm

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.config import OPENAI_URL, ROOT, Config
from pipeline.errors import (
    ConfigError,
    OddReplyError,
    ProviderError,
    UnknownBatchError,
    UnreachableError,
    UnsettledError,
)
from pipeline.files import replacing
from pipeline.network import is_untrusted, seconds_to_wait, setup_problem, unreachable, unsendable, without_key
from pipeline.notice import noticed
from pipeline.providers.base import BatchInfo, BatchProvider, Prompt
from pipeline.providers.openai_format import BUDGETS, ChatRequests, outcome_of
from pipeline.providers.openai_replies import UnexpectedReplyError, batch_info, count_in, with_id
from pipeline.records import Outcome, storable
from pipeline.workspace import Workspace

RETRY_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0)  # seconds between attempts
PROBE_WAITS = RETRY_WAITS[:3]
LIST_WAITS = RETRY_WAITS[:4]  # a list may be a few seconds behind
CREATE_TIMEOUT = 60.0  # seconds; then the list of batches shows whether the batch was created
SILENCE = httpx2.Timeout(60.0, connect=15.0)  # seconds without a byte from the server
UPLOAD_SILENCE = httpx2.Timeout(300.0, connect=15.0)  # some servers read the whole file before they reply
MAX_TIMEOUTS = 2  # a server that was silent twice is not asked again
NOTICE_AFTER = 20.0  # seconds; then the user is shown what is waited for
FILE_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # seconds between looks at a file that the server still reads
MAX_PAGES = 10_000  # of the list of batches
PROBE_TOKENS = 16  # the smallest limit that all models accept
_FILE_NOT_READY = re.compile(r"find.*file|file.*(?:pending|not processed|not in the state|not ready)", re.I | re.S)
# What a test request with few tokens is short of, and a batch is not.
_TOO_FEW_TOKENS = re.compile(
    r"(?:max_(?:completion_)?tokens|output limit).*(?:reached|exceeded|too (?:low|small))", re.I
)
BLOCK = 1 << 20  # bytes of a download that are written at a time
# What the client raises if something other than the API answers: a login page, or incomplete JSON.
UNEXPECTED_REPLY = (AttributeError, TypeError, ValueError, RecursionError, OverflowError)
CLIENT_VARIABLES = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")  # the client sends them in headers
SHUTDOWN_TIMEOUT = 10.0  # seconds
Result = TypeVar("Result")


def make_client(config: Config, max_retries: int = len(RETRY_WAITS)) -> OpenAI:
    """The official client with the key and the server of the settings.

    Raises ConfigError without a key, and if the proxy or the certificates that the environment names cannot be used.
    """
    if config.openai_api_key is None:
        file = ".env" if config.folder == ROOT else config.folder / ".env"
        raise ConfigError(
            f"OPENAI_API_KEY is not set: put it in {file} (copy .env.example), or set PROVIDER: local in config.yaml "
            "to try everything without a key."
        )
    for name in CLIENT_VARIABLES:
        if problem := unsendable(os.environ.get(name, "")):
            raise ConfigError(f"The value of {name} (from environment) is invalid: {problem.replace('key', 'id')}.")
    if not os.environ.get("OPENAI_CUSTOM_HEADERS", "").isascii():
        raise ConfigError("OPENAI_CUSTOM_HEADERS contains characters that are not ASCII: correct it, or unset it.")
    return _new_client(config.openai_api_key, config.openai_base_url, max_retries)


def _new_client(key: str, base_url: str, max_retries: int) -> OpenAI:
    try:
        return OpenAI(api_key=key, base_url=base_url, max_retries=max_retries, timeout=SILENCE)
    except (OSError, ImportError, ValueError, httpx2.InvalidURL) as error:
        raise setup_problem(error, base_url) from None


def list_batches(client: OpenAI) -> list[dict[str, Any]]:
    """All batches of the key, newest first: id, status, created (Unix seconds), done, total, failed (None: unknown).

    For notebooks; no command uses it.
    """
    fields = ("id", "status", "created", "done", "total", "failed")
    infos = (info for page in _pages(client, lambda get_page: get_page()) for info in page)
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
        outcome = outcome_of(row)
        if outcome.message:
            outcome.message = without_key(outcome.message, self._config.openai_api_key or "")
        return row.get("custom_id"), outcome

    def probe(self, body: dict[str, Any]) -> str | None:
        """One synchronous request for a few tokens. The answer is discarded. Servers without this route pass."""
        doubt = self._test_request(body)
        if not urlsplit(self.base_url).path:
            # It usually lacks its /v1. That should be found before anything is planned for this server.
            self._call(lambda: self._client.batches.list(limit=1).data, "the list of batches")
        return doubt

    def _test_request(self, body: dict[str, Any]) -> str | None:
        budgets = [name for name in BUDGETS if name in body] or BUDGETS[:1]  # never a complete answer
        small = body | dict.fromkeys(budgets, PROBE_TOKENS)

        def post() -> object:
            return self._client.post("/chat/completions", body=small, cast_to=object)

        try:
            with self._noticed("a test request"):
                _with_retries(post, PROBE_WAITS, self._clock)
        except openai.AuthenticationError as error:
            raise self._translated(error) from None
        except openai.APIStatusError as error:
            no_such_route = error.status_code in (404, 405, 501) and error.code != "model_not_found"
            if no_such_route or _is_temporary(error) or _TOO_FEW_TOKENS.search(str(error.message)):
                return None
            if error.code == "insufficient_quota" or (error.code == "model_not_found" and self._lacks(body["model"])):
                raise self._translated(error) from None
            return str(self._translated(error))
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise self._translated(error) from None
        except (openai.OpenAIError, *UNEXPECTED_REPLY) as error:
            return str(self._translated(error))
        return None

    def _lacks(self, model: str) -> bool:
        """Whether the server says that it has no such model at all. Some have models for batches only."""
        try:
            self._client.models.retrieve(model)
        except openai.NotFoundError as error:
            return error.code == "model_not_found"
        except (httpx2.HTTPError, openai.OpenAIError, *UNEXPECTED_REPLY):
            return False
        return False

    def shutdown_date(self, model: str) -> date | None:
        """Servers need not have this route, and it is only needed for a warning. So one call, and no error."""
        client = self._client.with_options(timeout=SHUTDOWN_TIMEOUT)
        try:
            return date.fromisoformat(str(client.models.retrieve(model).shutdown_date)[:10])
        except (httpx2.HTTPError, openai.OpenAIError, *UNEXPECTED_REPLY):
            return None

    def upload(self, path: Path) -> str:
        purpose = cast(Any, self._config.file_purpose)
        client = self._client.with_options(timeout=UPLOAD_SILENCE)

        def once() -> FileObject:
            return with_id(client.files.create(file=path, purpose=purpose), self.base_url)

        file = self._call(once, f"the upload of {path.name}")
        self._wait_until_read(file)
        return file.id

    def _wait_until_read(self, file: FileObject) -> None:
        """Some providers read an uploaded file first, and refuse a batch of it until then."""
        for wait in FILE_WAITS:
            if str(file.status).lower() not in ("pending", "running", "uploading"):
                return
            self._clock.sleep(wait)
            try:
                file = self._call(partial(self._file, file.id), f"the uploaded file {file.id}")
            except ProviderError:
                return  # the create will show whether it is ready

    def _file(self, file_id: str) -> FileObject:
        return with_id(self._client.files.retrieve(file_id), self.base_url, file_id)

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
        body = {
            "input_file_id": file_id,
            "endpoint": self._config.batch_endpoint,
            "completion_window": self._config.completion_window,
            "metadata": metadata,
        }
        # A redirect is not followed: an error of the page that it leads to says nothing about the batch.
        options: Any = {"follow_redirects": False, "timeout": CREATE_TIMEOUT}
        info = self._info(self._client.post("/batches", body=body, cast_to=Batch, options=options))
        if info.input_file_id not in (None, file_id):
            raise UnexpectedReplyError(f"the reply is about {info.input_file_id}")
        return info

    def _info(self, batch: Batch, batch_id: str | None = None) -> BatchInfo:
        info = batch_info(with_id(batch, self.base_url, batch_id))
        return replace(info, message=without_key(info.message or "", self._config.openai_api_key or "") or None)

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
        def once() -> BatchInfo:
            return self._info(self._client.batches.retrieve(batch_id), batch_id)

        return self._call(once, f"the status of {batch_id}", self._unknown(batch_id))

    def _unknown(self, batch_id: str) -> UnknownBatchError:
        return UnknownBatchError(
            f"{self.base_url} does not know batch {batch_id}. Nothing was changed: check the id, OPENAI_API_KEY and "
            "OPENAI_BASE_URL, which may belong to another project."
        )

    def cancel(self, batch_id: str) -> BatchInfo:
        try:
            # Not repeated after a 409, which says that the batch has ended or is about to.
            return self._info(self._client.batches.cancel(batch_id), batch_id)
        except (openai.ConflictError, openai.BadRequestError):
            return self.status(batch_id)
        except openai.NotFoundError:
            raise self._unknown(batch_id) from None
        except (openai.OpenAIError, *UNEXPECTED_REPLY) as error:
            raise self._translated(error) from None

    def size(self, file_id: str) -> int | None:
        unknown = UnknownBatchError(f"{self.base_url} does not know file {file_id}.")

        def once() -> int | None:
            return count_in(self._file(file_id).bytes)

        return self._call(once, f"the size of {file_id}", unknown)

    def delete(self, file_id: str) -> None:
        def once() -> None:
            if self._client.files.delete(file_id).deleted is not True:
                raise UnexpectedReplyError("the file was not deleted")

        unknown = UnknownBatchError(f"{self.base_url} does not know file {file_id}.")
        self._call(once, f"deleting {file_id}", unknown)

    def list(self) -> Iterator[BatchInfo]:
        # A page is complete before the first batch is used, so that an error cannot look like the end of the list.
        for page in _pages(self._client, lambda get_page: self._call(get_page, "the list of batches")):
            yield from page

    def download(self, file_id: str, path: Path) -> None:
        """A connection that breaks in the middle starts the download again."""
        gone = UnknownBatchError(f"{self.base_url} does not have the result file {file_id} any more.")

        def once() -> None:
            with (
                self._client.files.with_streaming_response.content(file_id) as response,
                replacing(path, True) as file,
                tqdm(desc=f"Downloading {file_id}", unit="B", unit_scale=True, leave=False, disable=None) as bar,
            ):
                for block in response.iter_bytes(BLOCK):
                    file.write(block)
                    bar.update(len(block))

        self._call(once, f"the download of {file_id}", gone)

    def _call(self, function: Callable[[], Result], what: str, unknown: ProviderError | None = None) -> Result:
        """Call the server, with retries. `what`: what the user is shown after a while.

        Errors are raised as ours. `unknown` is raised for a 404. With it, the call is about one batch or file, so any
        other strange reply is an OddReplyError: it says nothing about the other batches.
        """
        try:
            with self._noticed(what):
                return _with_retries(function, RETRY_WAITS, self._clock)
        except openai.NotFoundError as error:
            is_from_api = isinstance(error.body, dict)  # a proxy's page knows nothing about batches
            raise (unknown if unknown and is_from_api else self._about(what, error, unknown)) from None
        except (httpx2.HTTPError, openai.OpenAIError, *UNEXPECTED_REPLY) as error:
            raise self._about(what, error, unknown) from None

    def _about(self, what: str, error: Exception, unknown: ProviderError | None) -> ProviderError:
        translated = self._translated(error)
        if unknown is None or isinstance(translated, UnreachableError) or isinstance(error, openai.AuthenticationError):
            return translated
        return OddReplyError(f"The reply about {what} cannot be used. {translated}")

    def _noticed(self, what: str) -> AbstractContextManager[None]:
        return noticed(f"Still waiting for {self.base_url}: {what}.", NOTICE_AFTER)

    def _translated(self, error: Exception) -> ProviderError:
        """The client's error as ours, without the key."""
        kind = UnreachableError if _is_temporary(error) else ProviderError
        return kind(storable(_sentence(error, self.base_url, self._config.openai_api_key or "")))


def _with_retries(function: Callable[[], Result], waits: Sequence[float], clock: Clock) -> Result:
    """The result of `function`, which is repeated after temporary errors. Raises the last one."""
    timeouts = 0
    for wait in waits:
        try:
            return function()
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            timeouts += isinstance(error, openai.APITimeoutError | httpx2.TimeoutException)
            if not _is_temporary(error) or timeouts >= MAX_TIMEOUTS:
                raise
            clock.sleep(max(wait, _retry_after(error)))
    return function()


def _is_temporary(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, openai.APIStatusError):
        busy = error.status_code in (408, 409, 429) or error.status_code >= 500
        return busy and error.code != "insufficient_quota"
    return isinstance(error, openai.APIConnectionError | httpx2.HTTPError) and not is_untrusted(error)


def _may_have_created(error: openai.APIStatusError) -> bool:
    """Whether the server, or a proxy before it, may have created the batch nevertheless.

    A 503 in the API's own format is a refusal. A proxy's 503 says nothing about the server behind it.
    """
    if error.status_code == 503:
        return not (isinstance(error.body, dict) and error.body.get("message"))
    not_handled = (307, 308)  # the same request should be sent elsewhere
    redirected = 300 <= error.status_code < 400 and error.status_code not in not_handled
    return redirected or error.status_code >= 500 or error.status_code in (408, 409)


def _not_now(error: openai.APIStatusError) -> bool:
    """Whether the batch was certainly not created, and creating it may succeed in a few seconds."""
    if error.status_code in (429, 503):
        return error.code != "insufficient_quota"
    # A file that was just uploaded may not be known everywhere yet, or is still being read.
    return error.status_code in (400, 404) and bool(_FILE_NOT_READY.search(str(error.message)))


def _retry_after(error: Exception) -> float:
    """Seconds that the server asks to wait."""
    return seconds_to_wait(error.response.headers) if isinstance(error, openai.APIStatusError) else 0.0


_Page = tuple[list[BatchInfo], Callable[[], SyncCursorPage[Batch]] | None]


def _pages(client: OpenAI, call: Callable[[Callable[[], _Page]], _Page]) -> Iterator[list[BatchInfo]]:
    """The pages of the list of batches, each fetched through `call`.

    Some lists say that there is more for ever, so a page without a batch that is new is the last one.
    """
    seen: set[str] = set()
    get_page: Callable[[], SyncCursorPage[Batch]] | None = partial(client.batches.list, limit=100)
    for _ in range(MAX_PAGES):
        if get_page is None:
            return
        infos, get_page = call(partial(_read_page, get_page))
        new = [info for info in infos if info.id not in seen]
        if not new:
            return
        seen.update(info.id for info in new)
        yield new


def _read_page(get_page: Callable[[], SyncCursorPage[Batch]]) -> _Page:
    """(the batches on a page of the list, how to get the next page)."""
    page = get_page()
    if not isinstance(page.data, list):
        raise UnexpectedReplyError("the reply is not a list of batches")
    infos = [batch_info(with_id(batch, "")) for batch in page.data]
    return infos, page.get_next_page if page.has_next_page() else None


def _sentence(error: Exception, base_url: str, key: str = "") -> str:
    """What went wrong and what to do about it. `key` is hidden in what the server said."""
    lacks_path = not urlsplit(base_url).path
    no_such_route = isinstance(error, openai.NotFoundError) and error.code != "model_not_found"
    if isinstance(error, UNEXPECTED_REPLY) or (no_such_route and lacks_path):
        advice = "check OPENAI_BASE_URL (it usually ends in /v1)"
        if lacks_path:
            advice = f"its URL usually ends in /v1: set OPENAI_BASE_URL to {base_url}/v1"
        return f"{base_url} does not reply like the OpenAI API: {advice}."
    if isinstance(error, openai.AuthenticationError):
        return f"{base_url} refused the key: check OPENAI_API_KEY in .env or the environment."
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        return unreachable(error, base_url)
    if not isinstance(error, openai.APIError):
        return f"The request to {base_url} failed: {without_key(str(error), key)}"
    body = error.body if isinstance(error.body, dict) else {}
    said = without_key(" ".join(str(body.get("message") or error.message).split()), key)[:300]
    if error.code == "model_not_found":
        return f"{base_url} does not serve the model: set another MODEL in config.yaml. It replied: {said}"
    if error.code == "insufficient_quota":
        return f"The account at {base_url} has no credit left: add credit, then run the same command again."
    if isinstance(error, openai.PermissionDeniedError):
        return f"{base_url} does not allow this key to do that: check the project's permissions. It replied: {said}"
    if isinstance(error, openai.BadRequestError):
        name = f"the parameter '{without_key(str(error.param), key)}'" if error.param else "the request"
        setting = "COMPLETION_WINDOW" if error.param == "completion_window" else "REQUEST_PARAMS or MODEL"
        return f"{base_url} refused {name}: fix {setting} in config.yaml. It replied: {said}"
    name = "The OpenAI API" if base_url == OPENAI_URL else base_url
    return f"{name} failed ({said}): run the same command again later."
