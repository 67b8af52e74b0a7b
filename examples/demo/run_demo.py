"""Run the whole pipeline on the sample paper without a key: extraction, judge, reasoning, training data, a report.

    python examples/demo/run_demo.py

Runs the commands that a user runs, with the settings beside this file. Settings from the environment are ignored.
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

from pipeline import Workspace, load_config, load_document, manifest_entries  # noqa: E402
from pipeline.config import environment_keys  # noqa: E402
from pipeline.processes import FINAL  # noqa: E402

# The weights are shared by all projects of a user, so this setting is kept.
KEPT = {"LOCAL_MODEL_DIR"}
VERDICTS = {True: "valid", False: "not valid", None: "no verdict"}


def main() -> int:
    started = time.monotonic()
    for key in environment_keys() - KEPT:  # for this process and the commands that it runs
        os.environ.pop(key, None)
    for command in (
        ["run_batch.py", "--process", "all"],
        ["generate_finetune_data.py"],
        ["export_mentions.py", "--format", "html"],
    ):
        print(f"\n$ python {' '.join(command)} --config {CONFIG.relative_to(ROOT)}", flush=True)
        done = subprocess.run([sys.executable, *command, "--config", str(CONFIG)], cwd=ROOT)
        if done.returncode not in (0, 3):  # 3: done, but something needs attention
            return done.returncode
    show_mentions(Workspace(load_config(CONFIG).output_dir))
    seconds = time.monotonic() - started
    print(f"\nThis took {seconds / 60:.1f} minutes. The models are small and make many mistakes.")
    print("For real work, put OPENAI_API_KEY into .env and your PDFs into input/.")
    return 0


def show_mentions(workspace: Workspace) -> None:
    """Print the status of each page, every mention with its sentence, and where the files are."""
    for entry in manifest_entries(workspace):
        document = load_document(workspace, FINAL, entry.source)
        if document is None:
            continue
        statuses = ", ".join(f"{page} {status}" for page, status in document.page_status.items())
        print(f"\n{entry.file}: pages {statuses}\n")
        for page in document.pages:
            for dataset in page.datasets():
                verdict = VERDICTS[dataset.valid]
                reason = f": {dataset.invalid_reason}" if dataset.invalid_reason else ""
                print(f"p. {page.page}  {one_line(dataset.raw_name)}  [{verdict}{reason}]")
                missing = dataset.grounding == "missing"
                sentence = "(this name is not on the page)" if missing else f"“{one_line(dataset.sent)}”"
                print(f"      {sentence}\n")
        print(f"Document file:  {workspace.document(FINAL, entry.source).relative_to(ROOT)}")
        print(f"Report:         {(workspace.root / 'export' / 'report.html').relative_to(ROOT)} (open it in a browser)")
        print(f"Training data:  {(workspace.finetune / 'train.jsonl').relative_to(ROOT)} (also valid, test)")


def one_line(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    sys.exit(main())
