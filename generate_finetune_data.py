"""Write training data from final and human labels: train, valid and test JSONL in extraction_outputs/finetune/.

python generate_finetune_data.py
python generate_finetune_data.py --format sharegpt --only-reviewed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli.arguments import OK, guarded, parser
from pipeline.finetune import FORMATS
from pipeline.words import counted


def main(argv: Sequence[str] | None = None) -> int:
    made = parser(
        "Write training data for fine-tuning from the final labels. Human labels override the pipeline, and are enough "
        "without it: papers without final labels give the pages that people have completed. The files "
        "train.jsonl, valid.jsonl and test.jsonl, and a README.md with all counts, go to the folder finetune in "
        "OUTPUT_DIR.",
        processes=None,
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
    options = made.parse_args(argv)
    return guarded(lambda: _generate_judge(options) if options.process == "judge" else _generate(options))


def _generate(options: argparse.Namespace) -> int:
    from pipeline.config import SPLITS, load_config
    from pipeline.finetune.generate import generate
    from pipeline.workspace import Workspace

    config = load_config(options.config)
    workspace = Workspace(config.output_dir)
    generated = generate(config, workspace, options.format, options.only_reviewed)
    card = generated.card
    for split in SPLITS:
        positive, negative = card.rows[split, "positive"], card.rows[split, "negative"]
        print(
            f"{split}: {counted(generated.documents.counts[split], 'document')}, "
            f"{positive:,} positive and {counted(negative, 'negative row')}"
        )
    if card.without_final_labels:
        number = counted(card.without_final_labels, "document")
        print(f"without final labels: {number} (only pages that a person has completed are used)")
    for reason, count in sorted(card.left_out.items()):
        print(f"left out: {counted(count, 'page')} ({reason})")
    if parts := card.left_out_parts:
        print(f"left out: {counted(parts, 'part')} without a mention, of long pages with mentions")
    if not (card.rows["train", "positive"] or card.rows["train", "negative"]):
        print(f"note: {generated.documents.why_train_is_empty()}")
    print(f"Written to {workspace.finetune}")
    if not generated.has_histogram:
        print("README.md has no histogram of tokens. To get it: pip install -r requirements-plots.txt")
    return OK


def _generate_judge(options: argparse.Namespace) -> int:
    from pipeline.config import SPLITS, load_config
    from pipeline.finetune.generate_judge import generate_judge
    from pipeline.workspace import Workspace

    config = load_config(options.config)
    generated = generate_judge(config, Workspace(config.output_dir), options.format, options.only_reviewed)
    for split in SPLITS:
        valid, invalid = generated.verdicts[split, True], generated.verdicts[split, False]
        print(f"{split}: {counted(generated.rows[split], 'row')}, {valid:,} valid and {invalid:,} invalid mentions")
    for reason, count in sorted(generated.left_out.items()):
        print(f"left out: {counted(count, 'page')} ({reason})")
    if not generated.rows["train"]:
        print(f"note: {generated.documents.why_train_is_empty()}")
    print(f"Written to {generated.folder}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
