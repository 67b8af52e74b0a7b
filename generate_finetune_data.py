"""Write training data from final and human labels: train, valid and test JSONL in extraction_outputs/finetune/.

python generate_finetune_data.py
python generate_finetune_data.py --format sharegpt --only-reviewed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.cli.arguments import OK, guarded, parser
from pipeline.cli.output import Output
from pipeline.finetune import FORMATS
from pipeline.words import counted

if TYPE_CHECKING:
    from pipeline.config import Config

KINDS = ("positive", "negative")  # of rows


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    generate = _generate_judge if options.process == "judge" else _generate
    return guarded(options, lambda output: generate(options, output))


def _parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        "Write training data for fine-tuning from the final labels. Human labels override the pipeline, and are enough "
        "without it: for papers without final labels, only the pages that people marked as complete are used. The "
        "files train.jsonl, valid.jsonl and test.jsonl, and a README.md with all counts, go to the folder finetune in "
        "OUTPUT_DIR.",
    )
    help_format = (
        "format of each row: openai (chat messages, also for TRL), sharegpt (conversations) or alpaca (instruction, "
        "input, output) (default: openai)"
    )
    made.add_argument("--format", choices=FORMATS, default="openai", help=help_format)
    help_reviewed = "use only pages that a person has marked as complete (default: also pages with final labels)"
    made.add_argument("--only-reviewed", action="store_true", help=help_reviewed)
    help_process = (
        "extraction: pages and their mentions; judge: mentions that the extraction found, and whether they are valid; "
        "its rows go to finetune/judge (default: extraction)"
    )
    made.add_argument("--process", choices=("extraction", "judge"), default="extraction", help=help_process)
    return made


def _generate(options: argparse.Namespace, output: Output) -> int:
    from pipeline.cli.split_table import print_splits
    from pipeline.config import SPLITS, load_config
    from pipeline.finetune.generate import generate
    from pipeline.workspace import Workspace

    config = load_config(options.config)
    workspace = Workspace(config.output_dir)
    generated = generate(config, workspace, options.format, options.only_reviewed)
    card = generated.card
    counts: dict[str, dict[str, int]] = {
        split: {
            "documents": card.documents[split],
            "positive_rows": card.rows[split, "positive"],
            "negative_rows": card.rows[split, "negative"],
        }
        for split in SPLITS
    }
    print_splits(output, counts)
    output.report |= {"folder": workspace.finetune, "left_out": card.left_out}
    if card.without_final_labels:
        number = counted(card.without_final_labels, "document")
        output.note(f"without final labels: {number} (only pages that a person has completed are used)")
    for reason, count in sorted(card.left_out.items()):
        output.note(f"left out: {counted(count, 'page')} ({reason})")
    if parts := card.left_out_parts:
        output.note(f"left out: {counted(parts, 'part')} without a mention, of long pages with mentions")
    if not (card.rows["train", "positive"] or card.rows["train", "negative"]):
        output.warning(generated.documents.why_train_is_empty())
    _note_empty_splits(output, config, {split: sum(card.rows[split, kind] for kind in KINDS) for split in SPLITS})
    output.note(f"Written to {workspace.finetune}")
    if not generated.has_histogram:
        output.note("README.md there has no histogram of tokens. To get it: `pip install -r requirements-plots.txt`")
    return OK


def _generate_judge(options: argparse.Namespace, output: Output) -> int:
    from pipeline.cli.split_table import print_splits
    from pipeline.config import SPLITS, load_config
    from pipeline.finetune.generate_judge import generate_judge
    from pipeline.workspace import Workspace

    config = load_config(options.config)
    generated = generate_judge(config, Workspace(config.output_dir), options.format, options.only_reviewed)
    counts: dict[str, dict[str, int]] = {
        split: {
            "rows": generated.rows[split],
            "valid_mentions": generated.verdicts[split, True],
            "invalid_mentions": generated.verdicts[split, False],
        }
        for split in SPLITS
    }
    print_splits(output, counts)
    output.report |= {"folder": generated.folder, "left_out": generated.left_out}
    for reason, count in sorted(generated.left_out.items()):
        output.note(f"left out: {counted(count, 'page')} ({reason})")
    if not generated.rows["train"]:
        output.warning(generated.documents.why_train_is_empty())
    _note_empty_splits(output, config, generated.rows)
    output.note(f"Written to {generated.folder}")
    return OK


def _note_empty_splits(output: Output, config: Config, rows: Mapping[str, int]) -> None:
    """Valid and test without rows are no error, but are noticed late, when a model is to be measured."""
    empty = [split for split in ("valid", "test") if not rows.get(split) and config.split.get(split)]
    if empty:
        have = "has" if len(empty) == 1 else "have"
        output.note(
            f"{' and '.join(empty)} {have} no rows: label more papers, or change SPLIT or SPLIT_SEED in config.yaml."
        )


if __name__ == "__main__":
    sys.exit(main())
