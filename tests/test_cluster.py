"""Papers read on a Dask cluster: a scheduler and two workers, each a process of its own, one of them killed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pdfs
import pytest
from conftest import Project
from server import Server

from pipeline.config import ROOT

pytest.importorskip("distributed")
DASK = Path(sys.executable).with_name("dask")
LOCAL = ("manifest.jsonl", "text/", "batches/")


class Cluster:
    """A scheduler and its workers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = self._start(r"Scheduler at:\s+(tcp://\S+)", "scheduler", "--port", "0", "--no-dashboard")

    def _start(self, ready: str, *arguments: str, cwd: Path = ROOT) -> str:
        """Start one and wait until its log has the line `ready`; returns what that names."""
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
    yield started
    started.stop()


def outputs(project: Project) -> dict[str, bytes]:
    return {name: content for name, content in project.files().items() if name.startswith(LOCAL)}


def write_papers(project: Project, count: int) -> None:
    for number in range(count):
        sentence = f"Paper {number} uses the Korvian Household Survey of 20{number % 10}0 in its page {{}}. "
        project.paper(f"{number:03}.pdf", *(sentence.format(page) * 20 for page in range(1, 6)))


def test_the_same_bytes_though_a_worker_is_killed(project: Project, server: Server, cluster: Cluster) -> None:
    write_papers(project, 60)
    project.run("run_batch.py --process extraction")
    alone = outputs(project)
    shutil.rmtree(project.output)
    first, second = cluster.add_worker(), cluster.add_worker()
    project.configure(DASK_SCHEDULER=cluster.address)

    def kill() -> None:
        while len(list(project.output.glob("text/*.json"))) < 10:
            time.sleep(0.001)
        first.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    project.run("run_batch.py --process extraction")
    killer.join()
    assert first.wait() and second.poll() is None
    assert outputs(project) == alone


def test_papers_that_break_programs_cost_themselves_there_too(project: Project, cluster: Cluster) -> None:
    worker = cluster.add_worker()
    project.configure(DASK_SCHEDULER=cluster.address, READ_TIMEOUT_S=1)
    pdfs.write(project.input / "slow.pdf", [pdfs.text("One."), pdfs.slow()])
    project.paper("sound.pdf", "We use the Korvian Household Survey.")
    printed = project.run("run_batch.py --check", expect=3)
    assert "page 2 cannot be read (it takes longer than READ_TIMEOUT_S, 1 seconds)" in printed
    assert "2 documents, 0 of them unreadable" in printed and worker.poll() is None


def test_a_cluster_that_cannot_be_used_gets_a_sentence(project: Project, cluster: Cluster, tmp_path: Path) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    project.configure(DASK_SCHEDULER=cluster.address)
    assert "has no workers: start some" in project.run("run_batch.py --check", expect=1)
    cluster.add_worker(cwd=tmp_path)
    assert "cannot import this program" in project.run("run_batch.py --check", expect=1)
    project.configure(DASK_SCHEDULER="tcp://127.0.0.1:1")
    assert "There is no Dask scheduler at tcp://127.0.0.1:1" in project.run("run_batch.py --check", expect=1)
