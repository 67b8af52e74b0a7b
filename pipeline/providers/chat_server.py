"""Chat completions from a server of the user's own: LOCAL_BASE_URL."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

from pipeline.clock import Clock
from pipeline.errors import ProviderError, RequestError
from pipeline.network import is_untrusted, proxy_for, seconds_to_wait, setup_problem, unreachable, without_key
from pipeline.providers.openai_format import BUDGETS, error_in, status_of
from pipeline.records import storable

WAITS = (0.5, 1.0, 2.0)  # seconds between attempts
TIMEOUT = httpx2.Timeout(600, connect=5)  # seconds; a long answer takes minutes on a small machine
JSON = {"Content-Type": "application/json"}
SHOWN = 300  # characters of a reply in a message
NO_KEY = "none"  # sent without LOCAL_API_KEY, because some servers want any key
# Errors without a status that a server may not have a moment later.
_TEMPORARY_CODES = (
    "rate_limit_exceeded", "rate_limit_error", "overloaded_error", "service_unavailable", "server_error",
    "internal_error", "internal_server_error", "timeout",
)  # fmt: skip

Reply = tuple[int, dict[str, Any]]


@contextmanager
def chat_completer(base_url: str, key: str | None, clock: Clock) -> Iterator[Callable[[dict[str, Any]], Reply]]:
    """A function that posts a chat completion: body -> (HTTP status, reply). Temporary errors are repeated.

    It raises RequestError if the server gives a reply to a request without the page only, and ProviderError if it does
    not respond, refuses the key, or is not a chat server. OPENAI_API_KEY is not sent there.
    """
    key = (key or "").strip()
    with _client(base_url, key or NO_KEY) as client:
        yield _ChatServer(client, base_url, key, clock).complete


def without_page(body: dict[str, Any]) -> dict[str, Any]:
    """The same request with a word instead of the page, and with the shortest answer."""
    *before, page = body.get("messages") or [{"role": "user"}]
    small = {name: 1 for name in BUDGETS if name in body}
    return body | {"messages": [*before, page | {"content": "Hello"}], **small}


class _ChatServer:
    """`key`: empty if there is none."""

    def __init__(self, client: httpx2.Client, base_url: str, key: str, clock: Clock) -> None:
        self._client, self._base_url, self._key, self._clock = client, base_url, key, clock
        self._url = base_url.rstrip("/") + "/chat/completions"

    def complete(self, body: dict[str, Any]) -> Reply:
        try:
            return self._ask(body)
        except ProviderError as error:
            problem = str(error)
        # A firewall may block one page, and one page may take forever. Only this tells whether the server works.
        status, _ = self._ask(without_page(body))
        if _is_temporary(status):
            raise ProviderError(problem)
        raise RequestError(problem)

    def _ask(self, body: dict[str, Any]) -> Reply:
        """Raises ProviderError."""
        reply, problem = None, ""
        for wait in (*WAITS, None):
            asked_to_wait = 0.0
            try:
                response = self._client.post(self._url, content=json.dumps(body), headers=JSON)
            except httpx2.HTTPError as error:
                reply, problem = None, self._unreachable(error)
                if isinstance(error, httpx2.ReadTimeout):  # it would take as long again
                    break
            else:
                reply, problem = self._read(response)
                asked_to_wait = seconds_to_wait(response.headers)
            if reply and not _is_temporary(reply[0]):
                break
            if wait is not None:
                self._clock.sleep(max(wait, asked_to_wait))
        if reply is None:
            raise ProviderError(problem)
        status, content = reply
        if status in (401, 403):
            hint = "refused the key: check LOCAL_API_KEY" if self._key else "needs a key: set LOCAL_API_KEY"
            said = content["error"]["message"]
            raise ProviderError(f"{self._base_url} {hint} in .env or the environment. It replied: {said}")
        return reply

    def _read(self, response: httpx2.Response) -> tuple[Reply | None, str]:
        """(the status and the reply, or None if it is not from a chat server; what is wrong then).

        An error with status 200 gets the status that it stands for.
        """
        try:
            content = response.json()
        except (ValueError, RecursionError):
            content = None
        status = response.status_code
        if status >= 400:
            error = content.get("error") or content if isinstance(content, dict) else None
            return (status, self._error(error, response.text or response.reason_phrase)), ""
        error = error_in(content) if isinstance(content, dict) else None
        if error:
            code = error.get("code") or error.get("type") if isinstance(error, dict) else None
            otherwise = 503 if code in _TEMPORARY_CODES else 400
            return (status_of(error) or otherwise, self._error(error, response.text)), ""
        if isinstance(content, dict) and "choices" in content:
            return (200, content), ""
        return None, (
            f"{self._base_url} does not reply like a chat server (status {status}): check LOCAL_BASE_URL (it usually "
            f"ends in /v1), and that no login page or proxy replies instead. It replied: {self._shown(response.text)}"
        )

    def _error(self, error: object, text: str) -> dict[str, Any]:
        """The error of a reply in the API's format. `text`: the whole reply, if the error has no message."""
        details = error if isinstance(error, dict) else {"message": error}
        said = details.get("message")
        message = self._shown(said if isinstance(said, str) and said.strip() else text)
        others = {name: details[name] for name in ("code", "type", "param") if isinstance(details.get(name), str | int)}
        return {"error": {"message": message} | {name: self._shown(str(value)) for name, value in others.items()}}

    def _shown(self, text: str) -> str:
        """The beginning of a reply on one line, without the key, which some servers repeat."""
        return storable(" ".join(without_key(text, self._key).split())[:SHOWN]) or "nothing"

    def _unreachable(self, error: httpx2.HTTPError) -> str:
        if is_untrusted(error):
            return unreachable(error, self._base_url)
        if isinstance(error, httpx2.TimeoutException):
            return (
                f"{self._base_url} did not reply in time: check that the server works, lower LOCAL_CONCURRENCY or "
                "LOCAL_MAX_TOKENS, then run the same command again."
            )
        text = f"Cannot reach {self._base_url}: check that the server runs, and LOCAL_BASE_URL"
        if not is_here(self._base_url) and proxy_for(self._base_url):
            text += ". The proxy of the environment (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) was used: add the host to "
            return f"{text}NO_PROXY if it is in your own network. Then run the same command again."
        return f"{text}, then run the same command again."


def _client(base_url: str, key: str) -> httpx2.Client:
    """Raises ConfigError if the settings cannot be used."""
    try:
        return httpx2.Client(
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT,
            limits=httpx2.Limits(max_connections=None),
            follow_redirects=True,
            # With a transport of its own the client does not read the proxies of the environment.
            transport=httpx2.HTTPTransport(limits=httpx2.Limits(max_connections=None)) if is_here(base_url) else None,
        )
    except (OSError, ImportError, ValueError, httpx2.InvalidURL) as error:
        raise setup_problem(error, base_url) from None


def is_here(base_url: str) -> bool:
    """Whether a URL names this machine. A proxy could not reach it."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified  # vLLM says that it listens on 0.0.0.0


def _is_temporary(status: int) -> bool:
    return status in (408, 409, 429) or (status >= 500 and status != 501)
