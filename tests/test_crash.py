"""Commands that are killed at any moment continue when they are run again: nothing is lost, nothing is sent twice."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest
from conftest import FastClock, Project, make_pdf
from killable import KILLED, KillAt, start
from server import Request, Server

from pipeline.config import ROOT

COMMANDS = ("run_batch.py --process extraction", "retrieve_results.py --process extraction --wait")
COMPARED = ("extraction/", "text/", "failures/", "manifest.jsonl")  # must be the same, byte for byte


class Stage:
    """One project whose extraction stage is killed and continued."""

    def __init__(self, project: Project, server: Server) -> None:
        self.project, self.server = project, server
        self.log = project.folder / "log.txt"
        self.kills = self.resolved = 0

    def reset(self, keep_texts: bool = False) -> None:
        """The same papers, and nothing asked yet. With `keep_texts` the papers were read before, which saves time."""
        for path in self.project.output.iterdir() if self.project.output.exists() else ():
            if path.is_dir() and not (keep_texts and path.name == "text"):
                shutil.rmtree(path)
            elif path.is_file() and not (keep_texts and path.name == "manifest.jsonl"):
                path.unlink()
        for records in (self.server.seen, self.server.attempts, self.server.batches, self.server.files):
            records.clear()

    def start(self, line: str, kill_at: KillAt | None = None) -> Any:
        return start(line, self.project.folder / "config.yaml", self.log, FastClock(), kill_at)

    def finish(self, line: str) -> None:
        """Run a command to its end, and do what it asks for."""
        for _ in range(3):
            process = self.start(line)
            process.join(60)
            if not self.resolve():
                break
        assert process.exitcode == 0, self.log.read_text()

    def resolve(self) -> bool:
        """Do what the last command asked the user for: look in the provider's list of batches, and settle the doubt."""
        asked = re.search(r"input file (file-\w+): .*--resolve (\d+) sent", self.log.read_text())
        if not asked:
            return False
        created = [name for name, batch in self.server.batches.items() if batch.info["input_file_id"] == asked[1]]
        self.resolved += 1
        verdict = f"sent:{created[0]}" if created else "lost"
        process = self.start(f"batch_status.py --resolve {asked[2]} {verdict}")
        process.join(60)
        assert process.exitcode == 0, self.log.read_text()
        return True

    def kill_after(self, line: str, seconds: float) -> bool:
        """Whether the command was still running after so many seconds, and was killed then."""
        process = self.start(line)
        process.join(seconds)
        process.kill()
        process.join()
        if process.exitcode == KILLED:
            self.kills += 1
            return True
        assert process.exitcode == 0 or self.resolve(), self.log.read_text()
        return process.exitcode != 0

    def kill_at(self, line: str, moment: KillAt) -> bool:
        """Whether the command came to that commit, and was killed there."""
        process = self.start(line, moment)
        process.join(60)
        self.kills += process.exitcode == KILLED
        return bool(process.exitcode == KILLED)

    def outputs(self) -> dict[str, bytes]:
        return {name: content for name, content in self.project.files().items() if name.startswith(COMPARED)}

    def check(self, expected: dict[str, bytes], requests: int) -> None:
        assert len(self.server.seen) == requests
        assert set(self.server.seen.values()) == set(self.server.attempts.values()) == {1}
        assert self.outputs() == expected


@pytest.fixture
def stage(project: Project, server: Server) -> Stage:
    return Stage(project, server)


def add_papers(project: Project, documents: int, pages: int, per_batch: int) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=per_batch, POLL_SECONDS=0.02)
    for number in range(documents):
        texts = [f"Page {page} of {number}. We use the Korvian Household Survey." for page in range(pages)]
        make_pdf(project.input / f"{number:02}.pdf", texts)


def run_undisturbed(stage: Stage) -> tuple[dict[str, bytes], dict[str, float]]:
    """The output, and how many seconds each command takes."""
    seconds = {}
    for line in COMMANDS:
        started = time.monotonic()
        stage.finish(line)
        seconds[line] = time.monotonic() - started
    return stage.outputs(), seconds


