"""Build the requests of one stage from the PDFs in input/ and submit them as batches.

python run_batch.py --check
python run_batch.py --process extraction --dry-run
python run_batch.py --process judge --documents 'reports/*' --wait
python run_batch.py --process all
python run_batch.py --process judge --again --documents 'reports/*'
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from pipeline.cli.arguments import OK, guarded, page_range, parser, positive
from pipeline.cli.output import Output
from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.processes import FINAL, PROCESSES, previous_process

if TYPE_CHECKING:
    from pipeline.batches.session import Session
    from pipeline.workflow.run_stage import RunOptions


FOR_A_STAGE = ("process", "dry_run", "yes", "wait", "limit", "documents", "pages", "again")  # options, besides --check


def main(argv: Sequence[str] | None = None, clock: Clock = SYSTEM_CLOCK) -> int:
    made = _parser()
    options = made.parse_args(argv)
    if not options.process and not options.check:
        made.error("give a stage with --process, or use --check")
    if options.check and (senseless := [name for name in FOR_A_STAGE if getattr(options, name) not in (None, False)]):
        made.error(f"--check lists all papers and sends nothing: leave out --{senseless[0].replace('_', '-')}")
    # With --again, the same command would open another round of questions.
    again = " Leave out --again if batch_status.py already shows the new batches." if options.again else ""
    return guarded(options, lambda output: _main(options, output, clock), again)


def _parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        "Submit the questions of one stage about every page that has no answer yet: extraction finds dataset mentions, "
        "judge says whether each of them is one, reasoning checks this verdict. The price is printed first.",
        "the stage; all runs one after the other, and waits for each",
        required=False,
    )
    made.add_argument("--check", action="store_true", help="list the papers in the input folder; send nothing")
    made.add_argument("--dry-run", action="store_true", help="show the price; send nothing (needs no key)")
    made.add_argument("--yes", action="store_true", help="agree to ask (and pay for) answered pages again")
    made.add_argument("--wait", action="store_true", help="wait for the batches, and merge the answers as they arrive")
    made.add_argument("--limit", type=positive, metavar="N", help="send only the first N documents (default: all)")
    made.add_argument("--documents", metavar="GLOB", help="send only documents whose id matches, e.g. 'reports/*'")
    made.add_argument("--pages", type=page_range, metavar="A-B", help="send only these pages of each paper, e.g. 1-5")
    made.add_argument(
        "--again", nargs="?", const="all", choices=("all", "failed"),
        help="ask again although nothing has changed; with 'failed', only questions that were given up",
    )  # fmt: skip
    return made


def _main(options: argparse.Namespace, output: Output, clock: Clock) -> int:
    from pipeline.cli.quote import print_quote
    from pipeline.cli.session import open_session
    from pipeline.selection import Selection
    from pipeline.workflow.run_stage import RunOptions

    if options.check:
        with open_session(output, options.config, "run_batch.py --check", clock) as session:
            return _check(output, session)
    selection = Selection(options.limit, options.documents, options.pages)
    run_options = RunOptions(
        lambda quote: print_quote(output, quote), output.warning, selection, options.yes, options.dry_run, options.again
    )
    with open_session(output, options.config, f"run_batch.py --process {options.process}", clock) as session:
        if options.dry_run and options.process == "all":
            return _price_all(output, session, run_options)
        waits = not options.dry_run and (options.wait or options.process == "all")
        with session.waiting() if waits else nullcontext():
            if options.process == "all":
                return _run_all(output, session, run_options)
            return _stage(output, session, options.process, run_options, options.wait)[0]


def _check(output: Output, session: Session) -> int:
    from pipeline.cli.check_table import print_papers, print_totals
    from pipeline.workflow.check import InputTotals, check_input

    totals = InputTotals()
    print_papers(output, check_input(session, totals))
    return print_totals(output, totals)


def _price_all(output: Output, session: Session, options: RunOptions) -> int:
    """The price of every stage that can be priced: the stage before it must have answered."""
    from pipeline.errors import StageOrderError

    worst = OK
    for process in PROCESSES:
        try:
            worst = max(worst, _stage(output, session, process, options, wait=False)[0])
        except StageOrderError:
            output.note(f"{process}: no price yet, because it depends on the answers of {previous_process(process)}")
    return worst


def _run_all(output: Output, session: Session, options: RunOptions) -> int:
    """All stages, one after the other, until one needs the user."""
    worst = OK
    for process in PROCESSES:
        status, must_stop = _stage(output, session, process, options, wait=True, is_last=process == FINAL)
        worst = max(worst, status)
        if must_stop:
            break
    return worst


def _stage(
    output: Output, session: Session, process: str, options: RunOptions, wait: bool, is_last: bool = True
) -> tuple[int, bool]:
    """(exit status, whether the stages after it should not be started)."""
    from pipeline.cli import summary
    from pipeline.workflow.retrieve import run_and_wait
    from pipeline.workflow.run_stage import run_stage

    wait = wait and not options.dry_run
    if wait:
        announce = partial(summary.print_waiting, output, process, session)
        report = run_and_wait(session, process, options, announce)
    else:
        report = run_stage(session, process, options)
    summary.print_problems(output, report.merged)
    if options.dry_run:
        output.note("Dry run: nothing was sent.")
    elif wait:
        summary.print_retrieved(output, process, report, session, is_last, is_retrieval=False)
    else:
        summary.print_submitted(output, process, report, session)
    return summary.exit_status(report), report.must_stop


if __name__ == "__main__":
    sys.exit(main())
