"""Commands in messages, in the form that works where the user is.

All parts of the program write `python run_batch.py --check` and `pip install -r requirements-local.txt`. What is
printed has the Python, the folder and the --config that the user has typed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.installation import ROOT, shell_word

QUOTED = re.compile(r"`([^`]*)`")
SCRIPT = re.compile(r"\bpython (\w+\.py)\b")
PIP = re.compile(r"\bpip install\b")
REQUIREMENTS = re.compile(r"\brequirements(?:-\w+)?\.txt\b")


def is_script() -> bool:
    """Whether this process was started as `python …/<script>.py`, and not by a test or a notebook."""
    script = Path(sys.argv[0])
    return script.suffix == ".py" and script.resolve().parent == ROOT and sys.argv[0] in sys.orig_argv


@dataclass(frozen=True)
class Commands:
    """`python` and `folder`: as they were typed. `config`: the file of --config, if it was given."""

    python: str = "python"
    folder: str = ""
    config: str | None = None

    @classmethod
    def typed(cls, config: str | None) -> Commands:
        if not is_script():
            return cls(config=config)
        return cls(sys.orig_argv[0], sys.argv[0][: -len(Path(sys.argv[0]).name)], config)

    def complete(self, text: str) -> str:
        """A message with all commands in it completed. They are in backquotes; the name of a paper can be anything."""
        return QUOTED.sub(lambda found: f"`{self.command(found[1])}`", text)

    def command(self, text: str) -> str:
        """One command, completed."""
        python, config = shell_word(self.python), f" --config {shell_word(self.config)}" if self.config else ""
        text = SCRIPT.sub(lambda found: f"{python} {shell_word(self.folder + found[1])}{config}", text)
        if self.python != "python":
            text = PIP.sub(lambda _: f"{python} -m pip install", text)
        return REQUIREMENTS.sub(lambda found: shell_word(self.folder + found[0]), text)
