"""Train the shipped adapter, and measure by cross-validation how good it is on documents that it was not trained on.

    python training/crossvalidate.py build
    python training/crossvalidate.py build --judge

1. `others`: an adapter trained on everything but the gold documents.
2. `fold-N`: it goes on with the gold documents of the other folds, and answers the pages of fold N.
3. `final`: it goes on with all gold documents. This is the adapter that ships.
4. With `--judge`: `judge-others` and `judge-fold-N`, the same for a judge, which judges what step 2 has found.

Finished steps are not repeated, and an interrupted training goes on. It takes about three hours on two cores, and the
judge one more.
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
DECISION_BIAS = {"extraction": 1.0, "judge": 2.0}
CORPUS = {"extraction": "training/corpus.py", "judge": "training/judge_corpus.py"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train and cross-validate the shipped adapter.")
    parser.add_argument("build", type=Path, help="folder for everything that is made")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--judge", action="store_true", help="also train and measure a judge, which does not ship")
    options = parser.parse_args(argv)
    build: Path = options.build.resolve()
    build.mkdir(parents=True, exist_ok=True)
    run("training/gold_papers.py", build / "papers", "--folds", options.folds)
    train(build, "extraction", "others", options.epochs, ["--only", "others"])
    for fold in range(options.folds):
        rows = ["--only", "rcc", "--folds", options.folds, "--hold-out", fold]
        train(build, "extraction", f"fold-{fold}", options.epochs, rows, start_from="others")
        answer(build, "extraction", fold)
    train(build, "extraction", "final", options.epochs, ["--only", "rcc"], start_from="others")
    if options.judge:
        train(build, "judge", "judge-others", 1, ["--only", "others"])
        for fold in range(options.folds):
            rows = ["--only", "rcc", "--folds", options.folds, "--hold-out", fold, "--predictions", build / "output"]
            train(build, "judge", f"judge-fold-{fold}", options.epochs, rows, start_from="judge-others")
            answer(build, "judge", fold)
    run("evaluate.py", "--gold", GOLD, "--output-dir", build / "output")
    return 0


def train(
    build: Path, process: str, name: str, epochs: int, rows: Sequence[object], start_from: str | None = None
) -> None:
    """Build the rows of one training, and train. Without rows in valid.jsonl, the last epoch is kept."""
    if (build / name / "adapter.json").exists():
        return
    run(CORPUS[process], build / name / "rows", *rows)
    start = ["--start-from", build / start_from] if start_from else []
    place = ["--process", process, "--data", build / name / "rows", "--output", build / name]
    run("train_adapter.py", *place, "--base", BASE, "--epochs", epochs, "--valid-rows", 0, *start)
    card = build / name / "adapter.json"
    values = json.loads(card.read_text(encoding="utf-8")) | {"decision_bias": DECISION_BIAS[process]}
    card.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def answer(build: Path, process: str, fold: int) -> None:
    """Let the adapter of a fold answer the questions about the documents of this fold, through the program."""
    adapter = f"fold-{fold}" if process == "extraction" else f"{process}-fold-{fold}"
    settings = {"PROVIDER": "local", "INPUT_DIR": "papers", "OUTPUT_DIR": "output", "SKIP_PAGES": []}
    settings |= {"LOCAL_MODEL": BASE, "LOCAL_ADAPTER": f"{adapter}/adapter.gguf"}
    config = build / f"{adapter}.yaml"
    config.write_text(yaml.safe_dump(json.loads(json.dumps(settings))), encoding="utf-8")
    run("run_batch.py", "--process", process, "--wait", "--documents", f"fold-{fold}/*", "--config", config)


def run(script: str, *arguments: object) -> None:
    """Run a command of the program. Ends this one if it fails."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    print("\n$", " ".join(command[1:]), flush=True)
    environment = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    if subprocess.run(command, cwd=ROOT, env=environment).returncode not in (0, 3):
        raise SystemExit(f"{script} failed.")


if __name__ == "__main__":
    raise SystemExit(main())
