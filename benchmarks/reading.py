"""How fast PDFs become request files, against a bare loop that only takes the text out of them.

    python benchmarks/reading.py PAPERS            # a folder of PDFs; with 1 and 2 processes
    python benchmarks/reading.py PAPERS --processes 1 2 4 --rounds 9

Both sides read the same papers with the same number of processes, which are started and warm; a round of ours reads,
recognises, writes text/ and manifest.jsonl, and plans and writes the requests of the extraction. The best round of
each counts, since what disturbs a round only makes it slower. Ours is run twice: as it is, and with readers that
recognise neither languages nor reference lists, which the bare loop does not do either.
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
from pipeline.documents import children  # noqa: E402
from pipeline.documents.discover import manifest_entries  # noqa: E402
from pipeline.runner import Runner  # noqa: E402
from pipeline.selection import Selection  # noqa: E402

READER = children.READER


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
        with runner.questions("extraction", Selection()) as asks:
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


def compare(folder: Path, processes: int, rounds: int) -> list[object]:
    """A row of the table."""
    files = sorted(folder.glob("**/*.pdf"))
    config = load_config(None).model_copy(
        update={"input_dir": folder, "read_processes": processes, "openai_api_key": None}
    )
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        baseline = best(lambda: sum(pool.map(bare_loop, files)), rounds)
    row: list[object] = [processes, f"{baseline:,.0f}"]
    for reader in (READER, "benchmarks.reader_without_detection"):
        children.READER = reader
        children.children.close()
        with tempfile.TemporaryDirectory() as scratch:
            rate = best(partial(ours, config, Path(scratch)), rounds)
        row += [f"{rate:,.0f}", f"{100 * rate / baseline:.0f} %"]
    return row


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("papers", type=Path)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    rows = [compare(options.papers, processes, options.rounds) for processes in options.processes]
    headers = ["processes", "bare loop, pages/s", "ours, pages/s", "share", "without detection", "share"]
    print(tabulate(rows, headers=headers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
