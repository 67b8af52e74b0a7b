"""Measure precision, recall, F1 and F0.5 of the mentions against gold labels.

python evaluate.py --gold gold.jsonl
python evaluate.py --gold gold.jsonl --labels extraction_outputs/labels.jsonl --process reasoning
python evaluate.py --gold gold.jsonl --compare runs/a runs/b
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.arguments import OK, guarded, parser
from pipeline.cli.output import Output
from pipeline.processes import PROCESSES

if TYPE_CHECKING:
    from pipeline.evaluation import GoldLabels


def main(argv: Sequence[str] | None = None) -> int:
    made = _parser()
    options = made.parse_args(argv)
    if not (options.gold or options.labels):
        made.error("one of the arguments --gold and --labels is required")
    return guarded(options, lambda output: _run(options, output))


def _parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        "Compare the mentions of each stage with gold labels: precision, recall, F1 and F0.5, with 95 % bootstrap "
        "intervals. The files evaluation.json and evaluation.html go to the folder evaluation in OUTPUT_DIR.",
    )
    help_process = "the stage whose breakdowns and errors are shown (default: the last one with answers)"
    made.add_argument("--process", choices=PROCESSES, help=help_process)
    help_gold = (
        "gold labels: a JSONL with doc_id, page, text and mentions, a labels.jsonl, a JSON export of Label Studio, or "
        "a folder with BRAT files; the format is recognised"
    )
    made.add_argument("--gold", type=Path, metavar="FILE", help=help_gold)
    help_labels = "human labels of the same formats; on the pages that they mark as complete, they replace --gold"
    made.add_argument("--labels", type=Path, metavar="FILE", help=help_labels)
    help_map = "CSV with two columns, gold id and document id, where they differ (default: the same id or file name)"
    made.add_argument("--documents-map", type=Path, metavar="FILE", help=help_map)
    help_output = "the output folder to evaluate and to write to (default: OUTPUT_DIR of the settings)"
    made.add_argument("--output-dir", type=Path, metavar="DIR", help=help_output)
    help_compare = "compare two output folders on the same gold: both tables, and the difference in F1"
    made.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help=help_compare)
    return made


def _run(options: argparse.Namespace, output: Output) -> int:
    from pipeline.cli.evaluation_table import print_comparison, print_evaluation
    from pipeline.config import load_config
    from pipeline.evaluation import (
        compare_runs,
        comparison_report,
        evaluate_run,
        evaluation_report,
        require_packages,
        write_html,
        write_json,
    )
    from pipeline.workspace import Workspace

    require_packages()
    config = load_config(options.config)
    workspace = Workspace(options.output_dir or config.output_dir)
    labels = _gold_labels(options, config.min_specificity)
    if options.compare:
        first, second = options.compare
        comparison = compare_runs(Workspace(first), Workspace(second), labels, options.process)
        print_comparison(output, comparison)
        report, evaluations = comparison_report(comparison), [comparison.first, comparison.second]
        differences = comparison.differences
    else:
        evaluation = evaluate_run(workspace, labels, options.process)
        print_evaluation(output, evaluation)
        report, evaluations, differences = evaluation_report(evaluation), [evaluation], None
    write_json(report, workspace.evaluation / "evaluation.json")
    write_html(evaluations, workspace.evaluation / "evaluation.html", differences)
    output.report |= {"folder": workspace.evaluation, "evaluation": report}
    output.note(f"\nWritten to {workspace.evaluation}: evaluation.json, evaluation.html (with the rules)")
    return OK


def _gold_labels(options: argparse.Namespace, min_specificity: str) -> GoldLabels:
    from pipeline.evaluation import GoldLabels, load_gold, read_documents_map

    return GoldLabels(
        gold=load_gold(options.gold) if options.gold else None,
        labels=load_gold(options.labels) if options.labels else None,
        documents_map=read_documents_map(options.documents_map) if options.documents_map else {},
        min_specificity=min_specificity,
    )


if __name__ == "__main__":
    sys.exit(main())
