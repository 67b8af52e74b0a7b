"""Measure the peak memory from PDFs to request files, with 10, 100 and 1,000 papers.

    python benchmarks/memory.py PAPERS       # a folder of PDFs, which are copied until there are enough

For each number of papers, `run_batch.py --dry-run` runs in a process of its own. The worker processes that read the
papers are children of that process.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate  # noqa: E402

from pipeline.pdf.pool import WORKER_MODULE  # noqa: E402

SIZES = (10, 100, 1000)
RUN_ONCE = "--one"


def copy_papers(papers: Path, count: int, folder: Path) -> None:
    """Fill `folder` with `count` PDFs: links where the file system allows them, else copies."""
    files = sorted(papers.glob("**/*.pdf"))
    folder.mkdir()
    for number in range(count):
        target = folder / f"{number:05}.pdf"
        try:
            os.link(files[number % len(files)], target)
        except OSError:
            shutil.copy(files[number % len(files)], target)


def peaks() -> list[float]:
    """Peak memory of this process and of each of its workers, in megabytes, as Linux reports it."""
    command = ["pgrep", "-P", str(os.getpid()), "-f", WORKER_MODULE]
    listed = subprocess.run(command, capture_output=True, text=True)
    found = []
    for pid in ("self", *listed.stdout.split()):
        line = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
        found.append(int(line[1]) / 1000 if line else float("nan"))
    return found


def run_once() -> int:
    """Run the command in this process and print the peaks."""
    import run_batch

    status = run_batch.main(["--process", "extraction", "--dry-run"])
    print("peaks", *peaks())
    return status


def measure(papers: Path, count: int) -> list[float]:
    """The peaks of a run with so many papers."""
    with tempfile.TemporaryDirectory() as scratch:
        copy_papers(papers, count, Path(scratch) / "input")
        environment = os.environ | {"INPUT_DIR": f"{scratch}/input", "OUTPUT_DIR": f"{scratch}/output"}
        command = [sys.executable, __file__, RUN_ONCE]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(peak) for peak in done.stdout.splitlines()[-1].split()[1:]]


def main() -> int:
    rows = []
    for count in SIZES:
        own, *of_workers = measure(Path(sys.argv[1]), count)
        rows.append([f"{count:,}", f"{own:,.0f}", ", ".join(f"{peak:,.0f}" for peak in of_workers)])
    print(tabulate(rows, headers=["papers", "peak MB", "of its workers"], disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(run_once() if RUN_ONCE in sys.argv else main())
