"""Peak memory from PDFs to request files, with 10, 100 and 1,000 papers.

    python benchmarks/memory.py PAPERS       # a folder of PDFs, which are copied over and over

Each size is a run of run_batch.py --dry-run in a process of its own; the readers are its children.
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

SIZES = (10, 100, 1000)


def copies(papers: Path, count: int, folder: Path) -> None:
    """So many PDFs. Links where the file system allows them."""
    files = sorted(papers.glob("**/*.pdf"))
    folder.mkdir()
    for number in range(count):
        target = folder / f"{number:05}.pdf"
        try:
            os.link(files[number % len(files)], target)
        except OSError:
            shutil.copy(files[number % len(files)], target)


def peaks() -> list[float]:
    """Megabytes of this process and of each of its readers, as Linux tells it."""
    listed = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "documents.reader"], capture_output=True, text=True)
    return [_peak(pid) for pid in ("self", *listed.stdout.split())]


def _peak(pid: str) -> float:
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")


def one() -> int:
    import run_batch

    status = run_batch.main(["--process", "extraction", "--dry-run"])
    print("peaks", *peaks())
    return status


def measure(papers: Path, count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as scratch:
        copies(papers, count, Path(scratch) / "input")
        environment = os.environ | {"INPUT_DIR": f"{scratch}/input", "OUTPUT_DIR": f"{scratch}/output"}
        command = [sys.executable, __file__, "--one"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(peak) for peak in done.stdout.splitlines()[-1].split()[1:]]


def main() -> int:
    rows = []
    for count in SIZES:
        own, *readers = measure(Path(sys.argv[1]), count)
        rows.append([f"{count:,}", f"{own:,.0f}", ", ".join(f"{reader:,.0f}" for reader in readers)])
    print(tabulate(rows, headers=["papers", "peak MB", "of its readers"], disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(one() if "--one" in sys.argv else main())
