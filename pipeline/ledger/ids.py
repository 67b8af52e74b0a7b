"""The names of questions and of attempts to have them answered."""

from __future__ import annotations

from typing import NamedTuple


class AskId(NamedTuple):
    """One question. `key`: hash of the request. `generation`: how often it was asked again with `--again`."""

    process: str
    key: str
    generation: int

    def attempt(self, number: int) -> AttemptId:
        return AttemptId(*self, number)


class AttemptId(NamedTuple):
    """The `number`-th time that a question was sent, counted from 1."""

    process: str
    key: str
    generation: int
    number: int

    @property
    def ask(self) -> AskId:
        return AskId(*self[:3])

    @property
    def custom_id(self) -> str:
        """The name in request and result files: `[A-Za-z0-9_-]`, under 64 characters, derived from the ask alone."""
        return f"{self.process}-{self.key}-{self.generation}-{self.number}"

    @classmethod
    def parse(cls, custom_id: object) -> AttemptId | None:
        """The attempt that a custom id names, or None if the id is not one of ours."""
        parts = custom_id.split("-") if isinstance(custom_id, str) else []
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[2:]):
            return None
        return cls(parts[0], parts[1], int(parts[2]), int(parts[3]))
