"""How fast questions are planned, written, collected and merged, and whether memory stays flat.

    python benchmarks/batches.py                    # 100,000 and 1,000,000 questions
    python benchmarks/batches.py --asks 10000
    python benchmarks/batches.py --asks 30000 --every 1            # every page has a mention
    python benchmarks/batches.py --asks 30000 --every 1 --changed  # with a letter changed in each quotation

The papers are synthetic: 30 pages each, request lines of 5 KB. Every fourth page (`--every`) has a mention, quoted
exactly unless `--changed` is given. Nothing is sent: the answers are written where a download would put them. Each size
runs in its own process, so that its peak memory is measured alone. The baselines run in the same process on the same
bytes: `json.loads` of every answer, and SQLite inserting as many rows in one transaction with the ledger's settings.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate  # noqa: E402

from pipeline.batches.collect import Collected, collect  # noqa: E402
from pipeline.batches.plan import DocumentQuestions, PlanOptions, plan  # noqa: E402
from pipeline.batches.session import Session, StageRun  # noqa: E402
from pipeline.batches.submit import submit  # noqa: E402
from pipeline.config import load_config  # noqa: E402
from pipeline.files import write_atomic  # noqa: E402
from pipeline.ledger.ids import AttemptId  # noqa: E402
from pipeline.providers.base import BatchInfo  # noqa: E402
from pipeline.providers.openai import OpenAIProvider  # noqa: E402
from pipeline.records import Ask, ManifestEntry, Page, PageText  # noqa: E402
from pipeline.stages import get_stage  # noqa: E402
from pipeline.stages.base import AskRules  # noqa: E402
from pipeline.store import load_text, manifest_entries  # noqa: E402
from pipeline.workflow.merge import merge_stage  # noqa: E402
from pipeline.workspace import Workspace  # noqa: E402

PAGES = 30  # of a paper
LINE_BYTES = 5_000  # of a request
PROCESS = "extraction"
WORDS = (
    "we find that in the of and a to results for between households model table effect period which this rate growth "
    "income labour market price estimate value across region share lower higher significant control variable panel"
)
BODIES = 200  # different page texts; each page adds a line of its own


class Replay(OpenAIProvider):
    """Reports every batch as completed. The answers are already in the workspace."""

    def upload(self, path: Path) -> str:
        return path.stem

    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        return self.status(f"batch_{metadata['part']}")

    def status(self, batch_id: str) -> BatchInfo:
        return BatchInfo(batch_id, "completed", output_file_id="output", done=1)


def bodies(size: int) -> list[str]:
    """Texts of sentences, `size` characters each."""
    dice, words, made = random.Random(0), WORDS.split(), []
    for _ in range(BODIES):
        sentences = [" ".join(dice.choices(words, k=20)).capitalize() + "." for _ in range(size // 60)]
        made.append("\n".join(sentences)[:size])
    return made


@dataclass(frozen=True)
class Mentions:
    """Pages with a mention: every N-th. `changed`: quoted with a letter changed."""

    every: int = 4
    changed: bool = False

    def on(self, page: int) -> bool:
        return page % self.every == 0

    def quoted(self, text: str) -> str:
        return text.replace("House", "Hoase") if self.changed else text


def page_text(body: str, document: int, page: int, mentions: Mentions) -> str:
    sentence = sentence_on(page) if mentions.on(page) else "There is no such thing."
    middle = body.find("\n", len(body) // 2)
    return f"Paper {document}, page {page}.\n{body[:middle]}\n{sentence}{body[middle:]}"


def name_on(page: int) -> str:
    return f"Korvian Household Survey Round {page}"


def sentence_on(page: int) -> str:
    return f"We use the {name_on(page)} of 2010 to measure them."


def write_papers(workspace: Workspace, asks: int, size: int, mentions: Mentions) -> None:
    texts = bodies(size - 80)
    with workspace.manifest.open("w") as manifest:
        for number in range(asks // PAGES):
            source, sha = f"{number // 1000:03}/{number:07}", f"{number:064}"
            numbered = ((page, texts[(number + page) % BODIES]) for page in range(1, PAGES + 1))
            pages = [Page(page=page, text=page_text(body, number, page, mentions)) for page, body in numbered]
            text = PageText(source=source, file=f"{source}.pdf", sha256=sha, n_pages=PAGES, pages=pages)
            write_atomic(workspace.text(source), text.model_dump_json().encode())
            entry = ManifestEntry(source=source, file=f"{source}.pdf", sha256=sha, n_pages=PAGES)
            manifest.write(entry.model_dump_json() + "\n")


def write_answers(run: StageRun, mentions: Mentions) -> None:
    """The result file of every batch, in the shape and about the size of real ones."""
    query = (
        "SELECT key, generation, number, page FROM attempt"
        " CROSS JOIN ask INDEXED BY ask_key USING (key, process, generation) WHERE batch = ?"
    )
    with closing(sqlite3.connect(run.workspace.ledger)) as database:
        for batch in run.batches():
            rows = database.execute(query, (batch.id,)).fetchall()
            places = {AttemptId(PROCESS, *row[:3]).custom_id: row[3] for row in rows}
            order = sorted(places, key=hash)  # not that of the requests
            path = run.workspace.results(PROCESS, f"batch_{batch.id}", "output")
            with path.open("w") as file:
                for name in order:
                    file.write(json.dumps(result_row(name, places[name], mentions)) + "\n")


def result_row(name: str, page: int, mentions: Mentions) -> dict[str, object]:
    found = mentions.on(page)
    fields = dict.fromkeys(("harmonized_name", "acronym", "producer", "data_type", "geography"))
    fields |= {"year": "2010", "context": "primary", "specificity": "properly_named", "relevance": "directly_relevant"}
    mention = {
        "datasets": [{"raw_name": mentions.quoted(name_on(page)), **fields}],
        "mentioned_in": mentions.quoted(sentence_on(page)),
    }
    content = json.dumps({"data_mentions": [mention] if found else []})
    message = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    usage = {
        "prompt_tokens": 1200, "completion_tokens": 120, "total_tokens": 1320,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }  # fmt: skip
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {"id": f"chatcmpl-{name}", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
    response = {"status_code": 200, "request_id": name, "body": {**body, "choices": [choice], "usage": usage}}
    return {"id": f"batch_req_{name}", "custom_id": name, "response": response, "error": None}


class Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started


def measure(asks: int, folder: Path, mentions: Mentions) -> dict[str, float]:
    """All steps over `asks` questions. Returns seconds by step, and bytes and megabytes."""
    asks -= asks % PAGES
    config = load_config().model_copy(update={"output_dir": folder})
    clock, stage = Clock(), get_stage(PROCESS)
    with Session(config, "benchmark") as session:
        workspace = session.workspace
        run = StageRun(stage, config, workspace, session.ledger, Replay(config, workspace))
        write_papers(workspace, asks, LINE_BYTES - line_overhead(run), mentions)
        with clock("plan and write"):
            made = plan(run, questions(run), PlanOptions(), lambda plan: True)
        with clock("submit"):
            submit(run, lambda requests: None)
        write_answers(run, mentions)
        with clock("collect"):
            collected = Collected()
            collect(run, nullcontext, collected)
        with clock("merge"):
            merged = merge_stage(session, PROCESS)
    peak = peak_megabytes()
    assert made.to_send == collected.outcomes["ok"] == merged.statuses["answered"] == asks, (made, collected, merged)
    check_one(workspace, mentions)
    with clock("json.loads of the answers"):
        answer_bytes = sum(parse_all(path) for path in workspace.results(PROCESS, "x", "y").parent.glob("batch_*"))
    with clock("SQLite inserts"):
        insert_rows(folder / "baseline.sqlite", asks)
    requests = sum(path.stat().st_size for path in (folder / "batches" / PROCESS).glob("part-*"))
    sizes = {
        "request MB": requests / 1e6,
        "answer MB": answer_bytes / 1e6,
        "ledger MB": workspace.ledger.stat().st_size / 1e6,
    }
    return {"asks": asks, **clock.seconds, **sizes, "peak MB": peak}


def questions(run: StageRun) -> Iterator[DocumentQuestions]:
    chunking = AskRules.of(run.config).chunking
    for entry in manifest_entries(run.workspace):
        text = load_text(run.workspace, entry.source)
        yield DocumentQuestions(
            entry.source, list(run.stage.asks(text, text.pages, None, chunking)), set(range(1, PAGES + 1))
        )


def line_overhead(run: StageRun) -> int:
    ask = Ask(PROCESS, "x", 1, 0, 0, 0, (), "", "<page>\n\n</page>")
    return len(run.requests.line(ask, AttemptId(PROCESS, "0" * 32, 0, 1)))


def check_one(workspace: Workspace, mentions: Mentions) -> None:
    """The first paper's mentions stand where they should."""
    document = json.loads(workspace.document(PROCESS, "000/0000000").read_text())
    datasets = [d for page in document["pages"] for m in page["data_mentions"] for d in m["datasets"]]
    kind = "fuzzy" if mentions.changed else "exact"
    assert len(datasets) == PAGES // mentions.every and {d["grounding"] for d in datasets} == {kind}


