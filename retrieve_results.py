"""Download finished batches of a stage and merge their answers, one file per document.

python retrieve_results.py --process extraction
python retrieve_results.py --process judge --wait
python retrieve_results.py --process judge --results answers.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli.arguments import guarded, parser
from pipeline.clock import SYSTEM_CLOCK, Clock


def main(argv: Sequence[str] | None = None, clock: Clock = SYSTEM_CLOCK) -> int:
    made = parser("Download and merge finished batches.")
    made.add_argument("--wait", action="store_true", help="wait until all batches of the stage have ended")
    made.add_argument(
        "--results", nargs="+", metavar="FILE",
        help="import result files produced elsewhere, or batch ids, whose results are downloaded",
    )  # fmt: skip
    options = made.parse_args(argv)
    return guarded(lambda: _main(options, clock))


def _main(options: argparse.Namespace, clock: Clock) -> int:
    from pipeline.cli import summary
    from pipeline.cli.session import open_session
    from pipeline.workflow.retrieve import retrieve, retrieve_all, retrieve_from

    process = options.process
    with open_session(options.config, f"retrieve_results.py --process {process}", clock) as session:
        if options.results:
            report = retrieve_from(session, process, options.results)
        else:
            report = (retrieve_all if options.wait else retrieve)(session, process)
        summary.print_problems(report.merged)
        summary.print_retrieved(process, report, session)
    return summary.exit_status(report)


if __name__ == "__main__":
    sys.exit(main())
