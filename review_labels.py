"""Human review: write the review page or Label Studio tasks, import labels, compare two annotators.

python review_labels.py --html
python review_labels.py --export label-studio --documents 'reports/*'
python review_labels.py --html --all-pages
python review_labels.py --import labels.jsonl
python review_labels.py --import gold.jsonl --annotator ACME
python review_labels.py --agreement anna.jsonl ben.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.arguments import OK, guarded, parser, positive
from pipeline.cli.output import Output
from pipeline.words import counted

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.selection import Selection
    from pipeline.workspace import Workspace

GOLD_ANNOTATOR = "gold"


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return guarded(options, lambda output: _run(options, output))


def _parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        "Let people review the dataset mentions that were found. Files go to the folder review in OUTPUT_DIR, imported "
        "labels to labels.jsonl in OUTPUT_DIR.",
        reports=False,
    )
    action = made.add_mutually_exclusive_group(required=True)
    help_html = "write review.html, a page for reviewing in the browser without a server or network"
    action.add_argument("--html", action="store_true", help=help_html)
    help_export = (
        "write label-studio.json (tasks) and label-studio.xml (labelling interface) for a Label Studio project"
    )
    action.add_argument("--export", choices=("label-studio",), help=help_export)
    help_import = (
        "import labels: a labels.jsonl from the review page, a JSON export of a Label Studio project, or gold labels "
        "(a JSONL with doc_id, page, text and mentions, or a folder with BRAT files); the format is recognised"
    )
    action.add_argument("--import", dest="labels", type=Path, metavar="FILE", help=help_import)
    help_agreement = (
        "compare the label files of two annotators: print agreement and Cohen's kappa for each field, and every "
        "mention on which they differ"
    )
    action.add_argument("--agreement", type=Path, nargs=2, metavar="FILE", help=help_agreement)
    help_documents = (
        "with --html or --export: only documents whose id (path under INPUT_DIR without .pdf) matches, for example "
        "'reports/*' (default: all)"
    )
    made.add_argument("--documents", metavar="GLOB", help=help_documents)
    help_limit = "with --html or --export: only the first N documents (default: all)"
    made.add_argument("--limit", type=positive, metavar="N", help=help_limit)
    help_all = (
        "with --html or --export: also pages that no stage has finished (default: only pages that a stage has finished "
        "or found mentions on)"
    )
    made.add_argument("--all-pages", action="store_true", help=help_all)
    help_annotator = f"with --import of gold labels: the name of their annotator (default: {GOLD_ANNOTATOR})"
    made.add_argument("--annotator", metavar="NAME", help=help_annotator)
    help_map = (
        "with --import of gold labels: CSV with two columns, gold id and document id, where they differ (default: the "
        "same id or file name)"
    )
    made.add_argument("--documents-map", type=Path, metavar="FILE", help=help_map)
    return made


def _run(options: argparse.Namespace, output: Output) -> int:
    from pipeline.config import load_config
    from pipeline.selection import Selection
    from pipeline.workspace import Workspace

    if options.agreement:
        return _agreement(output, *options.agreement)
    config = load_config(options.config)
    if options.labels:
        return _import(options, output, Workspace(config.output_dir))
    selection = Selection(options.limit, options.documents)
    write = _html if options.html else _export
    return write(config, output, selection, options.all_pages)


def _html(config: Config, output: Output, selection: Selection, all_pages: bool) -> int:
    from pipeline.export.naming import canonical_names
    from pipeline.review.html import write_html
    from pipeline.review.review_pages import review_pages
    from pipeline.workspace import Workspace

    workspace = Workspace(config.output_dir)
    path = workspace.review / "review.html"
    pages = review_pages(workspace, selection, all_pages, canonical_names(config, selection))
    count = write_html(pages, path)
    output.note(f"{counted(count, 'page')} written to {path}")
    output.note(
        "Next: open it in a browser, download labels.jsonl there, and run `python review_labels.py --import FILE`"
    )
    return OK


def _export(config: Config, output: Output, selection: Selection, all_pages: bool) -> int:
    from pipeline.files import write_atomic
    from pipeline.review.label_studio import labelling_config, write_tasks
    from pipeline.review.review_pages import review_pages
    from pipeline.workspace import Workspace

    workspace = Workspace(config.output_dir)
    tasks, interface = workspace.review / "label-studio.json", workspace.review / "label-studio.xml"
    count = write_tasks(review_pages(workspace, selection, all_pages), tasks)
    write_atomic(interface, labelling_config().encode())
    output.note(f"{counted(count, 'task')} written to {tasks}")
    output.note(
        f"Next: create a Label Studio project with the labelling interface in {interface}, and import the tasks"
    )
    return OK


def _import(options: argparse.Namespace, output: Output, workspace: Workspace) -> int:
    from pipeline.errors import LabelError
    from pipeline.evaluation import is_gold
    from pipeline.review.importing import read_labels
    from pipeline.review.labels import add_labels

    path = options.labels
    if is_gold(path):
        return _import_gold(options, output, workspace)
    if options.annotator or options.documents_map:
        raise LabelError(
            f"{path} is no file of gold labels, and names its annotators and documents: leave out --annotator and "
            "--documents-map."
        )
    read = read_labels(path, workspace.review / "label-studio.json")
    added = add_labels(read.labels, workspace)
    mentions = sum(len(label.mentions) for label in read.labels)
    output.note(f"{path}: labels of {counted(len(read.labels), 'page')} with {counted(mentions, 'mention')}")
    for note in read.notes:
        output.note(f"note: {note}")
    output.note(f"{workspace.labels}: {added}")
    output.next("python generate_finetune_data.py")
    return OK


def _import_gold(options: argparse.Namespace, output: Output, workspace: Workspace) -> int:
    from pipeline.cli.gold_summary import print_imported_gold
    from pipeline.evaluation import import_gold, load_gold, read_documents_map
    from pipeline.records import storable

    gold = load_gold(options.labels)
    documents_map = read_documents_map(options.documents_map) if options.documents_map else {}
    imported = import_gold(gold, workspace, storable(options.annotator or GOLD_ANNOTATOR), documents_map)
    print_imported_gold(output, gold, imported)
    output.note(f"{workspace.labels}: {imported.added}")
    output.next("python generate_finetune_data.py")
    return OK


def _agreement(output: Output, one: Path, other: Path) -> int:
    from tabulate import tabulate

    from pipeline.review.agreement import agreement
    from pipeline.review.importing import read_labels

    files = read_labels(one), read_labels(other)
    found = agreement(*(file.labels for file in files))
    for path, file in zip((one, other), files, strict=True):
        for note in file.notes:
            output.note(f"note: {path}: {note}")
    output.note(f"{counted(found.pages, 'page was', 'pages were')} labelled by both annotators")
    if found.different_texts:
        pages = counted(found.different_texts, "more page was", "more pages were")
        output.note(f"{pages} labelled by both, but on different versions of the text, and not compared")
    rows = [
        (name, count, f"{100 * same:.1f} %", "-" if kappa is None else f"{kappa:.2f}")
        for name, count, same, kappa in found.rows()
    ]
    output.note(tabulate(rows, headers=("field", "mentions", "agreement", "kappa"), disable_numparse=True))
    for line in found.disagreements:
        output.note(line)
    return OK


if __name__ == "__main__":
    sys.exit(main())