def kill_at_random_moments(stage: Stage, kills: int, requests: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    expected, seconds = run_undisturbed(stage)
    runs = 0
    while stage.kills < kills:
        stage.reset()
        runs += 1
        for line in COMMANDS:
            while stage.kills < kills and stage.kill_after(line, dice.uniform(0, seconds[line])):
                pass
            stage.finish(line)
        stage.check(expected, requests)
    print(f"{stage.kills} kills over {runs} runs of {requests} requests; {stage.resolved} resolved by the user")


def kill_at_commits(stage: Stage, requests: int, step: int, keep_texts: bool = False) -> None:
    """Kill each command before and after every `step`-th commit, in a new project every time."""
    expected, _ = run_undisturbed(stage)
    for place, line in enumerate(COMMANDS):
        for number in itertools.count():
            commit, before = (1 + number // 2) * step, number % 2 == 0
            stage.reset(keep_texts)
            for earlier in COMMANDS[:place]:
                stage.finish(earlier)
            reached = stage.kill_at(line, KillAt(commit, before))
            for following in COMMANDS[place:]:
                stage.finish(following)
            stage.check(expected, requests)
            if not reached:
                break
    print(f"killed at {stage.kills} commits; {stage.resolved} resolved by the user")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Size of every file that was synced to disk, by inode. A rename does not change the inode."""
    sizes: dict[int, int] = {}
    fsync = os.fsync

    def noting(file: int) -> None:
        fsync(file)
        state = os.fstat(file)
        sizes[state.st_ino] = state.st_size

    monkeypatch.setattr(os, "fsync", noting)
    return sizes


def test_files_are_on_disk_before_the_server_is_told(project: Project, server: Server, synced: dict[int, int]) -> None:
    """A power failure must not lose what the server has: request files, the ids of batches, and deleted results."""
    not_synced: list[str] = []
    contacts = Counter[str]()

    def check(request: Request) -> None:
        contact = f"{request.method} {request.path.removeprefix('/v1')}"
        contacts[contact] += 1
        batches = project.output / "batches"
        needed = list(batches.rglob("part-*.jsonl")) if contact == "POST /files" else []
        if request.method == "DELETE":
            needed += batches.rglob("*.jsonl")
        if server.batches:
            needed.append(project.output / "extraction_batches.txt")
        sizes = {path: path.stat() for path in needed if path.exists()}
        not_synced.extend(
            f"{contact}: {path.name}" for path in needed
            if path not in sizes or synced.get(sizes[path].st_ino) != sizes[path].st_size
        )  # fmt: skip

    server.before_request = check
    project.configure(MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", "We use the Korvian Household Survey.", "We use the Lake Panel.", "We use the Census.")
    project.run("run_batch.py --process extraction --wait")
    project.run("batch_status.py --clean-remote")
    assert not_synced == []
    assert contacts["POST /files"] == contacts["POST /batches"] == 3 and not server.files
    assert (project.output / "extraction_batches.txt").read_text().split() == list(server.batches)


STRACE = ["strace", "-f", "-y", "-s", "40", "-e", "trace=fsync,fdatasync,sendto"]


def test_the_ledger_is_on_disk_before_a_batch_is_created(project: Project, server: Server) -> None:
    """SQLite syncs its log itself, so this is seen only from outside of the process."""
    log = project.folder / "strace.txt"
    if subprocess.run([*STRACE, "-o", str(log), "true"], capture_output=True).returncode != 0:
        pytest.skip("strace cannot be used here")
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    command = [sys.executable, "run_batch.py", "--process", "extraction", "--config", project.folder / "config.yaml"]
    subprocess.run([*STRACE, "-o", str(log), *command], cwd=ROOT, check=True, capture_output=True)
    calls = log.read_text()
    assert calls.count("POST /v1/files") == calls.count("POST /v1/batches") == 1
    for earlier, later in (("", "POST /v1/files"), ("POST /v1/files", "POST /v1/batches"), ("POST /v1/batches", "")):
        between = calls[calls.index(earlier) : calls.index(later) if later else None]
        assert re.search(r"sync\(\d+<[^>]*/ledger\.sqlite-wal>", between), (earlier, later)


def test_killed_at_a_few_commits(stage: Stage) -> None:
    add_papers(stage.project, 2, 2, per_batch=4)
    kill_at_commits(stage, requests=4, step=3, keep_texts=True)
    assert stage.kills >= 4


@pytest.mark.slow
def test_killed_at_random_moments(stage: Stage) -> None:
    add_papers(stage.project, 4, 10, per_batch=8)
    kill_at_random_moments(stage, kills=15, requests=40)


@pytest.mark.slow
def test_killed_at_every_fourth_commit(stage: Stage) -> None:
    add_papers(stage.project, 2, 4, per_batch=4)
    kill_at_commits(stage, requests=8, step=4)
    assert stage.kills > 5


@pytest.mark.slow
def test_200_kills_over_2000_requests_in_10_batches(stage: Stage) -> None:
    add_papers(stage.project, 40, 50, per_batch=200)
    kill_at_random_moments(stage, kills=200, requests=2000)


@pytest.mark.slow
def test_killed_at_every_commit(stage: Stage) -> None:
    add_papers(stage.project, 3, 5, per_batch=4)
    kill_at_commits(stage, requests=15, step=1)
    assert stage.kills > 20
    assert stage.resolved  # one was killed between its decision to create a batch and the request
