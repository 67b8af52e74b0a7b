"""Several commands at once, a full disk, a network failure: one sentence is printed, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import killable
import pytest
from conftest import FastClock, Project, wait_until
from server import Reply, Request, Server
from test_pipeline import HOUSEHOLDS

from pipeline.clock import SYSTEM_CLOCK, Clock

RUN = "run_batch.py --process extraction"
GET = "retrieve_results.py --process extraction"


def start(project: Project, line: str, log: str, clock: Clock = SYSTEM_CLOCK) -> Any:
    return killable.start(line, project.folder / "config.yaml", project.folder / log, clock)


def statuses(project: Project) -> set[str]:
    return set(project.document("extraction", "a")["page_status"].values())


def test_of_two_commands_the_second_names_the_first(project: Project, server: Server) -> None:
    """The first is delayed in the middle of its submission until the second has given up."""
    second_has_ended = threading.Event()

    def delay(request: Request, reply: Reply) -> Reply:
        if request.path == "/v1/batches" and request.method == "POST":
            second_has_ended.wait(30)
        return reply

    server.before_response = delay
    project.paper("a.pdf", HOUSEHOLDS)
    first = start(project, RUN, "first.txt")
    wait_until(lambda: server.batches)
    second = start(project, RUN, "second.txt", FastClock())
    second.join(30)
    second_has_ended.set()
    first.join(30)
    assert (first.exitcode, second.exitcode) == (0, 1)
    printed = (project.folder / "second.txt").read_text()
    assert f"error: {RUN} (process {first.pid}) is working in" in printed and "Traceback" not in printed
    assert set(server.seen.values()) == {1}


@pytest.mark.parametrize("line", ["run_batch.py --process all", f"{RUN} --wait"])
def test_the_status_names_a_command_that_waits(project: Project, server: Server, line: str) -> None:
    """No next step is printed while it collects the answers; before and after it is."""
    server.polls_to_complete = 10**6
    project.configure(POLL_SECONDS=0.02)
    project.paper("a.pdf", HOUSEHOLDS)
    assert "Next: " in project.run("batch_status.py")
    waiting = start(project, line, "waiting.txt")
    log = project.folder / "waiting.txt"
    try:
        wait_until(lambda: log.exists() and "can be interrupted" in log.read_text(), 15)
        printed = project.run("batch_status.py")
    finally:
        waiting.kill()
        waiting.join()
    command = line.removesuffix(" --wait")
    assert f"\n{command} (process {waiting.pid}) is running in this folder and will collect the answers.\n" in printed
    assert "Next: " not in printed and "or: " not in printed
    assert "Next: python retrieve_results.py --process extraction" in project.run("batch_status.py")


def test_waiting_is_announced_once(project: Project, server: Server) -> None:
    """A log file has no progress bar."""
    project.configure(MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", HOUSEHOLDS, f"{HOUSEHOLDS} Again.")
    rest = "for the answers, which can take up to 24h. The command can be interrupted and repeated.\n"
    assert project.run(f"{RUN} --wait").count(f"extraction: sent 2 requests in 2 batches. Waiting {rest}") == 1
    assert "aiting for" not in project.run(f"{RUN} --wait")  # there is nothing to wait for
    project.run("run_batch.py --process judge")
    assert f"judge: waiting {rest}" in project.run("retrieve_results.py --process judge --wait")


def test_many_commands_at_once(project: Project, server: Server) -> None:
    """In whatever order they work, each question is sent once."""
    project.configure(MAX_REQUESTS_PER_BATCH=3)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(12)))
    lines = [RUN, GET, f"{RUN} --wait", f"{GET} --wait", "batch_status.py", RUN]
    processes = [start(project, line, f"{number}.txt") for number, line in enumerate(lines)]
    for process in processes:
        process.join(60)
    printed = "".join((project.folder / f"{number}.txt").read_text() for number in range(len(lines)))
    assert "Traceback" not in printed
    project.run(f"{RUN} --wait")
    assert statuses(project) == {"answered"}
    assert set(server.seen.values()) == {1} and server.seen.total() == 12


def test_a_waiting_command_locks_no_other_out(project: Project, server: Server) -> None:
    server.polls_to_complete = 10**6
    project.configure(POLL_SECONDS=0.02, MAX_REQUESTS_PER_BATCH=1)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(3)))
    project.clock = SYSTEM_CLOCK  # two processes compete for the lock in real time
    waiting = start(project, f"{RUN} --wait", "waiting.txt")
    wait_until(lambda: len(server.batches) == 3)
    for batch_id in list(server.batches):
        server.end(batch_id, "completed")
        project.run(GET)
    waiting.join(30)
    assert waiting.exitcode == 0, (project.folder / "waiting.txt").read_text()
    assert statuses(project) == {"answered"} and set(server.seen.values()) == {1}


@pytest.mark.parametrize(("lost", "expected"), [(100, 0), (100_000, 1)])
def test_a_network_failure_while_waiting(project: Project, server: Server, lost: int, expected: int) -> None:
    """A short one only delays the command. After a long one the same command continues later."""
    requests = 0

    def reset(request: Request) -> Reply | None:
        nonlocal requests
        requests += request.method == "GET"
        return Reply(200, b"", cut=0) if request.method == "GET" and requests <= lost else None

    server.before_request = reset
    project.paper("a.pdf", HOUSEHOLDS)
    printed = project.run(f"{RUN} --wait", expect=expected)
    assert ("error: Cannot reach" in printed) == bool(expected)
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
    """With every size of the free space one sentence is printed, and the same command continues when there is room."""
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
            process = start(project, line, "log.txt", FastClock())
            process.join(60)
            printed = (project.folder / "log.txt").read_text()
            assert "Traceback" not in printed, printed
            if process.exitcode == 1:
                stopped += 1
                assert sum(text.startswith("error:") for text in printed.splitlines()) == 1, printed
        ballast.unlink(missing_ok=True)
        assert process.exitcode == 0, printed
    assert stopped > 3
    assert statuses(project) == {"answered"}
    assert set(server.seen.values()) == {1} and server.seen.total() == 12
