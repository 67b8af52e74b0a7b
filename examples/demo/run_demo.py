"""The whole road on the sample paper, without a key: extraction, judge, reasoning, fine-tuning data.

python examples/demo/run_demo.py

Runs the same commands that a user runs, with the settings beside this file and nothing from the environment or .env.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).resolve().parent / "config.yaml"
sys.path.insert(0, str(ROOT))

from pipeline.config import environment_keys, load_config  # noqa: E402
from pipeline.documents.discover import manifest_entries  # noqa: E402
from pipeline.merge import load_document  # noqa: E402
from pipeline.records import Dataset  # noqa: E402
from pipeline.workspace import Workspace  # noqa: E402

# Only where weights are kept is taken over: they are the same for all projects of a user.
KEPT = {"LOCAL_MODEL_DIR"}


def main() -> int:
    started = time.monotonic()
    for key in environment_keys() - KEPT:  # for this process and the commands that it runs
        os.environ.pop(key, None)
    for command in (["run_batch.py", "--process", "all"], ["generate_finetune_data.py"]):
        print(f"\n$ python {' '.join(command)} --config {CONFIG.relative_to(ROOT)}", flush=True)
        done = subprocess.run([sys.executable, *command, "--config", str(CONFIG)], cwd=ROOT)
        if done.returncode not in (0, 3):  # 3: done, and something to look at
            return done.returncode
    _show(Workspace(load_config(CONFIG).output_dir))
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes on this machine, with a small model that makes mistakes:")
    print("it shows the road, not the quality. For real work put OPENAI_API_KEY in .env and your PDFs in input/.")
    return 0


def _show(workspace: Workspace) -> None:
    for entry in manifest_entries(workspace):
        document = load_document(workspace, "reasoning", entry.source)
        if document is None:
            continue
        print(
            f"\n{entry.file}: pages {', '.join(f'{page} {status}' for page, status in document.page_status.items())}\n"
        )
        for page in document.pages:
            for dataset in page.datasets():
                print(_told(page.page, dataset))
        folder = workspace.root.relative_to(ROOT)
        print(f"All of it:      {workspace.document('reasoning', entry.source).relative_to(ROOT)}")
        print(f"Training data:  {folder / 'finetune' / 'train.jsonl'} (and valid, test)")


def _told(page: int, dataset: Dataset) -> str:
    verdict = {True: "valid", False: "not valid", None: "undecided"}[dataset.valid]
    reason = f": {dataset.invalid_reason}" if dataset.invalid_reason else ""
    name, sentence = (" ".join((text or "").split()) for text in (dataset.raw_name, dataset.sent))
    shown = f"“{sentence}”" if dataset.grounding != "missing" else "(this name does not stand on the page)"
    return f"p. {page}  {name}  [{verdict}{reason}]\n      {shown}\n"


if __name__ == "__main__":
    sys.exit(main())
