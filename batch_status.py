"""Show the status of all submitted batches. Changes nothing, and works while another command runs.

python batch_status.py --watch
python batch_status.py --cancel all
python batch_status.py --resolve 7 lost
python batch_status.py --clean-remote
python batch_status.py --removed

Exit status: 0 nothing to do, 3 a submission must be settled, 4 answers can be retrieved.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.cli.arguments import OK, guarded, parser
from pipeline.cli.output import Output
from pipeline.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from pipeline.batches.session import Session


ANSWERS = """\
answers of --resolve:
  sent            search the provider's list for the batch again
  sent:BATCH_ID   it exists, and this is its id
  lost            it does not exist, or its results are gone: its requests are sent again
  abandon         it cannot be found out whether it exists: give it up
"""


def main(argv: Sequence[str] | None = None, clock: Clock = SYSTEM_CLOCK) -> int:
    made = _parser()
    options = made.parse_args(argv)
    if options.watch and options.json:
        made.error("--json prints one report: leave out --watch")
    return guarded(options, lambda output: _main(options, output, clock))


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__, "Show the status of all batches and stages.", more_help=ANSWERS)
    one = made.add_mutually_exclusive_group()
    one.add_argument("--watch", action="store_true", help="show it again every POLL_SECONDS while a batch is running")
    one.add_argument(
        "--cancel", metavar="ID|all", help="cancel a batch (by its number or id) or all; answers so far are kept"
    )
    one.add_argument(
        "--resolve", nargs=2, metavar=("ID", "ANSWER"),
        help="settle an unclear batch: ID is its number, ANSWER one of the four below",
    )  # fmt: skip
    one.add_argument(
        "--clean-remote", action="store_true", help="delete files at the provider that are completely on this disk"
    )
    one.add_argument(
        "--removed", nargs="?", const="list", choices=("list", "delete"),
        help="list the results of papers that are no longer in INPUT_DIR, or delete them; answers are kept",
    )  # fmt: skip
    return made


def _main(options: argparse.Namespace, output: Output, clock: Clock) -> int:
    from pipeline.batches import administration
    from pipeline.cli.session import open_session

    with open_session(output, options.config, "batch_status.py", clock) as session:
        if options.cancel:
            return _print_all(output, session, lambda: administration.cancel(session, options.cancel))
        if options.resolve:
            return _print_all(output, session, lambda: [administration.resolve(session, *options.resolve)])
        if options.clean_remote:
            return _print_all(output, session, lambda: administration.clean_remote(session))
        if options.removed:
            return _removed(output, session, options.removed == "delete")
        return _watch(output, session) if options.watch else _show(output, session)[0]


def _print_all(output: Output, session: Session, work: Callable[[], Iterable[str]]) -> int:
    with session.lock():
        for sentence in work():
            output.report.setdefault("done", []).append(sentence)
            output.note(sentence)
    return OK


def _removed(output: Output, session: Session, delete: bool) -> int:
    from pipeline.pdf.discover import refreshed
    from pipeline.words import counted
    from pipeline.workflow.removed import delete_files, removed_papers

    with session.lock():
        for _ in refreshed(session.workspace, session.config):
            pass
        papers = removed_papers(session.workspace)
        output.report["removed"] = list(papers)
        for source in papers:
            output.note(source)
        if delete:
            delete_files(papers)
    if papers:
        verb = "Deleted the results of" if delete else "There are results of"
        output.note(f"{verb} {counted(len(papers), 'paper')} no longer in {session.config.input_dir}")
    else:
        output.note("No results of removed papers.")
    if papers and not delete:
        output.next("python batch_status.py --removed delete", "deletes them")
    return OK


def _watch(output: Output, session: Session) -> int:
    from pipeline.workflow.notify import notify

    was_running = False
    while True:
        if sys.stdout.isatty() and not output.quiet:
            print("\033[2J\033[H", end="")  # clear the screen
        status, running = _show(output, session)
        if not running:
            if was_running:
                notify(session.config, "all", "No batch is running any more.")
            return status
        was_running = True
        session.clock.sleep(session.config.poll_seconds)


def _show(output: Output, session: Session) -> tuple[int, bool]:
    """(exit status, whether a batch is still running)."""
    from pipeline.batches.status import read_status
    from pipeline.cli.status_table import exit_status, print_status
    from pipeline.workflow.counts import stage_counts
    from pipeline.workflow.next_step import Progress

    report = read_status(session)
    counts = stage_counts(session)
    other = session.workspace.other_command()
    step = None if other else Progress.now(session, counts).next_step(sent_nothing=True)
    print_status(output, report, counts, step, other)
    return exit_status(report), report.running


if __name__ == "__main__":
    sys.exit(main())
