"""Make fine-tuning data from the final labels: train, valid and test JSONL under extraction_outputs/finetune/.

python generate_finetune_data.py
python generate_finetune_data.py --format sharegpt --only-reviewed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli import OK, guarded, parser


def main(argv: Sequence[str] | None = None) -> int:
    made = parser("Final labels -> JSONL for training, split by document.", processes=None)
    forms = ("openai", "sharegpt", "alpaca")  # as in pipeline.finetune.formats, which takes too long to load for --help
    made.add_argument("--format", choices=forms, default="openai", help="of the rows (default: openai, chat messages)")
    made.add_argument("--only-reviewed", action="store_true", help="take only pages that people have completed")
    options = made.parse_args(argv)
    return guarded(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from pipeline.config import load_config
    from pipeline.finetune import SPLITS, generate
    from pipeline.workspace import Workspace

    config = load_config(options.config)
    workspace = Workspace(config.output_dir)
    made = generate(config, workspace, options.format, options.only_reviewed)
    for split in SPLITS:
        positive, negative = made.rows[split, "positive"], made.rows[split, "negative"]
        print(f"{split}: {made.documents[split]} documents, {positive} positive and {negative} negative pages")
    for why, count in sorted(made.left_out.items()):
        print(f"left out: {count} pages: {why}")
    print(f"Written to {workspace.finetune}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
