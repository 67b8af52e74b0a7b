"""Labels out to people, and their corrections back in.

python review_labels.py --html
python review_labels.py --export label-studio --documents 'reports/*'
python review_labels.py --import labels.jsonl
python review_labels.py --agreement anna.jsonl ben.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import OK, guarded, parser

if TYPE_CHECKING:
    from pipeline.selection import Selection
    from pipeline.workspace import Workspace


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return guarded(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    made = parser("Have people review what was found.", processes=None)
    one = made.add_mutually_exclusive_group(required=True)
    one.add_argument("--html", action="store_true", help="write one page for the browser, to be used without a server")
    one.add_argument("--export", choices=("label-studio",), help="write tasks and a labelling configuration")
    help_import = "take labels: a labels.jsonl, or the JSON export of a Label Studio project"
    one.add_argument("--import", dest="labels", type=Path, metavar="FILE", help=help_import)
    help_agreement = "compare two annotators: Cohen's kappa by field, and where they differ"
    one.add_argument("--agreement", type=Path, nargs=2, metavar="FILE", help=help_agreement)
    made.add_argument("--documents", metavar="GLOB", help="only documents whose id matches, e.g. 'reports/*'")
    made.add_argument("--limit", type=int, metavar="N", help="only the first N documents (default: all)")
    return made


def _main(options: argparse.Namespace) -> int:
    from pipeline.config import load_config
    from pipeline.selection import Selection
    from pipeline.workspace import Workspace

    if options.agreement:
        return _agreement(*options.agreement)
    workspace = Workspace(load_config(options.config).output_dir)
    selection = Selection(options.limit, options.documents)
    if options.labels:
        return _import(options.labels, workspace)
    return _html(workspace, selection) if options.html else _export(workspace, selection)


def _html(workspace: Workspace, selection: Selection) -> int:
    from pipeline.review.html import write_html
    from pipeline.review.pages import review_pages

    path = workspace.review / "review.html"
    count = write_html(review_pages(workspace, selection), path)
    print(f"{count} pages in {path}: open it in a browser; what you download is for  review_labels.py --import")
    return OK


def _export(workspace: Workspace, selection: Selection) -> int:
    from pipeline.review.label_studio import labelling_config, write_tasks
    from pipeline.review.pages import review_pages
    from pipeline.workspace import write_atomic

    tasks, interface = workspace.review / "label-studio.json", workspace.review / "label-studio.xml"
    count = write_tasks(review_pages(workspace, selection), tasks)
    write_atomic(interface, labelling_config().encode())
    print(f"{count} tasks in {tasks}: import them into a project whose labelling interface is {interface}")
    return OK


def _import(path: Path, workspace: Workspace) -> int:
    from pipeline.labels import add_labels
    from pipeline.review.importing import read_any

    labels = list(read_any(path))
    count = add_labels(labels, workspace)
    mentions = sum(len(label.mentions) for label in labels)
    print(f"{len(labels)} pages with {mentions} mentions were read; {count} are new in {workspace.labels}")
    print("Next: python generate_finetune_data.py")
    return OK


def _agreement(one: Path, other: Path) -> int:
    from tabulate import tabulate

    from pipeline.review.agreement import agreement
    from pipeline.review.importing import read_any

    found = agreement(read_any(one), read_any(other))
    rows = [
        [name, count, f"{100 * same:.1f} %", "-" if kappa is None else f"{kappa:.2f}"]
        for name, count, same, kappa in found.rows()
    ]
    print(f"{found.pages} pages were labelled by both")
    if found.other_texts:
        print(f"{found.other_texts} more were labelled on different texts, and are not compared")
    print(tabulate(rows, headers=("field", "mentions", "the same", "kappa"), disable_numparse=True))
    for line in found.disagreements:
        print(line)
    return OK


if __name__ == "__main__":
    sys.exit(main())
