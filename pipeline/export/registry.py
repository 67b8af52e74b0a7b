"""Names of datasets that a person has given: the registry of DATASET_REGISTRY, and the file of --canonical."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.errors import InputError
from pipeline.export.user_tables import read_records
from pipeline.text.names import is_acronym, own_forms, plain_name, word_bag


class RegisteredDataset(BaseModel):
    """A dataset of the registry. Other columns of the file are ignored. `aliases`: in a CSV, separated by | or ;."""

    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)

    id: str = Field(min_length=1)
    name: str = Field(min_length=1, alias="canonical_name")
    aliases: tuple[str, ...] = ()
    producer: str | None = None
    url: str | None = None

    @field_validator("aliases", mode="before")
    @classmethod
    def _from_cell(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.replace("|", ";").split(";") if part.strip()]
        return value or ()

    @field_validator("producer", "url", mode="before")
    @classmethod
    def _empty_is_null(cls, value: object) -> object:
        return value or None


class Override(BaseModel):
    """A row of the file of --canonical: mentions named `name` have this canonical name. `document`: only there."""

    model_config = ConfigDict(extra="ignore", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1)
    canonical_name: str = Field(min_length=1)
    canonical_id: str | None = None
    document: str | None = None

    @field_validator("canonical_id", "document", mode="before")
    @classmethod
    def _empty_is_null(cls, value: object) -> object:
        return value or None


class Registry:
    """Finds the registered dataset that a name means. `entries` may be empty."""

    def __init__(self, entries: Iterable[RegisteredDataset] = ()) -> None:
        self._by_words: dict[tuple[str, ...], dict[str, RegisteredDataset]] = defaultdict(dict)
        self._by_acronym: dict[str, dict[str, RegisteredDataset]] = defaultdict(dict)
        self.by_name: dict[str, RegisteredDataset] = {}
        self.by_id: dict[str, RegisteredDataset] = {}
        for entry in entries:
            self.by_name.setdefault(entry.name, entry)
            self.by_id.setdefault(entry.id, entry)
            for alias in (entry.name, *entry.aliases):
                for form in own_forms(alias):
                    if is_acronym(form):
                        self._by_acronym[plain_name(form)][entry.id] = entry
                    else:
                        self._by_words[word_bag(form)][entry.id] = entry

    def find(self, words: tuple[str, ...]) -> RegisteredDataset | None:
        """The dataset that alone has a name with these content words (`word_bag`)."""
        return _only(self._by_words.get(words, {}))

    def find_acronym(self, acronym: str) -> RegisteredDataset | None:
        """The dataset that alone has this acronym, in its case."""
        return _only(self._by_acronym.get(plain_name(acronym), {}))


def _only(found: Mapping[str, RegisteredDataset]) -> RegisteredDataset | None:
    return next(iter(found.values())) if len(found) == 1 else None


def load_registry(path: Path) -> Registry:
    """The registry in a CSV or JSONL file, with the columns id, canonical_name, aliases, producer, url.

    Raises InputError for a file that cannot be read, with the line of an invalid row.
    """
    return Registry(read_records(path, "DATASET_REGISTRY", RegisteredDataset))


def load_overrides(path: Path) -> list[Override]:
    """The rows of a CSV or JSONL file: name, canonical_name, canonical_id, document. Raises InputError."""
    rows: dict[tuple[str | None, str], Override] = {}
    for row in read_records(path, "--canonical", Override):
        key = row.document, " ".join(row.name.split()).casefold()
        if key in rows:
            raise InputError(f"--canonical {path} names '{row.name}' twice: delete one of the lines.")
        rows[key] = row
    return list(rows.values())
