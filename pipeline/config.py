"""Reads the settings from config.yaml, .env and the environment.

An environment variable overrides `.env`, which overrides `config.yaml`. Secrets are read from the first two only.
Relative paths start at the folder of the config file, so that a command does the same from every folder.
"""

from __future__ import annotations

import difflib
import math
import os
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from pipeline.encoding import decoded, undecodable
from pipeline.env_file import intended_key, read_env_file
from pipeline.errors import ConfigError
from pipeline.network import unsendable
from pipeline.processes import PROCESSES
from pipeline.records import Specificity, storable

ROOT = Path(__file__).resolve().parent.parent
SECRETS = ("OPENAI_API_KEY", "LOCAL_API_KEY", "PDF_PASSWORDS", "OPENALEX_API_KEY")
OPENAI_URL = "https://api.openai.com/v1"
HUGGINGFACE = "huggingface:"  # before the name of a model, as a value of PREFILTER

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def default_model_dir() -> Path:
    """Weights are shared by all checkouts of a user, because they are large and never change."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dataset-mentions"


class PriceSetting(BaseModel):
    """USD per million tokens, batch discount included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: NonNegativeFloat
    output: NonNegativeFloat
    cached_input: NonNegativeFloat | None = None


class Config(BaseModel):
    """All settings. The names are those of config.yaml in lower case; `config["MODEL"]` works as well."""

    model_config = ConfigDict(
        alias_generator=str.upper, extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=(),
        hide_input_in_errors=True,  # it may be a secret
    )  # fmt: skip

    input_dir: Path = Path("input")
    output_dir: Path = Path("extraction_outputs")
    prompts: dict[str, Path] = {}
    prompt_examples: Literal["auto", "always", "never"] = "auto"

    pdf_passwords: dict[str, SecretStr] = {}
    read_processes: int | None = Field(None, ge=1)
    dask_scheduler: str | None = None
    read_timeout_s: float = Field(120.0, gt=0, allow_inf_nan=False)
    read_memory_mb: int = Field(2000, ge=500)
    ocr: Literal["off", "missing"] = "off"
    ocr_languages: str = Field("eng", pattern=r"^[A-Za-z_]+(\+[A-Za-z_]+)*$")
    max_page_tokens: int = Field(6000, ge=100)
    page_context_chars: int = Field(0, ge=0, le=5000)
    skip_pages: set[Literal["references", "contents", "blank"]] = {"references", "contents", "blank"}
    prefilter: str = "off"
    prefilter_threshold: float | None = Field(None, ge=0, le=1)

    provider: str = "openai"
    openai_api_key: str | None = Field(None, repr=False, exclude=True)  # never printed or saved
    openai_base_url: str = OPENAI_URL
    model: str | dict[str, str] = "gpt-4o-mini"
    request_params: dict[str, dict[str, Any]] = {}

    max_requests_per_batch: int = Field(50_000, ge=1, le=50_000)
    max_bytes_per_batch: int = Field(200_000_000, ge=10_000, le=200_000_000)
    max_enqueued_tokens: int | None = Field(None, ge=1)
    max_attempts: int = Field(3, ge=1)
    max_mentions_per_page: int = Field(100, ge=1)
    max_cost_usd: float | None = Field(None, ge=0)
    prices: dict[str, PriceSetting] = {}
    batch_endpoint: str = "/v1/chat/completions"
    completion_window: str = "24h"
    file_purpose: str = "batch"
    poll_seconds: float = Field(30.0, gt=0)
    notify_command: str | None = None

    local_model: str | dict[str, str] = {
        "extraction": "smollm2-135m-instruct",
        "judge": "qwen2.5-coder-0.5b-instruct",
        "reasoning": "qwen2.5-coder-0.5b-instruct",
    }
    local_adapter: str = "auto"
    local_model_dir: Path = Field(default_factory=default_model_dir)
    local_base_url: str | None = None
    local_api_key: SecretStr | None = Field(None, repr=False, exclude=True)
    local_max_tokens: int = Field(1024, ge=16)
    local_concurrency: int = Field(1, ge=1)

    split: dict[Split, NonNegativeFloat] = {"train": 0.8, "valid": 0.1, "test": 0.1}
    min_specificity: Specificity = "vague_generic"
    dataset_registry: Path | None = None
    openalex_url: str = "https://api.openalex.org"
    openalex_api_key: SecretStr | None = Field(None, repr=False, exclude=True)
    split_seed: int = 0
    negatives_per_positive: NonNegativeFloat = 1.0
    dataset_license: str | None = None
    max_seq_tokens: int = Field(4096, ge=200)

    folder: Path = Field(ROOT, exclude=True)
    overridden: dict[str, str] = Field({}, exclude=True)

    @field_validator("openai_api_key", "local_api_key", "openalex_api_key", mode="before")
    @classmethod
    def _sendable_key(cls, key: object) -> object:
        """A key is often pasted with spaces, a line end or quotes around it. A blank one is not set."""
        text = key.get_secret_value() if isinstance(key, SecretStr) else key
        if not isinstance(text, str):
            return key
        text = _unquoted(text)
        if problem := unsendable(text):
            raise ValueError(f"{problem}: copy the whole key again, without quotes")
        return text or None

    @field_validator("openai_base_url", "local_base_url", "openalex_url", mode="before")
    @classmethod
    def _plain_url(cls, url: object) -> object:
        """URLs are printed in messages and saved with the answers, so they must not contain a secret."""
        if not isinstance(url, str):
            return url
        url = _unquoted(url)
        parts = urlsplit(url)
        if parts.username is not None:
            raise ValueError("it contains a user name or a password: remove them and set the key in .env")
        _ = parts.port  # ValueError if it is not a port
        if parts.scheme not in ("http", "https") or not parts.hostname or unsendable(url):
            raise ValueError("it must be a URL that starts with http:// or https://, such as http://localhost:8000/v1")
        return url.rstrip("/")

    @field_validator("openai_base_url")
    @classmethod
    def _with_version(cls, url: str) -> str:
        """The API is not at the root of OpenAI's server. Other servers decide for themselves."""
        parts = urlsplit(url)
        return OPENAI_URL if parts.hostname == urlsplit(OPENAI_URL).hostname and not parts.path else url

    @field_validator("split")
    @classmethod
    def _whole(cls, shares: dict[Split, float]) -> dict[Split, float]:
        if not math.isclose(sum(shares.values()), 1, abs_tol=0.01):  # a third may be written as 0.33
            raise ValueError(f"the shares add up to {sum(shares.values()):.6g}, and must add up to 1")
        return shares

    @field_validator("ocr", mode="before")
    @classmethod
    def _ocr_off(cls, value: object) -> object:
        """YAML reads a plain `off` as false."""
        return "off" if value is False else value

    @field_validator("prefilter", mode="before")
    @classmethod
    def _known_prefilter(cls, value: object) -> object:
        """YAML reads a plain `off` as false."""
        if value is False or value in ("off", "lexical"):
            return value or "off"
        if isinstance(value, str) and value.startswith(HUGGINGFACE) and value.removeprefix(HUGGINGFACE).strip():
            return value
        raise ValueError(
            "it must be off, lexical or huggingface:<model>, with a folder or the id of a model on the hub"
        )

    @model_validator(mode="after")
    def _models_of_known_stages(self) -> Self:
        for key, models in (("MODEL", self.model), ("LOCAL_MODEL", self.local_model)):
            for process in models if isinstance(models, dict) else ():
                if process not in PROCESSES:
                    raise ValueError(
                        f"{key} names the unknown stage '{process}': the stages are {', '.join(PROCESSES)}"
                    )
        return self

    def __getitem__(self, key: str) -> Any:
        """The setting `key`, as it is written in config.yaml. Raises KeyError."""
        if key not in environment_keys():
            raise KeyError(key)
        return getattr(self, key.lower())

    def model_for(self, process: str) -> str:
        """The model for stage `process`. Raises ConfigError if MODEL is a mapping without it."""
        return _for_stage("MODEL", self.model, process)

    def local_model_for(self, process: str) -> str:
        """The local model for stage `process`. Raises ConfigError if LOCAL_MODEL is a mapping without it."""
        return _for_stage("LOCAL_MODEL", self.local_model, process)

    def params_for(self, model: str) -> dict[str, Any]:
        """The request parameters of the first pattern in REQUEST_PARAMS that matches `model`."""
        for pattern, params in self.request_params.items():
            if fnmatchcase(model, pattern):
                return params
        return {}

    def password_for(self, source: str) -> str | None:
        """The password of the first pattern in PDF_PASSWORDS that matches the document id."""
        found = (secret for pattern, secret in self.pdf_passwords.items() if fnmatchcase(source, pattern))
        return next((secret.get_secret_value() for secret in found), None)

    def price_for(self, model: str) -> PriceSetting | None:
        """The price of the first pattern in PRICES that matches `model`."""
        return next((price for pattern, price in self.prices.items() if fnmatchcase(model, pattern)), None)

    def prompt_path(self, name: str) -> Path:
        """The file of the prompt `name` (the name of a stage, or `examples`, `extraction_finetuned`)."""
        return self.prompts.get(name, ROOT / "prompts" / f"{name}.md")


