"""Write what was found as tables: one row per mention, and one row per paper and dataset.

python export_mentions.py
python export_mentions.py --format html
python export_mentions.py --format parquet --valid-only
python export_mentions.py --format xlsx --documents 'reports/*' --canonical my-names.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.arguments import OK, guarded, parser
from pipeline.cli.output import Output
from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.processes import PROCESSES
from pipeline.words import counted

FORMATS = ("csv", "parquet", "jsonl", "xlsx", "html")


def main(argv: Sequence[str] | None = None, clock: Clock = SYSTEM_CLOCK) -> int:
    options = _parser().parse_args(argv)
    return guarded(options, lambda output: _export(options, output, clock))


def _parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        "Write mentions.<format>, with one row per mention, and datasets.<format>, with one row per paper and dataset, "
        "or report.html, a page with plots and every sentence, to the folder export in OUTPUT_DIR. Human labels "
        "override the stages. The columns are described in docs/export.md.",
    )
    made.add_argument(
        "--format",
        choices=FORMATS,
        default="csv",
        help="csv, parquet, jsonl or xlsx for tables, html for a report (default: csv)",
    )
    made.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the tables (default: export in OUTPUT_DIR)"
    )
    help_stage = "export the mentions as this stage left them (default: the last stage with results)"
    made.add_argument("--stage", choices=PROCESSES, help=help_stage)
    made.add_argument("--valid-only", action="store_true", help="leave out rejected mentions (default: also these)")
    help_specificity = "leave out valid mentions that are vaguer (default: MIN_SPECIFICITY)"
    choices = ("properly_named", "descriptive_but_unnamed", "vague_generic")
    made.add_argument("--min-specificity", choices=choices, help=help_specificity)
    help_documents = "export only documents whose id matches, e.g. 'reports/*' (default: all)"
    made.add_argument("--documents", metavar="GLOB", help=help_documents)
    help_canonical = (
        "your own CSV, with the columns name and canonical_name, and if wanted canonical_id and document: mentions "
        "with this name get this canonical name"
    )
    made.add_argument("--canonical", type=Path, metavar="FILE", help=help_canonical)
    help_openalex = "look up title, authors and year of the papers with a DOI in OpenAlex, where they are not known"
    made.add_argument("--openalex", action="store_true", help=help_openalex)
    return made


def _export(options: argparse.Namespace, output: Output, clock: Clock) -> int:
    from pipeline.cli.found import of_datasets
    from pipeline.config import load_config
    from pipeline.export.mentions import Filter
    from pipeline.export.run import ExportOptions, export
    from pipeline.selection import Selection

    config = load_config(options.config)
    kept = Filter(options.valid_only, options.min_specificity or config.min_specificity)
    folder = options.output or config.output_dir / "export"
    selection = Selection(documents=options.documents)
    wanted = ExportOptions(options.format, folder, options.stage, kept, selection, options.canonical, options.openalex)
    exported = export(config, wanted, clock)
    rejected = exported.mentions - exported.valid
    output.report |= {
        "stage": exported.stage,
        "files": exported.files,
        "documents": exported.documents,
        "documents_with_mentions": exported.papers,
        "mentions": exported.valid,
        "rejected": rejected,
        "datasets": len(exported.datasets),
        "pending_pages": exported.pending,
    }
    output.note(
        f"{counted(exported.valid, 'mention')} {of_datasets(len(exported.datasets))} in "
        f"{exported.papers:,} of {counted(exported.documents, 'paper')} after {exported.stage}, and "
        f"{counted(rejected, 'rejected mention')}"
    )
    for path in exported.files:
        output.note(f"Written to {path}")
    if exported.pending:
        pages = counted(exported.pending, "page")
        output.next("python run_batch.py --process all", f"waits for the answers about {pages}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
