"""What the submitted batches are doing. Takes no lock and changes nothing, except with --resolve.

python batch_status.py
python batch_status.py --resolve 7 lost
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cli import OK, PROCESSES, guarded, parser

if TYPE_CHECKING:
    from pipeline.runner import Runner


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("Show every batch of every stage.", processes=None)
    help_resolve = "settle a submission that was cut off: ID lost (send it again) or ID sent:BATCH_ID"
    made.add_argument("--resolve", nargs=2, metavar=("ID", "VERDICT"), help=help_resolve)
    options = made.parse_args(argv)
    return guarded(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from pipeline.runner import Runner

    with Runner.from_file(options.config, "batch_status.py") as runner:
        return _resolve(runner, *options.resolve) if options.resolve else _show(runner)


def _resolve(runner: Runner, shard: str, verdict: str) -> int:
    from pipeline.batches.submit import resolve

    with runner.lock():
        print(resolve(int(shard) if shard.isdigit() else 0, verdict, runner.ledger, runner.workspace))
    return OK


def _show(runner: Runner) -> int:
    from tabulate import tabulate

    from pipeline.batches.status import HEADERS, status_rows

    for process in PROCESSES:
        rows = status_rows(process, runner.ledger, lambda: runner.provider)
        print(f"\n{process}")
        print(tabulate(rows, headers=HEADERS) if rows else f"  no batches; python run_batch.py --process {process}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
