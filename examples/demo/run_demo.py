"""Run the whole pipeline on the sample papers without a key: extraction, judge, reasoning, tables, a report.

    python examples/demo/run_demo.py             # the embedded models answer: about two minutes on two cores
    python examples/demo/run_demo.py --replay    # their recorded answers are imported: ten seconds, no model is needed
    python examples/demo/run_demo.py --record    # answer all questions again, and record the answers in answers/

Runs the commands that a user runs, with the settings beside this file. Settings from the environment are ignored.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ANSWERS = HERE / "answers"
GOLD = ROOT / "examples" / "papers" / "gold.jsonl"
sys.path.insert(0, str(ROOT))

from pipeline import Workspace, load_config  # noqa: E402
from pipeline.config import environment_keys  # noqa: E402
from pipeline.processes import PROCESSES  # noqa: E402

Row = dict[str, str]
Place = tuple[str, int, int, int]  # document, page, start, end

# The weights are shared by all projects of a user, so this setting is kept.
KEPT = {"LOCAL_MODEL_DIR"}
WIDTH = 100
ASK = [["run_batch.py", "--process", "all"]]
IMPORT = [["run_batch.py", "--check"]] + [
    ["retrieve_results.py", "--process", process, "--results", f"examples/demo/answers/{process}.jsonl"]
    for process in PROCESSES
]
EXPORT = [["export_mentions.py"], ["export_mentions.py", "--format", "html"], ["generate_finetune_data.py"]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the whole pipeline on the sample papers, without a key.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--replay", action="store_true", help="import recorded answers instead of running the models")
    how.add_argument("--record", action="store_true", help="answer all questions again, and record the answers")
    options = parser.parse_args(argv)
    for key in environment_keys() - KEPT:  # for this process and the commands that it runs
        os.environ.pop(key, None)
    config = HERE / ("replay.yaml" if options.replay else "config.yaml")
    workspace = Workspace(load_config(config).output_dir)
    if options.replay or options.record:
        shutil.rmtree(workspace.root, ignore_errors=True)

    started = time.monotonic()
    for command in (IMPORT if options.replay else ASK) + EXPORT:
        status = run([*command, "--config", config.relative_to(ROOT).as_posix()])
        if status not in (0, 3):  # 3: done, but something needs attention
            return status
    seconds = time.monotonic() - started
    if options.record:
        record(workspace)

    mentions = read(workspace.root / "export" / "mentions.csv")
    show_mentions(mentions)
    show_datasets(read(workspace.root / "export" / "datasets.csv"), {row["canonical_name"] for row in mentions})
    show_mistakes(mentions)
    print(f"\nReport:         {(workspace.root / 'export' / 'report.html').relative_to(ROOT)} (open it in a browser)")
    print(f"Tables:         {(workspace.root / 'export' / 'mentions.csv').relative_to(ROOT)} (also datasets.csv)")
    print(f"Training data:  {(workspace.finetune / 'train.jsonl').relative_to(ROOT)} (also valid, test)")
    print(
        f"\nThis took {seconds:.0f} seconds. {'The answers were recorded earlier.' if options.replay else ''}".rstrip()
    )
    print("For real work, put OPENAI_API_KEY into .env and your PDFs into input/.")
    return 0


def run(command: list[str]) -> int:
    """Run a command of the toolkit. Its progress is shown; what it prints is shown only if it fails."""
    print(f"$ python {' '.join(command)}", flush=True)
    done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode not in (0, 3):
        print(done.stdout)
    return done.returncode


def read(table: Path) -> list[Row]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def show_mentions(rows: list[Row]) -> None:
    """Each mention with its verdict and its sentence, and the reasons where a stage has rejected it."""
    document = None
    for row in rows:
        if row["document"] != document:
            document = row["document"]
            print(f"\n{document}.pdf")
        verdict = {"true": "valid", "false": "rejected"}.get(row["valid"], "no verdict")
        print(f"  p. {row['page']}  {verdict:8}  {one_line(row['raw_name'])}")
        if row["grounding"] == "missing":
            print("        (this name is not on the page)")
        else:
            print(f"        {excerpt(row['sentence'], row['raw_name'])}")
        if "false" in (row["judge_valid"], row["reasoning_valid"]):
            for stage in ("judge", "reasoning"):
                said = "valid" if row[f"{stage}_valid"] == "true" else "rejected"
                print("        " + one_line(f"{stage}: {said}: {row[f'{stage}_reason']}", WIDTH - 8))


def show_datasets(rows: list[Row], canonical: set[str]) -> None:
    """The datasets of all papers, under their canonical names; then unnamed data, as in the report.

    `rows`: one per paper and dataset. `canonical`: the canonical names of all mentions. Other titles are unnamed data.
    """
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row["title"], []).append(row)
    print(f"\n{'dataset':37}{'papers':>8}{'used in':>9}{'mentions':>10}  printed as")
    ordered = sorted(by_name, key=lambda name: (-len(by_name[name]), name))
    unnamed = [name for name in ordered if name not in canonical]
    for name in [name for name in ordered if name in canonical] + unnamed:
        if name in unnamed[:1]:
            print("Without a proper name, says the model, which is often wrong (“Unnamed data” in the report):")
        found = by_name[name]
        used = sum(row["used"] == "true" for row in found)
        mentions = sum(int(row["mentions"]) for row in found)
        printed = dict.fromkeys(variant for row in found for variant in row["names"].split("; "))
        print(f"{one_line(name, 36):37}{len(found):>8}{used:>9}{mentions:>10}  {', '.join(printed)}")


def show_mistakes(rows: list[Row]) -> None:
    """The difference between the mentions that are valid after the last stage and those of the gold file."""
    gold: dict[Place, str] = {}
    for page in map(json.loads, GOLD.read_text(encoding="utf-8").splitlines()):
        gold |= {(page["doc_id"], page["page"], one["start"], one["end"]): one["raw_name"] for one in page["mentions"]}
    valid = {
        (row["document"], int(row["page"]), int(row["start"]), int(row["end"])): row["raw_name"]
        for row in rows
        if row["valid"] == "true" and row["start"]
    }
    missed = [name for place, name in gold.items() if not any(overlap(place, other) for other in valid)]
    wrong = [name for place, name in valid.items() if not any(overlap(place, other) for other in gold)]
    print(f"\nThe models are small and make mistakes. Of {len(gold)} mentions in {GOLD.relative_to(ROOT)}:")
    print(listed("Missed or rejected: ", missed))
    print(listed("Accepted, but not in the file: ", wrong))


def overlap(one: Place, other: Place) -> bool:
    return one[:2] == other[:2] and one[2] < other[3] and other[2] < one[3]


def listed(title: str, names: list[str]) -> str:
    text = f"{title}{len(names)} ({', '.join(map(one_line, names))})" if names else f"{title}none"
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def excerpt(sentence: str, name: str) -> str:
    """As much of a sentence as fits on a line, with the name in it."""
    sentence, width = one_line(sentence, len(sentence)), WIDTH - 10
    before = sentence.partition(one_line(name))[0]
    if len(sentence) > width and len(before) > 40:
        sentence = "… " + before[-40:].partition(" ")[2] + sentence[len(before) :]
    return f"“{one_line(sentence, width)}”"


def one_line(text: str, width: int = WIDTH) -> str:
    return textwrap.shorten(text, max(width, 10), placeholder=" …")


def record(workspace: Workspace) -> None:
    """Keep the result files of the models, without times, and with the questions, for examples/replay/replay.py."""
    ANSWERS.mkdir(exist_ok=True)
    for process in PROCESSES:
        rows, questions = [], {}
        folder = workspace.root / "batches" / process
        for path in sorted(folder.glob("part-*.jsonl")):
            for request in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                questions[request["custom_id"]] = request["body"]["messages"][-1]["content"]
        for path in sorted(folder.glob("*.output.jsonl")):
            for result in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                body = result["response"]["body"]
                choice = {name: body["choices"][0][name] for name in ("message", "finish_reason")}
                kept = {"choices": [choice], "usage": body["usage"]}
                response = {"status_code": 200, "body": kept}
                row = {"custom_id": result["custom_id"], "question": questions[result["custom_id"]]}
                rows.append(row | {"response": response})
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (ANSWERS / f"{process}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run the same command to continue.")
