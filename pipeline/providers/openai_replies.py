"""What a reply must have before it is believed, and how a batch is read from it. Servers answer 200 with anything.

The client library builds its objects from any JSON, so an error with the status 200 looks like a batch without an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx2
import openai
from openai.types import Batch

from pipeline.providers.base import BatchInfo
from pipeline.records import storable

Reply = TypeVar("Reply")
LARGEST = 10**15  # a larger count or size is an error of the server
LATEST_TIME = 10**11  # seconds; a larger value is not a time in seconds

_CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
# Parts of error codes and types that certainly are refusals, and the status that usually goes with them.
_REFUSALS = {
    "rate_limit": 429, "quota": 429, "not_found": 404, "api_key": 401, "authentication": 401, "permission": 403,
    "invalid": 400,
}  # fmt: skip


class UnexpectedReplyError(ValueError):
    """The reply has nothing that the next step needs, and no error of the API either."""


def with_id(reply: Reply, url: str, expected: str | None = None) -> Reply:
    """`reply`, if it has an id, which must be `expected` if that is given.

    Raises the client's error for an error of the API that was sent with the status 200, UnexpectedReplyError for
    anything else.
    """
    found = getattr(reply, "id", None)
    if isinstance(found, str) and found.strip() and expected in (None, found):
        return reply
    error = getattr(reply, "error", None)
    if found is None and isinstance(error, Mapping) and error:
        raise status_error(error, url)
    raise UnexpectedReplyError(f"the reply has the id {found!r}")


def status_error(error: Mapping[str, Any], url: str) -> openai.APIStatusError:
    """The client's error for an error in the API's own format, whatever status it was sent with."""
    status = _status(error)
    response = httpx2.Response(status, request=httpx2.Request("GET", url))
    kind = _CLASSES.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)
    return kind(str(error.get("message") or error), response=response, body=dict(error))


def _status(error: Mapping[str, Any]) -> int:
    """The HTTP status that the error means: a number in it, or else what its code or type says."""
    for name in ("status", "status_code", "code"):
        text = str(error.get(name))
        if text.isascii() and text.isdigit() and 400 <= int(text) <= 599:
            return int(text)
    said = f"{error.get('code')} {error.get('type')}".lower()
    # Of any other error nobody knows whether the request was carried out.
    return next((status for word, status in _REFUSALS.items() if word in said), 500)


def batch_info(batch: Batch) -> BatchInfo:
    """Some servers write statuses in upper case, and omit or null what the official API always has."""
    counts = batch.request_counts
    status = str(batch.status).lower()
    problems = (batch.errors.data if batch.errors else None) or []
    messages = (": ".join(str(part) for part in (e.code, e.message) if part) for e in problems)
    message = "; ".join(filter(None, messages))
    return BatchInfo(
        id=storable(batch.id),
        status=storable(status),
        created=_time(batch.created_at),
        since=_time(getattr(batch, f"{status}_at", None)) or _time(batch.created_at),
        expires=_time(batch.expires_at),
        total=count_in(counts and counts.total),
        done=count_in(counts and counts.completed),
        failed=count_in(counts and counts.failed),
        input_file_id=_text(batch.input_file_id),
        output_file_id=_text(batch.output_file_id),
        error_file_id=_text(batch.error_file_id),
        message=storable(message) if message else None,
    )


def _time(value: object) -> int | None:
    """Seconds (Unix). Some servers write dates as text; these are ignored."""
    return int(value) if isinstance(value, int | float) and 0 < value < LATEST_TIME else None


def count_in(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= LARGEST else None


def _text(value: object) -> str | None:
    return storable(value) if isinstance(value, str) and value else None
