"""Arguments that several scripts have, exit statuses, and errors shown as one sentence."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.processes import PROCESSES

ROOT = Path(__file__).resolve().parents[2]  # the folder of the commands
OK = 0
FAILED = 1  # nothing could be done; a sentence says why. (2 is an invalid command line)
NEEDS_ATTENTION = 3  # done, but the user has to look at something
READY = 4  # batch_status.py: answers can be retrieved
INTERRUPTED = 130


def parser(
    description: str, processes: tuple[str, ...] | None = PROCESSES, required: bool = True
) -> argparse.ArgumentParser:
    """A parser with --config and, unless `processes` is None, --process."""
    _use_utf8()
    made = argparse.ArgumentParser(description=description, allow_abbrev=False)
    if processes:
        made.add_argument("--process", required=required, choices=processes, help="the stage to work on")
    made.add_argument("--config", metavar="FILE", help="settings file (default: the config.yaml beside this script)")
    return made


def guarded(work: Callable[[], int], after_interrupt: str = "") -> int:
    """Run a command. An error that the user can fix is printed as one sentence and gives status 1.

    `after_interrupt`: what else the user should know after Ctrl-C.
    """
    from pipeline.errors import PipelineError

    try:
        status = work()
        sys.stdout.flush()
        return status
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        _ignore_files_that_cannot_be_closed()
        return FAILED
    except BrokenPipeError:  # the program that read our output has ended
        sys.stderr.close()
        return FAILED
    except OSError as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        _discard_output()
        _ignore_files_that_cannot_be_closed()
        return FAILED
    except KeyboardInterrupt:
        print(f"\nInterrupted. Nothing is lost: run the same command to continue.{after_interrupt}", file=sys.stderr)
        return INTERRUPTED


def print_warning(text: str) -> None:
    """Print one line about something that is not an error."""
    print(f"warning: {text}", file=sys.stderr)


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


def _use_utf8() -> None:
    """Names of papers are UTF-8, whatever the locale says. What the terminal cannot show is printed as an escape."""
    script = Path(sys.argv[0])
    is_command = script.suffix == ".py" and script.resolve().parent == ROOT and sys.argv[0] in sys.orig_argv
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1" and is_command:
        os.environ["PYTHONUTF8"] = "1"  # it is read when Python starts, so start again
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
