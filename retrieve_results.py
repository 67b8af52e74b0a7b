"""Download finished batches of a stage and merge their answers, one file per document.

python retrieve_results.py --process extraction
python retrieve_results.py --process all
python retrieve_results.py --process judge --wait
python retrieve_results.py --process judge --results answers.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipeline.cli.arguments import guarded, parser
from pipeline.cli.output import Output
from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.processes import PROCESSES

if TYPE_CHECKING:
    from pipeline.batches.session import Session


def main(argv: Sequence[str] | None = None, clock: Clock = SYSTEM_CLOCK) -> int:
    made = _parser()
    options = made.parse_args(argv)
    if options.results and options.process == "all":
        made.error("--results are of one stage: give it with --process")
    return guarded(options, lambda output: _main(options, output, clock))


def _parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        "Download finished batches, and merge their answers into the documents.",
        "the stage; all takes every stage with open batches",
    )
    made.add_argument("--wait", action="store_true", help="wait until all batches of the stage have ended")
    made.add_argument(
        "--results", nargs="+", metavar="FILE",
        help="import result files produced elsewhere, or batch ids, whose results are downloaded",
    )  # fmt: skip
    return made


def _main(options: argparse.Namespace, output: Output, clock: Clock) -> int:
    from pipeline.cli.session import open_session
    from pipeline.workflow.next_step import open_stages

    with open_session(output, options.config, f"retrieve_results.py --process {options.process}", clock) as session:
        if options.process != "all":
            return _stage(output, session, options.process, options)
        stages = [process for process in PROCESSES if process in open_stages(session)]
        if not stages:
            return _nothing_to_collect(output, session)
        return max(_stage(output, session, process, options, process == stages[-1]) for process in stages)


def _nothing_to_collect(output: Output, session: Session) -> int:
    """Update the documents of all stages, and show how far they are."""
    from pipeline.cli import summary
    from pipeline.workflow.retrieve import update_documents

    merged = update_documents(session)
    summary.print_problems(output, merged)
    output.note("Nothing to collect.")
    return summary.print_stages(output, merged, session)


def _stage(output: Output, session: Session, process: str, options: argparse.Namespace, is_last: bool = True) -> int:
    from pipeline.cli import summary
    from pipeline.workflow.retrieve import retrieve, retrieve_all, retrieve_from

    if options.results:
        report = retrieve_from(session, process, options.results)
    elif options.wait:
        with session.waiting():
            report = retrieve_all(session, process, partial(summary.print_waiting, output, process, session))
    else:
        report = retrieve(session, process)
    summary.print_problems(output, report.merged)
    summary.print_retrieved(output, process, report, session, is_last)
    return summary.exit_status(report)


if __name__ == "__main__":
    sys.exit(main())
