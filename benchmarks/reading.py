"""How fast PDFs become request files, against a bare loop that only takes the text out of them.

    python benchmarks/reading.py PAPERS            # a folder of PDFs; with 1 and 2 processes
    python benchmarks/reading.py PAPERS --processes 1 2 4 --rounds 9

Both sides read the same papers with the same number of processes, which are started and warm; a round of ours reads,
recognises, writes text/ and manifest.jsonl, and plans and writes the requests of the extraction. The best round of
each counts, since what disturbs a round only makes it slower. Detection of languages and reference lists is part of
ours; what it takes is also told apart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pymupdf  # noqa: E402
from tabulate import tabulate  # noqa: E402

from pipeline.batches.plan import plan  # noqa: E402
from pipeline.config import Config, load_config  # noqa: E402
from pipeline.documents.discover import load_text, manifest_entries  # noqa: E402
from pipeline.documents.kinds import PageKinds  # noqa: E402
from pipeline.documents.languages import guess_language  # noqa: E402
from pipeline.runner import Runner  # noqa: E402
from pipeline.selection import Selection  # noqa: E402
from pipeline.workspace import Workspace  # noqa: E402


def bare_loop(file: Path) -> int:
    """The pages of a paper, their text taken out and dropped."""
    with pymupdf.open(file) as document:
        for page in document:
            page.get_text()
        return int(document.page_count)


def ours(config: Config, folder: Path) -> int:
    """From PDFs to request files, in a new workspace. Returns the number of pages."""
    output = Path(tempfile.mkdtemp(dir=folder))
    with Runner(config.model_copy(update={"output_dir": output}), "benchmark") as runner:
        asks = runner.questions("extraction", Selection())
        made = plan(asks, runner._builder("extraction"), runner.ledger, runner.workspace, config, lambda made: True)
        assert made.to_send and list((output / "batches").glob("*/part-*.jsonl"))
        return sum(entry.n_pages for entry in manifest_entries(runner.workspace))


def best(work: Callable[[], int], rounds: int) -> float:
    """Pages per second of the fastest round, after one that warms up."""
    work()
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        rates.append(work() / (time.perf_counter() - started))
    return max(rates)


def detection(papers: Config, folder: Path) -> float:
    """Seconds per page that languages and kinds of pages take."""
    output = Path(tempfile.mkdtemp(dir=folder))
    with Runner(papers.model_copy(update={"output_dir": output}), "benchmark") as runner:
        runner._refresh()
    workspace = Workspace(output)
    guess_language("warms up " * 99)
    texts = [load_text(workspace, entry.source) for entry in manifest_entries(workspace) if not entry.problem]
    started, pages = time.perf_counter(), 0
    for text in texts:
        kinds = PageKinds()
        for page in text.pages:
            kinds.kind(page.text)
            guess_language(page.text)
            pages += 1
    return (time.perf_counter() - started) / pages


def compare(folder: Path, processes: int, rounds: int) -> list[object]:
    """A row of the table."""
    files = sorted(folder.glob("**/*.pdf"))
    config = load_config(None).model_copy(
        update={"input_dir": folder, "read_processes": processes, "openai_api_key": None}
    )
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        baseline = best(lambda: sum(pool.map(bare_loop, files)), rounds)
    with tempfile.TemporaryDirectory() as scratch:
        rate = best(partial(ours, config, Path(scratch)), rounds)
        seconds = detection(config, Path(scratch))
    without = 1 / (1 / rate - seconds / processes)
    shares = (f"{100 * rate / baseline:.0f} %", f"{100 * without / baseline:.0f} %")
    return [processes, f"{baseline:,.0f}", f"{rate:,.0f}", shares[0], f"{1e6 * seconds:,.0f}", shares[1]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("papers", type=Path)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    rows = [compare(options.papers, processes, options.rounds) for processes in options.processes]
    headers = ["processes", "bare loop, pages/s", "ours, pages/s", "share", "detection, µs/page", "share without it"]
    print(tabulate(rows, headers=headers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