def parse_all(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(len(line) for line in lines if json.loads(line))


def insert_rows(path: Path, count: int) -> None:
    """Rows like those of attempts, in an order like that of hashes."""
    dice = random.Random(0)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-64000"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("CREATE TABLE attempt (id INTEGER PRIMARY KEY, key TEXT UNIQUE, shard INTEGER, outcome TEXT)")
        db.execute("BEGIN")
        rows = ((f"{dice.getrandbits(128):032x}", 1, None) for _ in range(count))
        db.executemany("INSERT INTO attempt (key, shard, outcome) VALUES (?, ?, ?)", rows)
        db.execute("COMMIT")


def peak_megabytes() -> float:
    """Of this process, as Linux tells it."""
    found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")


def table(results: list[dict[str, float]]) -> str:
    rows = []
    for name in ("plan and write", "collect", "merge", "json.loads of the answers", "SQLite inserts"):
        rows.append([name, *(f"{found['asks'] / found[name]:,.0f} /s" for found in results)])
    both = [f"{found['asks'] / (found['collect'] + found['merge']):,.0f} /s" for found in results]
    rows.insert(3, ["collect and merge together", *both])
    rows += [
        [name, *(f"{found[name]:,.0f}" for found in results)]
        for name in ("request MB", "answer MB", "ledger MB", "peak MB")
    ]
    return tabulate(rows, headers=["", *(f"{found['asks']:,.0f} asks" for found in results)], stralign="right")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asks", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--every", type=int, default=4, help="pages with a mention: every N-th (default: 4)")
    parser.add_argument("--changed", action="store_true", help="change a letter in every name and sentence quoted")
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder, deleted)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.asks[0], options.folder, Mentions(options.every, options.changed))))
        return 0
    results = []
    for asks in options.asks:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            command = [sys.executable, __file__, "--one", "--asks", str(asks), "--folder", folder]
            command += ["--every", str(options.every), *(["--changed"] if options.changed else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
