"""What all entry scripts share: options, and errors told as one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

PROCESSES = ("extraction", "judge", "reasoning")  # as in pipeline.config, which takes too long to load for --help

OK = 0
FAILED = 1
READY = 4  # batch_status.py: answers are waiting to be retrieved
NEEDS_ATTENTION = 3  # done, but something of it is for the user to look at; 2 is a wrong command line


def parser(
    description: str, processes: tuple[str, ...] | None = PROCESSES, required: bool = True
) -> argparse.ArgumentParser:
    """A parser with --config and, unless `processes` is None, --process."""
    made = argparse.ArgumentParser(description=description, allow_abbrev=False)
    if processes:
        made.add_argument("--process", required=required, choices=processes, help="the stage")
    made.add_argument("--config", metavar="FILE", help="settings (default: the config.yaml beside this script)")
    return made


def guarded(work: Callable[[], int], to_go_on: str = "run the same command") -> int:
    """Run a command; what the user can mend becomes one sentence and status 1.

    `to_go_on`: what to do again after Ctrl-C.
    """
    from pipeline.errors import PipelineError

    try:
        return work()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader of a pipe has gone; nobody is left to tell
        sys.stderr.close()
        return FAILED
    except OSError as error:
        print(f"error: {error.filename or 'A file'} cannot be used ({error.strerror or error}).", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"\nStopped. Nothing is lost: {to_go_on} again to go on.", file=sys.stderr)
        return 130
