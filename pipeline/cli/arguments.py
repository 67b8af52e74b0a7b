"""Arguments that several scripts have, exit statuses, and errors shown as one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from pipeline.processes import PROCESSES

OK = 0
FAILED = 1  # nothing could be done; a sentence says why. (2 is an invalid command line)
NEEDS_ATTENTION = 3  # done, but the user has to look at something
READY = 4  # batch_status.py: answers can be retrieved
INTERRUPTED = 130


def parser(
    description: str, processes: tuple[str, ...] | None = PROCESSES, required: bool = True
) -> argparse.ArgumentParser:
    """A parser with --config and, unless `processes` is None, --process."""
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
        return work()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the program that read our output has ended
        sys.stderr.close()
        return FAILED
    except OSError as error:
        name, reason = error.filename or "a file", error.strerror or error
        print(f"error: Cannot use {name} ({reason}): check that it exists and is accessible.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"\nInterrupted. Nothing is lost: run the same command to continue.{after_interrupt}", file=sys.stderr)
        return INTERRUPTED


def print_warning(text: str) -> None:
    """Print one line about something that is not an error."""
    print(f"warning: {text}", file=sys.stderr)
