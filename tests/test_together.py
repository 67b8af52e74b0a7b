"""Two commands at once, a full disk, a network that goes away: one sentence, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import killable
import pytest
from conftest import Project
from server import Reply, Request, Server
from test_pipeline import HOUSEHOLDS

RUN = "run_batch.py --process extraction"
GET = "retrieve_results.py --process extraction"


def start(project: Project, line: str, name: str) -> killable.Any:
    return killable.start(line, project.folder / "config.yaml", project.folder / name)


def statuses(project: Project) -> set[str]:
    return set(project.document("extraction", "a")["page_status"].values())


def test_of_two_at_once_one_works_and_the_other_is_told(project: Project, server: Server) -> None:
    """The first is held up in the middle of its submission, longer than the other has patience."""

    def slow(request: Request, reply: Reply) -> Reply:
        if request.path == "/v1/batches" and request.method == "POST":
            time.sleep(8)
        return reply

    server.before_response = slow
    project.paper("a.pdf", HOUSEHOLDS)
    first = start(project, RUN, "first.txt")
    while not server.batches:
        time.sleep(0.02)
    second = start(project, RUN, "second.txt")
    first.join(30)
    second.join(30)
    assert (first.exitcode, second.exitcode) == (0, 1)
    told = (project.folder / "second.txt").read_text()
    assert f"error: {RUN} (process {first.pid}) is working in" in told and "Traceback" not in told
    assert set(server.seen.values()) == {1}


def test_many_at_once(project: Project, server: Server) -> None:
    """Whatever order they come in, each question is sent once."""
    project.configure(MAX_REQUESTS_PER_BATCH=3)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(12)))
    lines = [RUN, GET, f"{RUN} --wait", f"{GET} --wait", "batch_status.py", RUN]
    processes = [start(project, line, f"{number}.txt") for number, line in enumerate(lines)]
    for process in processes:
        process.join(60)
    told = "".join((project.folder / f"{number}.txt").read_text() for number in range(len(lines)))
    assert "Traceback" not in told
    project.run(f"{RUN} --wait")
    assert statuses(project) == {"answered"}
    assert set(server.seen.values()) == {1} and server.seen.total() == 12


def test_one_who_waits_never_locks_others_out(project: Project, server: Server) -> None:
    server.polls_to_complete = 10**6
    project.configure(POLL_SECONDS=0.02, MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(3)))
    waiting = start(project, f"{RUN} --wait", "waiting.txt")
    while len(server.batches) < 3:
        time.sleep(0.02)
    for batch_id in list(server.batches):
        server.end(batch_id, "completed")
        project.run(GET)
    waiting.join(30)
    assert waiting.exitcode == 0, (project.folder / "waiting.txt").read_text()
    assert statuses(project) == {"answered"} and set(server.seen.values()) == {1}


@pytest.mark.parametrize(("lost", "expected"), [(20, 0), (1000, 1)])
def test_a_network_that_goes_away_while_waiting(
    project: Project, server: Server, lost: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A while is waited out; for ever is told, and the same command goes on later."""
    gone = 0

    def away(request: Request) -> Reply | None:
        nonlocal gone
        gone += request.method == "GET"
        return Reply(200, b"", cut=0) if request.method == "GET" and gone <= lost else None

    server.before_request = away
    project.paper("a.pdf", HOUSEHOLDS)
    monkeypatch.setattr("pipeline.providers.openai.RETRIES", 1)
    monkeypatch.setattr("openai._constants.INITIAL_RETRY_DELAY", 0.01)
    printed = project.run(f"{RUN} --wait", expect=expected)
    assert ("cannot be reached" in printed) == bool(expected)
    lost = 0
    project.run(f"{RUN} --wait")
    assert statuses(project) == {"answered"} and set(server.seen.values()) == {1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(project: Project, server: Server, small_disk: Path) -> None:
    """At every size of the free space: one sentence, and after room is made the same command goes on."""
    project.configure(OUTPUT_DIR=str(small_disk), MAX_REQUESTS_PER_BATCH=3)
    project.output = small_disk
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(12)))
    stopped = 0
    for line in (RUN, f"{GET} --wait"):
        for free_kb in (0, 20, 60, 100, 140, 180, 220, 260, 300, None):
            ballast = small_disk / "ballast"
            ballast.unlink(missing_ok=True)
            room = shutil.disk_usage(small_disk).free
            if free_kb is not None and room > free_kb * 1024:
                ballast.write_bytes(b"0" * (room - free_kb * 1024))
            process = start(project, line, "log.txt")
            process.join(60)
            told = (project.folder / "log.txt").read_text()
            assert "Traceback" not in told, told
            if process.exitcode == 1:
                stopped += 1
                assert sum(text.startswith("error:") for text in told.splitlines()) == 1, told
        ballast.unlink(missing_ok=True)
        assert process.exitcode == 0, told
    assert stopped > 3
    assert statuses(project) == {"answered"}
    assert set(server.seen.values()) == {1} and server.seen.total() == 12
