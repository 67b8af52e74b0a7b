"""Reading papers on a Dask cluster: a scheduler and two workers in processes of their own, one of which is killed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pdfs
import pytest
from conftest import Project, has_open
from server import Server

from pipeline.config import ROOT
from pipeline.errors import ClusterError
from pipeline.pdf.dask_cluster import connected

pytest.importorskip("distributed")
DASK = Path(sys.executable).with_name("dask")
COMPARED = ("manifest.jsonl", "text/", "batches/")
SENTENCE = "We use the Korvian Household Survey."
CHECK = "run_batch.py --check"


class Cluster:
    """A scheduler and its workers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = self._start(r"Scheduler at:\s+(tcp://\S+)", "scheduler", "--port", "0", "--no-dashboard")

    def _start(self, ready: str, *arguments: str, cwd: Path = ROOT) -> str:
        """Start a process and wait until its log matches `ready`. Returns the first group of the match."""
        log = self._folder / f"{len(self._processes)}.log"
        environment = os.environ | {"PYTHONPATH": str(cwd)}
        command = [str(DASK), *arguments, "--host", "127.0.0.1"]
        with log.open("wb") as file:
            self._processes.append(subprocess.Popen(command, cwd=cwd, env=environment, stdout=file, stderr=file))
        deadline = time.monotonic() + 60
        while not (found := re.search(ready, log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return found[1]

    def add_worker(self, cwd: Path = ROOT) -> subprocess.Popen[bytes]:
        scratch = ("--local-directory", str(self._folder), "--no-dashboard")
        self._start(r"(Registered to)", "worker", self.address, "--nthreads", "1", "--no-nanny", *scratch, cwd=cwd)
        return self._processes[-1]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path / "dask")
    try:
        yield started
    finally:
        started.stop()


def outputs(project: Project) -> dict[str, bytes]:
    return {name: content for name, content in project.files().items() if name.startswith(COMPARED)}


def write_papers(project: Project, count: int) -> None:
    for number in range(count):
        sentence = f"Paper {number} uses the Korvian Household Survey of 20{number % 10}0 in its page {{}}. "
        project.paper(f"{number:03}.pdf", *(sentence.format(page) * 20 for page in range(1, 6)))


@contextmanager
def when_extracted(project: Project, count: int, action: Callable[[], object]) -> Iterator[None]:
    """Call `action` in a thread as soon as the texts of `count` papers are on disk, if that happens in the block."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if len(list(project.output.glob("text/*.json"))) >= count:
                action()
                return
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def test_result_is_the_same_if_a_worker_is_killed(project: Project, server: Server, cluster: Cluster) -> None:
    write_papers(project, 60)
    project.run("run_batch.py --process extraction")
    local = outputs(project)
    shutil.rmtree(project.output)
    first, second = cluster.add_worker(), cluster.add_worker()
    project.configure(DASK_SCHEDULER=cluster.address)
    with when_extracted(project, 10, first.kill):
        project.run("run_batch.py --process extraction")
    assert first.wait(timeout=10) and second.poll() is None
    assert outputs(project) == local


def test_time_limit_ends_only_the_slow_paper(project: Project, cluster: Cluster) -> None:
    worker = cluster.add_worker()
    project.configure(DASK_SCHEDULER=cluster.address, READ_TIMEOUT_S=0.5)
    pdfs.write(project.input / "slow.pdf", [pdfs.text("One."), pdfs.slow()])
    project.paper("sound.pdf", SENTENCE)
    printed = project.run(CHECK, expect=3)
    assert "page 2 cannot be read (it takes longer than READ_TIMEOUT_S (0.5 s))" in printed
    assert "2 documents, 0 unreadable" in printed and worker.poll() is None


def kill_reader_of(paper: Path, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill the Dask worker whose reader has the paper open, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in processes:
            listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
            if any(has_open(int(pid), paper) for pid in listed):
                process.kill()
                return
        time.sleep(0.02)


def test_a_paper_that_kills_its_worker_costs_no_other_paper(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several papers are one task. Dask gives up a task whose workers die, and then each is read alone."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    strict = Cluster(tmp_path / "strict")
    try:
        dask_workers = [strict.add_worker(), strict.add_worker()]
        project.configure(DASK_SCHEDULER=strict.address, READ_TIMEOUT_S=3)
        slow = pdfs.write(project.input / "e.pdf", [pdfs.text("One."), pdfs.slow()])
        for name in "abcdfghijklm":
            project.paper(f"{name}.pdf", SENTENCE)
        killer = threading.Thread(target=kill_reader_of, args=(slow, dask_workers))
        killer.start()
        printed = project.run(CHECK, expect=3)
        killer.join()
        assert sorted(worker.poll() is None for worker in dask_workers) == [False, True]
        assert "page 2 cannot be read (it takes longer than READ_TIMEOUT_S (3 s))" in printed
        assert "13 documents, 0 unreadable" in printed
    finally:
        strict.stop()


def test_unusable_cluster_is_reported(project: Project, cluster: Cluster, tmp_path: Path) -> None:
    project.paper("a.pdf", SENTENCE)
    project.configure(DASK_SCHEDULER=cluster.address)
    assert "has no workers: start at least one" in project.run(CHECK, expect=1)
    cluster.add_worker(cwd=tmp_path)
    assert "cannot import this program" in project.run(CHECK, expect=1)


def test_lost_cluster_is_reported(project: Project, cluster: Cluster) -> None:
    write_papers(project, 80)
    cluster.add_worker()
    project.configure(DASK_SCHEDULER=cluster.address)
    with when_extracted(project, 1, cluster.stop):
        printed = project.run(CHECK, expect=1)
    assert "The connection to the Dask cluster was lost while papers were read" in printed


def test_missing_scheduler_is_reported(project: Project) -> None:
    project.paper("a.pdf", SENTENCE)
    project.configure(DASK_SCHEDULER="tpc://127.0.0.1:1")  # an invalid address is rejected without a time limit
    assert "Cannot connect to a Dask scheduler at tpc://127.0.0.1:1" in project.run(CHECK, expect=1)
    with (
        pytest.raises(ClusterError, match=r"Cannot connect to a Dask scheduler at tcp://127\.0\.0\.1:1 "),
        connected("tcp://127.0.0.1:1", timeout_s=0.2),
    ):
        pass
