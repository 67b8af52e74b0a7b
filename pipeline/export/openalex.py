"""Title, authors and year of papers by their DOI, from OpenAlex (https://developers.openalex.org), kept on disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.config import Config
from pipeline.export.columns import Value
from pipeline.files import append_line
from pipeline.network import is_untrusted, seconds_to_wait, setup_problem

PAUSE = 0.1  # seconds between two requests; OpenAlex allows ten a second
TRIES = 3
MAX_WAIT = 60.0  # seconds, whatever the server asks for
TIMEOUT = 20.0  # seconds
MAX_AUTHORS = 20
FIELDS = "title,publication_year,authorships"


class OpenAlex:
    """Looks papers up, one at a time. What was found, or not, is in a file, and is never asked for again.

    If the server cannot be reached, one sentence is printed and nothing more is asked. Use in a `with` statement.
    Raises ConfigError if the proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, config: Config, file: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        key = config.openalex_api_key
        self._file, self._clock = file, clock
        self._key = key.get_secret_value() if key else None
        self._known: dict[str, dict[str, Value]] = dict(map(_entry, _lines(file)))
        agent = {"User-Agent": "dataset-mentions (papers by DOI)"}
        try:
            self._client = httpx2.Client(base_url=config.openalex_url, timeout=TIMEOUT, headers=agent)
        except (OSError, ImportError, ValueError, httpx2.InvalidURL) as error:
            raise setup_problem(error, config.openalex_url) from None
        self._is_reachable = True

    def __enter__(self) -> OpenAlex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def find(self, doi: str) -> Mapping[str, Value]:
        """`title`, `authors`, `year` of the paper; empty if OpenAlex does not know it, or cannot be reached."""
        name = doi.lower()
        if name not in self._known and self._is_reachable:
            found = self._ask(name)
            if found is not None:
                self._known[name] = found
                append_line(self._file, json.dumps({"doi": name, **found}))
        return self._known.get(name, {})

    def _ask(self, doi: str) -> dict[str, Value] | None:
        """What the server says; empty for an unknown DOI, None if it says nothing that can be used."""
        problem = "no answer"
        for attempt in range(TRIES):
            self._clock.sleep(PAUSE)
            try:
                reply = self._client.get(
                    f"/works/doi:{quote(doi, safe='/')}",
                    params={"select": FIELDS} | ({"api_key": self._key} if self._key else {}),
                )
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                problem = "its certificate is not trusted" if is_untrusted(error) else type(error).__name__
                continue
            if reply.status_code == 404:
                return {}
            if reply.status_code == 200 and (found := _values(reply)) is not None:
                return found
            problem = f"status {reply.status_code}"
            if reply.status_code not in (200, 429, 500, 502, 503, 504):
                break
            self._clock.sleep(seconds_to_wait(reply.headers, MAX_WAIT) or 2.0**attempt)
        self._is_reachable = False
        hint = ": check OPENALEX_API_KEY in .env" if problem in ("status 401", "status 403", "status 429") else ""
        print(
            f"OpenAlex does not answer ({problem}){hint}. For the other papers, what their PDFs say is used.",
            file=sys.stderr,
        )
        return None


def _values(reply: httpx2.Response) -> dict[str, Value] | None:
    """The values of a work. None if the reply is not one."""
    try:
        work: Any = reply.json()
        names = [one["author"]["display_name"] for one in work.get("authorships") or []][:MAX_AUTHORS]
        found: dict[str, Any] = {
            "title": work["title"],
            "year": work["publication_year"],
            "authors": "; ".join(filter(None, names)),
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    kinds = {"title": isinstance(found["title"], str), "year": isinstance(found["year"], int), "authors": True}
    return {name: value for name, value in found.items() if value and kinds[name]}


def _lines(file: Path) -> list[str]:
    """The complete lines. The last one may have been cut off by a crash."""
    return file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if file.exists() else []


def _entry(line: str) -> tuple[str, dict[str, Value]]:
    """(DOI, values) of a line. A damaged line is an entry that nobody asks for."""
    try:
        row = json.loads(line)
        return row.pop("doi"), row
    except (ValueError, KeyError, AttributeError, TypeError):
        return "", {}
