"""Arguments that several scripts have, exit statuses, and errors shown as one sentence."""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from pipeline.cli.commands import is_script
from pipeline.cli.installation import check_installation
from pipeline.cli.output import Output
from pipeline.processes import PROCESSES

OK = 0
FAILED = 1  # nothing could be done; a sentence says why. (2 is an invalid command line)
NEEDS_ATTENTION = 3  # done, but the user has to look at something
READY = 4  # batch_status.py: answers can be retrieved
INTERRUPTED = 130


def parser(
    script_doc: str | None,
    description: str,
    processes: str | None = None,
    required: bool = True,
    reports: bool = True,
    more_help: str = "",
) -> argparse.ArgumentParser:
    """A parser with --config, --quiet, --json if the command `reports`, and --process with all stages and `all`.

    `processes`: the help of --process, which is left out without it. `more_help`: printed after the
    options. The help of the command ends with the commands in the docstring of the script.
    """
    _open_missing_streams()
    check_installation()
    _use_utf8()
    width = max(shutil.get_terminal_size().columns - 2, 20)
    made = _Parser(
        description=textwrap.fill(description, width),
        epilog=f"{more_help}\n{_listed(examples(script_doc))}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if processes:
        made.add_argument("--process", required=required, choices=(*PROCESSES, "all"), help=processes)
    common = made.add_argument_group("settings and output")
    common.add_argument(
        "--config", metavar="FILE",
        help="settings file; .env and relative paths are taken from its folder (default: the config.yaml beside this "
        "script)",
    )  # fmt: skip
    common.add_argument("--quiet", action="store_true", help="print only problems and errors (same exit status)")
    if reports:
        help_json = "print one JSON object for scripts; everything else goes to standard error (docs/batches.md)"
        common.add_argument("--json", action="store_true", help=help_json)
    return made


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the message and end with status 2. Names of papers are no arguments of any command."""
        paper = re.search(r"unrecognized arguments:.*?(\S+)\.pdf\b", message, re.IGNORECASE)
        if paper and "--documents GLOB" in self.format_usage():
            name = re.sub(r"^(?:.*/)?input/|^.*[/\\](?=[^/\\]*$)", "", paper[1], count=1)
            message += f" (to choose papers use --documents '{name}')"
        super().error(message)


def positive(text: str) -> int:
    """The type of an argument: a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def page_range(text: str) -> tuple[int, int]:
    """The type of an argument: a page, or a range of pages."""
    from pipeline.errors import ConfigError
    from pipeline.selection import parse_pages

    try:
        return parse_pages(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _listed(commands: Sequence[str]) -> str:
    return "\n".join(["examples:", *(f"  {command}" for command in commands)])


def examples(script_doc: str | None) -> list[str]:
    """The commands in the docstring of a script."""
    return [line for line in (script_doc or "").splitlines() if line.startswith("python ")]


def guarded(options: argparse.Namespace, work: Callable[[Output], int], after_interrupt: str = "") -> int:
    """Run a command. An error that the user can fix is printed as one sentence and gives status 1.

    `after_interrupt`: what else the user should know after Ctrl-C.
    """
    output = Output(options)
    try:
        with output.bars():
            status = _status(output, work, after_interrupt)
        return output.finish(status)
    except BrokenPipeError:  # the program that read our output has ended
        _discard_output()
        sys.stderr.close()
        return FAILED
    except OSError as error:
        output.error(_sentence(error))
        with suppress(OSError):  # the output may be what cannot be written
            output.finish(FAILED)
        _discard_output()
        _ignore_files_that_cannot_be_closed()
        return FAILED


def _status(output: Output, work: Callable[[Output], int], after_interrupt: str) -> int:
    """The exit status of the work. Problems with files are raised as OSError."""
    from pipeline.errors import PipelineError

    try:
        return work(output)
    except PipelineError as error:
        output.error(str(error))
        _ignore_files_that_cannot_be_closed()
        return FAILED
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "pipeline":
            raise
        said = " ".join(str(error).split())[:200]
        output.error(
            f"A package that this program needs cannot be used ({said}): run `pip install -r requirements.txt`"
        )
        return FAILED
    except KeyboardInterrupt:
        output.interrupted(f"Interrupted. Nothing is lost: run the same command to continue.{after_interrupt}")
        return INTERRUPTED


def _sentence(error: OSError) -> str:
    """What is wrong with which file. Errors while writing do not name it; our own files are written by `files.py`."""
    reason = error.strerror or error
    if error.filename is None:
        name = f"the output of this command, or a temporary file in {_temporary_folder()}"
    else:
        name = error.filename
    if error.filename is None or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"Cannot write {name} ({reason}): free disk space, then run the same command again."
    return f"Cannot use {name} ({reason}): check that it exists and is accessible."


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none can be written
        return os.environ.get("TMPDIR", "/tmp")


def _discard_output() -> None:
    """Python writes what is left of the output when it ends, which would fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ignore_files_that_cannot_be_closed() -> None:
    """On a full disk, Python tries once more to write what is left in open files, and would print each failure."""
    usual = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, OSError):
            usual(unraisable)

    sys.unraisablehook = hook


def _open_missing_streams() -> None:
    """Python has no standard stream where the shell has closed it (`>&-`). They stay open until Python ends."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _use_utf8() -> None:
    """Names of papers are UTF-8, whatever the locale says. What the terminal cannot show is printed as an escape."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1" and is_script():
        os.environ["PYTHONUTF8"] = "1"  # it is read when Python starts, so start again
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
