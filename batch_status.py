"""What the submitted batches are doing. Looking takes no lock and changes nothing.

python batch_status.py --watch
python batch_status.py --cancel all
python batch_status.py --resolve 7 lost
python batch_status.py --clean-remote

Exit status: 0 nothing to do, 3 a submission has to be settled, 4 answers are ready to be retrieved.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.cli import OK, guarded, parser

if TYPE_CHECKING:
    from pipeline.runner import Runner


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return guarded(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    made = parser("Show every batch and every stage.", processes=None)
    one = made.add_mutually_exclusive_group()
    one.add_argument("--watch", action="store_true", help="show it again every POLL_SECONDS while anything is running")
    one.add_argument("--cancel", metavar="ID|all", help="cancel a batch (its number or id), or all; answers are kept")
    help_resolve = "settle what the program cannot: ID lost (ask again), ID sent, or ID sent:BATCH_ID"
    one.add_argument("--resolve", nargs=2, metavar=("ID", "VERDICT"), help=help_resolve)
    help_clean = "delete from the provider the files whose content is safe on this disk"
    one.add_argument("--clean-remote", action="store_true", help=help_clean)
    return made


def _main(options: argparse.Namespace) -> int:
    from pipeline.batches import control
    from pipeline.runner import Runner

    with Runner.from_file(options.config, "batch_status.py") as runner:
        if options.cancel:
            return _told(runner, lambda: control.cancel(options.cancel, runner.ledger, runner.provider))
        parts = runner.ledger, runner.workspace, runner.provider
        if options.resolve:
            which, verdict = options.resolve
            return _told(runner, lambda: [control.resolve(which, verdict, *parts)])
        if options.clean_remote:
            return _told(runner, lambda: control.clean_remote(*parts))
        return _watch(runner) if options.watch else _show(runner)[0]


def _told(runner: Runner, work: Callable[[], Iterable[str]]) -> int:
    with runner.lock():
        for sentence in work():
            print(sentence)
    return OK


def _watch(runner: Runner) -> int:
    while True:
        if sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        status, running = _show(runner)
        if not running:
            return status
        time.sleep(runner.config.poll_seconds)


def _show(runner: Runner) -> tuple[int, bool]:
    """(exit status, whether anything is still running)."""
    from pipeline.batches.status import look

    seen = look(runner.ledger, lambda: runner.provider)
    print(seen.text(runner.stage_counts()))
    return seen.exit_status, seen.running


if __name__ == "__main__":
    sys.exit(main())
