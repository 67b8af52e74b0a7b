"""Measure how fast PDFs become request files, compared with a bare loop that only extracts the text.

    python benchmarks/reading.py PAPERS            # a folder of PDFs; with 1 and 2 processes
    python benchmarks/reading.py PAPERS --processes 1 2 4 --rounds 9

Both sides read the same papers in the same number of processes, which are already running. A round of the pipeline
reads and classifies the pages, writes text/ and manifest.jsonl, then plans and writes the requests of the extraction.
The fastest round counts, because disturbances only make a round slower. The pipeline is measured twice: as it is, and
without the detection of languages and page kinds, which the bare loop does not do either.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pymupdf  # noqa: E402
from tabulate import tabulate  # noqa: E402

from pipeline.batches.plan import PlanOptions, plan  # noqa: E402
from pipeline.batches.session import Session  # noqa: E402
from pipeline.config import Config, load_config  # noqa: E402
from pipeline.pdf.pool import WORKER_MODULE, workers  # noqa: E402
from pipeline.selection import Selection  # noqa: E402
from pipeline.store import manifest_entries  # noqa: E402
from pipeline.workflow.questions import Readiness, document_questions  # noqa: E402

WITHOUT_DETECTION = "benchmarks.reader_without_detection"


def bare_loop(file: Path) -> int:
    """Extract the text of a paper and discard it. Returns the number of pages."""
    with pymupdf.open(file) as document:
        for page in document:
            page.get_text()
        return int(document.page_count)


def from_pdfs_to_requests(config: Config, folder: Path) -> int:
    """Run the pipeline in a new workspace in `folder`. Returns the number of pages."""
    output = Path(tempfile.mkdtemp(dir=folder))
    with Session(config.model_copy(update={"output_dir": output}), "benchmark") as session:
        run = session.stage_run("extraction")
        with closing(document_questions(session, run, Selection(), Readiness())) as documents:
            made = plan(run, documents, PlanOptions(), lambda made: True)
        assert made.to_send and list((output / "batches").glob("*/part-*.jsonl"))
        return sum(entry.n_pages for entry in manifest_entries(session.workspace))


def best(work: Callable[[], int], rounds: int) -> float:
    """Pages per second of the fastest round, after one round for warming up."""
    work()
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        rates.append(work() / (time.perf_counter() - started))
    return max(rates)


def compare(folder: Path, processes: int, rounds: int) -> list[object]:
    """One row of the table."""
    files = sorted(folder.glob("**/*.pdf"))
    config = load_config(None).model_copy(
        update={"input_dir": folder, "read_processes": processes, "openai_api_key": None}
    )
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        baseline = best(lambda: sum(executor.map(bare_loop, files)), rounds)
    row: list[object] = [processes, f"{baseline:,.0f}"]
    for module in (WORKER_MODULE, WITHOUT_DETECTION):
        workers.restart(module)
        with tempfile.TemporaryDirectory() as scratch:
            rate = best(partial(from_pdfs_to_requests, config, Path(scratch)), rounds)
        row += [f"{rate:,.0f}", f"{100 * rate / baseline:.0f} %"]
    return row


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("papers", type=Path, help="a folder of PDFs")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    options = parser.parse_args(argv)
    rows = [compare(options.papers, processes, options.rounds) for processes in options.processes]
    headers = ["processes", "bare loop, pages/s", "pipeline, pages/s", "share", "without detection", "share"]
    print(tabulate(rows, headers=headers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