def _unquoted(text: str) -> str:
    """Without white space around it, and without one pair of plain quotes, which some tools pass on."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def _for_stage(key: str, models: str | Mapping[str, str], process: str) -> str:
    if isinstance(models, str):
        return models
    if process not in models:
        raise ConfigError(f"{key} names no model for '{process}': add '{process}: <model>' under {key} in config.yaml.")
    return models[process]


def load_config(path: str | Path | None = None) -> Config:
    """Read the settings; `path` defaults to the config.yaml beside the scripts.

    Raises ConfigError for a file that is missing or not valid YAML, an unknown key, or an invalid value. A key in .env
    that looks like a misspelling is reported on standard error. Other unknown keys there may serve other programs.
    """
    file = ROOT / "config.yaml" if path is None else Path(path).resolve()
    settings = _read_yaml(file)
    _refuse_unknown(settings, file)
    env_file = file.parent / ".env"
    dotenv = read_env_file(env_file)
    _report_misspelled(dotenv, env_file)
    origin = dict.fromkeys(settings, file.name)
    overridden = {}
    for source, values in ((".env", dotenv), ("environment", os.environ)):
        for key in environment_keys() & values.keys():
            if text := values[key].strip():  # blank is unset
                settings[key] = _from_text(key, text)
                overridden[key] = origin[key] = source
    config = _validated(settings, origin)
    return _with_full_paths(config, file.parent, {key: overridden[key] for key in sorted(overridden)})


def environment_keys() -> set[str]:
    """Every environment variable that can change a setting."""
    return {name.upper() for name in Config.model_fields} - {"FOLDER", "OVERRIDDEN"}


def _report_misspelled(keys: Iterable[str], file: Path) -> None:
    for key in keys:
        if key not in environment_keys() and (near := intended_key(key, environment_keys())):
            print(f"warning: {file} has the unknown key '{key}': did you mean {near}?", file=sys.stderr)


def _read_yaml(file: Path) -> dict[str, Any]:
    if file.is_dir():
        raise ConfigError(f"{file} is a folder: name a settings file with --config, such as {file / 'config.yaml'}.")
    try:
        settings = yaml.safe_load(decoded(file.read_bytes()))
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist: check the path, or restore the file.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"Cannot read {file} ({undecodable(error)}): save it in the encoding UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"Cannot read {file} ({error}): fix it, or name another with --config.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigError(f"{file} is not valid YAML ({place}{problem}): fix that line.") from None
    except (ValueError, RecursionError) as error:  # such as the date 2026-99-99
        raise ConfigError(f"{file} is not valid YAML ({error}): fix that value.") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{file} must contain lines of the form 'KEY: value', but contains a {type(settings).__name__}."
        )
    return {str(key): value for key, value in settings.items() if value is not None}


def _refuse_unknown(settings: Mapping[str, Any], file: Path) -> None:
    for key in settings:
        if key in SECRETS:
            raise ConfigError(
                f"{key} is a secret and must not be in {file}: move it to .env or to an environment variable."
            )
        if key not in environment_keys():
            secret = intended_key(key, SECRETS)
            if secret:
                raise ConfigError(f"{file} has the unknown key '{key}': did you mean {secret}? That belongs in .env.")
            near = difflib.get_close_matches(key.upper(), sorted(environment_keys() - set(SECRETS)), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "the shipped config.yaml lists all keys."
            raise ConfigError(f"{file} has the unknown key '{key}': {hint}")


def _from_text(key: str, text: str) -> Any:
    """Environment values are text. Mappings and lists are written as YAML there."""
    kind = str(Config.model_fields[key.lower()].annotation)
    if "Path" not in kind and key not in SECRETS and storable(text) != text:
        raise ConfigError(f"The value of {key} contains bytes that are not UTF-8: set it again.")
    if "dict" not in kind and "set" not in kind:
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _validated(settings: dict[str, Any], origin: Mapping[str, str]) -> Config:
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "MODEL"
        is_secret = key in SECRETS or "@" in str(first["input"])  # a URL with a password
        shown = "" if is_secret or not first["loc"] else f" {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
        raise ConfigError(
            f"The value{shown} of {key} (from {origin.get(key, 'config.yaml')}) is invalid: {message}."
        ) from None


def _with_full_paths(config: Config, folder: Path, overridden: dict[str, str]) -> Config:
    paths = {
        "input_dir": folder / config.input_dir,
        "output_dir": folder / config.output_dir,
        "local_model_dir": folder / config.local_model_dir.expanduser(),
        "prompts": {name: folder / path for name, path in config.prompts.items()},
        "dataset_registry": folder / config.dataset_registry if config.dataset_registry else None,
    }
    return config.model_copy(update={**paths, "folder": folder, "overridden": overridden})
