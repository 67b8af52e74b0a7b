"""Record the answers of the embedded model about the sample papers, for replay.py.

    python examples/replay/record.py

Asks whole pages, as the Batch API is asked. Writes answers.jsonl. Needs requirements-local.txt and some minutes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.processes import PROCESSES  # noqa: E402
from pipeline.providers.adapters import SHIPPED  # noqa: E402


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        adapter = folder / "whole-pages.gguf"
        shipped = next(SHIPPED.glob("extraction-*.gguf"))
        adapter.symlink_to(shipped)
        card = json.loads(shipped.with_suffix(".json").read_text(encoding="utf-8"))
        adapter.with_suffix(".json").write_text(json.dumps({**card, "page_tokens": None}), encoding="utf-8")
        settings = {"PROVIDER": "local", "INPUT_DIR": str(HERE.parent / "papers"), "LOCAL_ADAPTER": adapter.name}
        config = folder / "config.yaml"
        config.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()), encoding="utf-8")
        command = [sys.executable, "run_batch.py", "--process", "all", "--config", str(config)]
        if subprocess.run(command, cwd=ROOT).returncode not in (0, 3):  # 3: a page failed, as small models make it
            return 1
        rows = [row for process in PROCESSES for row in recorded(folder / "extraction_outputs" / "batches", process)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (HERE / "answers.jsonl").write_text(lines, encoding="utf-8")
    print(f"{len(rows)} answers written to {HERE / 'answers.jsonl'}")
    return 0


def recorded(batches: Path, process: str) -> list[dict[str, str]]:
    """The questions of a stage, by hash, and the answers."""
    questions, rows = {}, []
    for path in sorted((batches / process).glob("part-*.jsonl")):
        for request in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            questions[request["custom_id"]] = request["body"]["messages"][-1]["content"]
    for path in sorted((batches / process).glob("*.output.jsonl")):
        for result in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            choice = result["response"]["body"]["choices"][0]
            question = hashlib.sha256(questions[result["custom_id"]].encode()).hexdigest()
            row = {"stage": process, "question_sha256": question, "answer": choice["message"]["content"]}
            rows.append({**row, "finish_reason": choice["finish_reason"]})
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
