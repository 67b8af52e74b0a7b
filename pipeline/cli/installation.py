"""Whether this Python can run the program: its version, and the packages of requirements.txt.

The scripts check it first, so this module, and all that they import before, must run with Python 3.8.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the folder of the scripts
OLDEST = (3, 11)
OLDEST_NAME = ".".join(map(str, OLDEST))
PACKAGES = (
    "openai", "httpx2", "pydantic", "yaml", "dotenv", "pymupdf", "tqdm", "sentencex", "bpe_openai", "genai_prices",
    "filelock", "tabulate", "py3langid", "rapidfuzz", "pycountry",
)  # fmt: skip
SHOWN = 3  # missing packages that are named
IS_WINDOWS = os.name == "nt"


def check_installation() -> None:
    """Ends the program with one sentence, which has the command that helps, if it cannot run here."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        needed = f"This program needs Python {OLDEST_NAME} or later, and this is Python {version}"
        sys.exit(f"error: {needed}: {_use_the_environment(has_python=False)}")
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        lacks = f"This Python ({sys.executable}) lacks packages of this program ({', '.join(missing[:SHOWN])}{more})"
        sys.exit(f"error: {lacks}: {_use_the_environment(has_python=True)}")


def shell_word(path: str) -> str:
    """A path as it is typed in a shell."""
    if IS_WINDOWS:
        return f'"{path}"' if " " in path else path
    return shlex.quote(path)


def _use_the_environment(has_python: bool) -> str:
    """What to run: the environment beside the scripts if there is one, or else the commands that make it."""
    environment = ROOT / ".venv"
    if Path.cwd() == ROOT:
        environment = Path(".venv")
    folder = environment / ("Scripts" if IS_WINDOWS else "bin")
    python = folder / ("python.exe" if IS_WINDOWS else "python")
    command = " ".join(map(shell_word, [str(python), *sys.argv]))
    if python.exists() and Path(sys.prefix) != ROOT / ".venv":
        return f"run `{command}` instead."
    install = f"install -r {shell_word(str(environment.with_name('requirements.txt')))}"
    if has_python and sys.prefix != sys.base_prefix:  # an environment is active, but empty
        return f"run `{shell_word(sys.executable)} -m pip {install}`"
    newer = shell_word(sys.executable)
    if not has_python:
        newer = f"py -{OLDEST_NAME}" if IS_WINDOWS else f"python{OLDEST_NAME}"
    then = "` and then `"
    both = then if IS_WINDOWS else " && "  # which the PowerShell of Windows does not know
    pip = f"{shell_word(str(folder / 'pip'))} {install}"
    return f"run `{newer} -m venv {shell_word(str(environment))}{both}{pip}{then}{command}`"
