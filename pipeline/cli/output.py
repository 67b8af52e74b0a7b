"""Where a command prints: what it reports to standard output; problems, warnings and progress bars to standard error.

With --json, standard output has one JSON object, which is filled while the same lines are printed to standard error.
With --quiet, only problems, warnings and errors are printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pipeline.cli.commands import Commands

RED, YELLOW, BOLD = 31, 33, 1


class Output:
    """The output of one command. `report`: what --json prints; each part of the program adds its keys."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.quiet: bool = options.quiet
        self.json: bool = getattr(options, "json", False)
        self._commands = Commands.typed(options.config)
        self._problems: list[str] = []
        self._said: set[str] = set()
        self._warnings: list[str] = []
        self.report: dict[str, Any] = {"status": 0, "error": None, "problems": self._problems}
        self.report |= {"warnings": self._warnings, "next": None}

    def note(self, text: str = "") -> None:
        """A line about what happened."""
        if not self.quiet:
            print(self._commands.complete(text), file=self._stream, flush=True)  # for those who watch a log file

    def next(self, command: str, remark: str = "", other: str = "") -> None:
        """The command that helps next. An `other` that helps too has a line of its own, to be copied."""
        command = self.report["next"] = self._commands.command(command)
        self.note(f"{_coloured('Next:', BOLD, self._stream)} {command}{f'  ({remark})' if remark else ''}")
        if other:
            self.note(f"{_coloured('or:', BOLD, self._stream)}   {self._commands.command(other)}")

    def problem(self, text: str) -> None:
        """Something that the user has to look at. Said once: all stages have the same papers that cannot be read."""
        if text not in self._said:
            self._said.add(text)
            self._problems.append(self._print_error("problem", YELLOW, text))

    def warning(self, text: str) -> None:
        """Something that is not an error."""
        self._warnings.append(self._print_error("warning", YELLOW, text))

    def error(self, text: str) -> None:
        """Why nothing could be done."""
        self.report["error"] = self._print_error("error", RED, text)

    def interrupted(self, text: str) -> None:
        self.report["error"] = text
        print(f"\n{text}", file=sys.stderr)

    def add_to(self, key: str, name: str, **values: Any) -> None:
        """Add values to the report, such as those of a stage: `{key: {name: values}}`."""
        self.report.setdefault(key, {}).setdefault(name, {}).update(values)

    def finish(self, status: int) -> int:
        """Print the report, if it is wanted. Returns the status."""
        if self.json:
            print(json.dumps({**self.report, "status": status}, default=str))
        sys.stdout.flush()
        return status

    @contextmanager
    def bars(self) -> Iterator[None]:
        """With --quiet, there are no progress bars: they are shown only if standard error is a terminal."""
        usual = sys.stderr
        if self.quiet:
            sys.stderr = _NoTerminal(usual)
        try:
            yield
        finally:
            sys.stderr = usual

    @property
    def _stream(self) -> TextIO:
        return sys.stderr if self.json else sys.stdout

    def _print_error(self, kind: str, colour: int, text: str) -> str:
        text = self._commands.complete(text)
        print(f"{_coloured(f'{kind}:', colour, sys.stderr)} {text}", file=sys.stderr)
        return text


class _NoTerminal(io.TextIOBase):
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


def _coloured(text: str, colour: int, stream: TextIO) -> str:
    """Only on a terminal that knows colours, and not if the user has set NO_COLOR (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{colour}m{text}\033[0m"
