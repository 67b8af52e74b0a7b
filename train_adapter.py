"""Train a small model on your labels: a LoRA adapter for the embedded model, on a CPU or a GPU.

python train_adapter.py
python train_adapter.py --base qwen2.5-coder-0.5b-instruct --epochs 5
python train_adapter.py --process judge
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.arguments import OK, guarded, parser
from pipeline.cli.output import Output

# In OUTPUT_DIR: the training data, and the adapter.
DEFAULT_FOLDERS = {"extraction": ("finetune", "adapter"), "judge": ("finetune/judge", "judge_adapter")}


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return guarded(options, lambda output: _train(options, output))


def _parser() -> argparse.ArgumentParser:
    made = parser(
        __doc__,
        "Train a LoRA adapter on the files of generate_finetune_data.py (format openai). After each epoch the model "
        "answers the rows of valid.jsonl, and the epoch with the best F1 is kept. The adapter is then measured on "
        "test.jsonl. An interrupted training goes on where it stopped.",
        reports=False,
    )
    help_process = "the stage to train for (default: extraction)"
    made.add_argument("--process", choices=("extraction", "judge"), default="extraction", help=help_process)
    help_data = (
        "folder with train.jsonl, valid.jsonl and test.jsonl (default: finetune in OUTPUT_DIR, or finetune/judge)"
    )
    made.add_argument("--data", type=Path, metavar="DIR", help=help_data)
    help_output = "folder for adapter.gguf and adapter.json (default: adapter in OUTPUT_DIR, or judge_adapter)"
    made.add_argument("--output", type=Path, metavar="DIR", help=help_output)
    help_base = "base model: a name that LOCAL_MODEL knows, or a .gguf file (default: smollm2-135m-instruct)"
    made.add_argument("--base", default="smollm2-135m-instruct", metavar="MODEL", help=help_base)
    made.add_argument("--epochs", type=int, default=3, metavar="N", help="times that all rows are seen (default: 3)")
    made.add_argument("--rank", type=int, default=16, metavar="N", help="rank of the LoRA matrices (default: 16)")
    help_rate = "highest learning rate (default: 5e-4; for larger models 2e-4)"
    made.add_argument("--learning-rate", type=float, default=5e-4, metavar="X", help=help_rate)
    help_start = "folder of an earlier training with the same base and rank, to go on from its adapter"
    made.add_argument("--start-from", type=Path, metavar="DIR", help=help_start)
    help_rows = "rows of valid.jsonl that are answered after each epoch (default: 120)"
    made.add_argument("--valid-rows", type=int, default=120, metavar="N", help=help_rows)
    return made


def _train(options: argparse.Namespace, output: Output) -> int:
    from pipeline.config import load_config
    from pipeline.errors import InputError
    from pipeline.training.recipe import Recipe, require_packages

    require_packages()
    from pipeline.training.run import Training
    from pipeline.training.tasks import TASKS

    if min(options.epochs, options.rank, options.valid_rows) < 1 or not 0 < options.learning_rate < 1:
        raise InputError("--epochs, --rank and --valid-rows must be at least 1, and --learning-rate between 0 and 1.")
    config = load_config(options.config)
    recipe = Recipe(options.base, options.epochs, options.rank, options.learning_rate, valid_rows=options.valid_rows)
    task = TASKS[options.process]
    data, adapter = (config.output_dir / folder for folder in DEFAULT_FOLDERS[options.process])
    training = Training(config, task, recipe, options.data or data, options.output or adapter, output.note)
    output.note(training.description)
    best = training.run(options.start_from)
    output.note(f"Epoch {best.epoch} is kept: {best.score}")
    if best.test.rows:
        output.note(f"On the rows of test.jsonl: {best.test}")
    if best.finds_nothing:
        raise InputError(task.if_always_nothing)
    output.note(f"Written to {training.adapter}")
    output.note(
        f"Next: set LOCAL_ADAPTER to {training.adapter}, and '{task.process}: {options.base}' under LOCAL_MODEL"
    )
    return OK


if __name__ == "__main__":
    sys.exit(main())
