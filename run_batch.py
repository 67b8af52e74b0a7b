"""Build one stage's requests from the PDFs in input/ and submit them as batches.

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
from typing import TYPE_CHECKING

from pipeline.cli import OK, PROCESSES, guarded, parser

if TYPE_CHECKING:
    from pipeline.runner import Orders, Runner
    from pipeline.selection import Selection


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if not options.process and not options.check:
        _parser().error("say which stage, with --process, or --check")
    again = " (without --again once batch_status.py shows its batches)" if options.again else ""
    return guarded(lambda: _main(options), f"run the same command{again}")


def _parser() -> argparse.ArgumentParser:
    made = parser(
        "Ask a stage's question about every page that has no answer yet.", (*PROCESSES, "all"), required=False
    )
    made.add_argument("--check", action="store_true", help="list what is in the input folder, and send nothing")
    made.add_argument("--dry-run", action="store_true", help="say what it would cost, and send nothing (needs no key)")
    made.add_argument("--yes", action="store_true", help="agree to ask (and pay for) answered pages anew")
    made.add_argument("--wait", action="store_true", help="follow the batches, collect and merge them as they end")
    made.add_argument("--limit", type=int, metavar="N", help="send the first N documents only (default: all)")
    made.add_argument("--documents", metavar="GLOB", help="send documents whose id matches, e.g. 'reports/*'")
    made.add_argument("--pages", metavar="A-B", help="send these pages of each document only, e.g. 1-5")
    made.add_argument(
        "--again", nargs="?", const="all", choices=("all", "failed"),
        help="set the old answers aside and ask anew; 'failed': only what was given up",
    )  # fmt: skip
    return made


def _main(options: argparse.Namespace) -> int:
    from pipeline.batches.plan import Again
    from pipeline.runner import Orders, Runner
    from pipeline.selection import Selection, check_pages

    if options.check:
        with Runner.from_file(options.config, "run_batch.py --check") as runner:
            return _check(runner)
    pages = check_pages(options.pages) if options.pages else None
    selection = Selection(options.limit, options.documents, pages)
    again = Again(only_failed=options.again == "failed") if options.again else None
    orders = Orders(yes=options.yes, dry_run=options.dry_run, again=again)
    with Runner.from_file(options.config, f"run_batch.py --process {options.process}") as runner:
        if options.process != "all":
            return _stage(runner, options.process, selection, orders, options.wait)[0]
        return _price_all(runner, selection, orders) if orders.dry_run else _all(runner, selection, orders)


def _check(runner: Runner) -> int:
    from pipeline import summary

    return summary.print_checked(runner.check(print))


def _price_all(runner: Runner, selection: Selection, orders: Orders) -> int:
    """What is known so far: a stage can be priced when the one before has answered."""
    from pipeline.errors import StageOrderError

    worst = OK
    for process in PROCESSES:
        try:
            worst = max(worst, _stage(runner, process, selection, orders, wait=False)[0])
        except StageOrderError as reason:
            print(f"{process}: cannot be priced yet. {reason}")
    return worst


def _all(runner: Runner, selection: Selection, orders: Orders) -> int:
    """Every stage, one after the other, unless one is refused as a whole."""
    worst = OK
    for process in PROCESSES:
        status, must_stop = _stage(runner, process, selection, orders, wait=True, then=process == PROCESSES[-1])
        worst = max(worst, status)
        if must_stop:
            break
    return worst


def _stage(
    runner: Runner, process: str, selection: Selection, orders: Orders, wait: bool, then: bool = True
) -> tuple[int, bool]:
    """(exit status, whether the stages after it are pointless)."""
    from pipeline import summary

    work = runner.run_and_follow if wait and not orders.dry_run else runner.run
    report = work(process, selection, orders, summary.print_quote)
    summary.print_problems(report)
    if orders.dry_run:
        print("Dry run: nothing was sent.")
    elif wait:
        summary.print_retrieved(process, report, runner, then)
    else:
        summary.print_run(process, report, runner)
    return summary.exit_status(report), report.must_stop


if __name__ == "__main__":
    sys.exit(main())
