"""Train the shipped adapter, and measure by cross-validation how good it is on documents that it was not trained on.

    python training/crossvalidate.py build

1. `others`: an adapter trained on everything but the gold documents.
2. `fold-N`: it goes on with the gold documents of the other folds, and answers the pages of fold N.
3. `final`: it goes on with all gold documents. This is the adapter that ships.

Finished steps are not repeated, and an interrupted training goes on. It takes about three hours on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GOLD = HERE / "data" / "rcc_pages.jsonl"
BASE = "smollm2-135m-instruct"
# Chosen with decision_bias.py. Between 0.5 and 1.5 the F1 of windows differs little in every fold.
DECISION_BIAS = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train and cross-validate the shipped adapter.")
    parser.add_argument("build", type=Path, help="folder for everything that is made")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(argv)
    build: Path = options.build.resolve()
    build.mkdir(parents=True, exist_ok=True)
    run("training/gold_papers.py", build / "papers", "--folds", options.folds)
    train(build, "others", options.epochs, ["--only", "others"])
    for fold in range(options.folds):
        rows = ["--only", "rcc", "--folds", options.folds, "--hold-out", fold]
        train(build, f"fold-{fold}", options.epochs, rows, start_from="others")
        answer(build, fold)
    train(build, "final", options.epochs, ["--only", "rcc"], start_from="others")
    run("evaluate.py", "--gold", GOLD, "--process", "extraction", "--output-dir", build / "output")
    return 0


def train(build: Path, name: str, epochs: int, rows: Sequence[object], start_from: str | None = None) -> None:
    """Build the rows of one training, and train. Without rows in valid.jsonl, the last epoch is kept."""
    if (build / name / "adapter.json").exists():
        return
    run("training/corpus.py", build / name / "rows", *rows)
    start = ["--start-from", build / start_from] if start_from else []
    place = ["--data", build / name / "rows", "--output", build / name]
    run("train_adapter.py", *place, "--base", BASE, "--epochs", epochs, "--valid-rows", 0, *start)
    card = build / name / "adapter.json"
    values = json.loads(card.read_text(encoding="utf-8")) | {"decision_bias": DECISION_BIAS}
    card.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def answer(build: Path, fold: int) -> None:
    """Let the adapter of a fold answer the pages of this fold, through the program."""
    settings = {"PROVIDER": "local", "INPUT_DIR": "papers", "OUTPUT_DIR": "output", "SKIP_PAGES": []}
    settings |= {"LOCAL_MODEL": BASE, "LOCAL_ADAPTER": f"fold-{fold}/adapter.gguf"}
    config = build / f"fold-{fold}.yaml"
    config.write_text(yaml.safe_dump(json.loads(json.dumps(settings))), encoding="utf-8")
    run("run_batch.py", "--process", "extraction", "--wait", "--documents", f"fold-{fold}/*", "--config", config)


def run(script: str, *arguments: object) -> None:
    """Run a command of the program. Ends this one if it fails."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    print("\n$", " ".join(command[1:]), flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    if subprocess.run(command, cwd=ROOT, env=environment).returncode not in (0, 3):
        raise SystemExit(f"{script} failed.")


if __name__ == "__main__":
    raise SystemExit(main())
