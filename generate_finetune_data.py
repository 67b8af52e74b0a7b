"""Make fine-tuning data from the final labels: train, valid and test JSONL under extraction_outputs/finetune/.

python generate_finetune_data.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli import OK, guarded, parser


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("Final labels -> chat JSONL, split by document.", processes=None).parse_args(argv)
    return guarded(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from pipeline.config import load_config
    from pipeline.finetune import SPLITS, generate
    from pipeline.workspace import Workspace

    config = load_config(options.config)
    workspace = Workspace(config.output_dir)
    made = generate(config, workspace)
    for split in SPLITS:
        positive, negative = made.rows[split, "positive"], made.rows[split, "negative"]
        print(f"{split}: {made.documents[split]} documents, {positive} positive and {negative} negative pages")
    for why, count in sorted(made.left_out.items()):
        print(f"left out: {count} pages: {why}")
    print(f"Written to {workspace.finetune}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
