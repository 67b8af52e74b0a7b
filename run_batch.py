"""Build one stage's requests from the PDFs in input/ and submit them as batches.

python run_batch.py --process extraction
python run_batch.py --process judge --documents 'reports/*' --wait
python run_batch.py --process all
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cli import PROCESSES, guarded, parser

if TYPE_CHECKING:
    from pipeline.runner import Runner, Selection


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return guarded(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    made = parser("Ask a stage's question about every page that has no answer yet.", (*PROCESSES, "all"))
    made.add_argument("--wait", action="store_true", help="follow the batches, collect and merge them as they end")
    made.add_argument("--limit", type=int, metavar="N", help="send the first N documents only (default: all)")
    made.add_argument("--documents", metavar="GLOB", help="send documents whose id matches, e.g. 'reports/*'")
    made.add_argument("--pages", metavar="A-B", help="send these pages of each document only, e.g. 1-5")
    return made


def _main(options: argparse.Namespace) -> int:
    from pipeline.runner import Runner, Selection, check_pages

    pages = check_pages(options.pages) if options.pages else None
    selection = Selection(options.limit, options.documents, pages)
    with Runner.from_file(options.config, f"run_batch.py --process {options.process}") as runner:
        if options.process != "all":
            return _stage(runner, options.process, selection, options.wait)
        last = PROCESSES[-1]
        return max(_stage(runner, process, selection, wait=True, then=process == last) for process in PROCESSES)


def _stage(runner: Runner, process: str, selection: Selection, wait: bool, then: bool = True) -> int:
    from pipeline import summary

    if wait:
        report = runner.run_and_follow(process, selection)
        summary.print_problems(report)
        summary.print_retrieved(process, report, runner.workspace, then)
        return summary.exit_status(report)
    report = runner.run(process, selection)
    summary.print_problems(report)
    summary.print_run(process, report, local=runner.provider.kind == "local")
    return summary.exit_status(report)


if __name__ == "__main__":
    sys.exit(main())
