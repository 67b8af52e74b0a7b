"""Measure how many pages per second the planning process takes from its readers, and how many readers keep it busy.

    python benchmarks/planning.py PAPERS                       # a folder of PDFs; with 16 readers
    python benchmarks/planning.py PAPERS --readers 4 16 --copies 60
    python benchmarks/planning.py PAPERS --dask                # the readers are threads of Dask workers on this machine

The papers are read once. Then readers replay what the real ones sent, so that reading takes no time and the planning
process is the bottleneck. It does everything that it does in a run: it stores the texts and the manifest, and plans and
writes the requests of the extraction. Each copy of a paper has other pages, as another paper would have. The baseline
is one real reader alone, in the same run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate  # noqa: E402

from pipeline.batches.plan import PlanOptions, plan  # noqa: E402
from pipeline.batches.session import Session  # noqa: E402
from pipeline.config import Config, load_config  # noqa: E402
from pipeline.pdf.pool import WORKER_MODULE, workers  # noqa: E402
from pipeline.pdf.worker import replies  # noqa: E402
from pipeline.pdf.worker_messages import ReadRequest  # noqa: E402
from pipeline.selection import Selection  # noqa: E402
from pipeline.workflow.questions import Readiness, document_questions  # noqa: E402

REPLAYING = "benchmarks.replaying_reader"
NO_DASHBOARD = {"dashboard": False}


def run(config: Config, folder: Path) -> float:
    """Pages per second from PDFs to request files, in a new workspace in `folder`."""
    output = Path(tempfile.mkdtemp(dir=folder))
    with Session(config.model_copy(update={"output_dir": output}), "benchmark") as session:
        stage = session.stage_run("extraction")
        readiness = Readiness()
        started = time.perf_counter()
        with closing(document_questions(session, stage, Selection(), readiness)) as documents:
            made = plan(stage, documents, PlanOptions(), lambda made: True)
        seconds = time.perf_counter() - started
        assert made.to_send and not readiness.problems
        return readiness.selected_pages / seconds


def record(papers: Sequence[Path], copies: int, folder: Path) -> None:
    """Store what a reader sends about each paper, and make the copies: empty files that only have the right names."""
    (folder / "replies").mkdir()
    (folder / "papers").mkdir()
    for number, paper in enumerate(papers):
        messages = replies(ReadRequest(file=str(paper), seconds=600))
        lines = [message.model_dump_json(exclude_defaults=True) for message in messages]
        (folder / "replies" / f"{number}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for copy in range(copies):
            (folder / "papers" / f"{number}@{copy}.pdf").touch()


@contextmanager
def cluster(workers_on_this_machine: int) -> Iterator[str]:
    """A Dask cluster of processes on this machine that replay. Gives its address."""
    from distributed import Client
    from distributed.deploy.subprocess import SubprocessCluster  # the scheduler is in a process of its own

    with (
        SubprocessCluster(
            n_workers=workers_on_this_machine, threads_per_worker=1, scheduler_kwargs=NO_DASHBOARD
        ) as made,
        Client(made) as client,
    ):
        client.wait_for_workers(workers_on_this_machine, timeout=60)
        client.run(_replay)
        yield made.scheduler_address


def _replay() -> None:
    """Runs on each Dask worker, in whose process `workers` is another object."""
    from pipeline.pdf import pool

    pool.workers.restart("benchmarks.replaying_reader")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("papers", type=Path, help="a folder of PDFs")
    parser.add_argument("--readers", type=int, nargs="+", default=[16], help="default: 16")
    parser.add_argument("--copies", type=int, default=30, help="of each paper (default: 30)")
    parser.add_argument("--dask", action="store_true", help="with the readers on a Dask cluster on this machine")
    options = parser.parse_args(argv)
    papers = sorted(options.papers.glob("**/*.pdf"))
    config = load_config(None).model_copy(update={"openai_api_key": None, "dask_scheduler": None})
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(papers, options.copies, folder)
        real = config.model_copy(update={"input_dir": options.papers, "read_processes": 1})
        run(real, folder)  # starts the reader
        one_reader = max(run(real, folder) for _ in range(3))
        os.environ["REPLAYED_REPLIES"] = str(folder / "replies")
        replayed = config.model_copy(update={"input_dir": folder / "papers"})
        for readers in options.readers:
            workers.restart(REPLAYING)
            rate = run(replayed.model_copy(update={"read_processes": readers}), folder)
            rows.append(["processes", readers, f"{rate:,.0f}", f"{rate / one_reader:.1f}"])
            if options.dask:
                with cluster(readers) as address:
                    rate = run(replayed.model_copy(update={"dask_scheduler": address}), folder)
                rows.append(["Dask", readers, f"{rate:,.0f}", f"{rate / one_reader:.1f}"])
        workers.restart(WORKER_MODULE)
    print(f"one real reader: {one_reader:,.0f} pages/s")
    print(tabulate(rows, headers=["readers", "number", "planned pages/s", "keeps up with"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
