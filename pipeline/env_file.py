"""Reads the file .env."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from pipeline.encoding import decoded, undecodable
from pipeline.errors import ConfigError

LONG = 8  # letters of a name in which two may be wrong, rather than one


def read_env_file(file: Path) -> dict[str, str]:
    """The variables that a file sets. Empty if there is no such file. Raises ConfigError if it cannot be read."""
    if not file.exists() or file.is_dir():  # a virtual environment may have this name
        return {}
    try:
        text = decoded(file.read_bytes())
    except UnicodeDecodeError as error:
        raise ConfigError(f"Cannot read {file} ({undecodable(error)}): save it in the encoding UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read {file} ({error.strerror or error}): fix its permissions.") from None
    return {key: value for key, value in dotenv_values(stream=StringIO(text)).items() if value}


def intended_key(written: str, known: Iterable[str]) -> str | None:
    """The known key of which `written` looks like a misspelling, such as OPENAI_APIKEY or OPENAI_KEY."""
    from rapidfuzz.distance import OSA  # only needed after a mistake

    name = _letters(written)
    distances = {key: OSA.distance(name, _letters(key)) for key in sorted(known)}
    near = min(distances, key=lambda key: distances[key])
    if distances[near] <= (2 if len(_letters(near)) >= LONG else 1):
        return near
    return next((key for key in sorted(known) if _lacks_words(written.upper(), key)), None)


def _letters(key: str) -> str:
    return "".join(filter(str.isalnum, key.upper()))


def _lacks_words(written: str, key: str) -> bool:
    """Whether `written` is `key` without some words in its middle."""
    words, wanted = written.split("_"), key.split("_")
    ends_alike = (words[0], words[-1]) == (wanted[0], wanted[-1])
    return len(words) > 1 and ends_alike and set(words) < set(wanted)
