"""Download the batches of a stage that have ended, and merge their answers per document.

python retrieve_results.py --process extraction
python retrieve_results.py --process judge --wait
python retrieve_results.py --process judge --results answers.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli import guarded, parser


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("Bring in what the batches of a stage have answered.")
    made.add_argument("--wait", action="store_true", help="stay until all batches have ended")
    help_results = "take these result files, made or fetched elsewhere (or ids of batches, to be downloaded)"
    made.add_argument("--results", nargs="+", metavar="FILE", help=help_results)
    options = made.parse_args(argv)
    return guarded(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from pipeline import summary
    from pipeline.runner import Runner

    with Runner.from_file(options.config, f"retrieve_results.py --process {options.process}") as runner:
        if options.results:
            report = runner.bring(options.process, options.results)
        else:
            report = runner.follow(options.process) if options.wait else runner.retrieve(options.process)
        summary.print_problems(report)
        summary.print_retrieved(options.process, report, runner)
    return summary.exit_status(report)


if __name__ == "__main__":
    sys.exit(main())
