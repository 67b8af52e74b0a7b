"""Killed at any moment, the commands go on when they are run again: nothing is lost, nothing is sent twice."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Iterator

import killable
import pytest
from conftest import Project, make_pdf
from server import Server

ROAD = ("run_batch.py --process extraction", "retrieve_results.py --process extraction --wait")
KEPT = ("extraction/", "text/", "failures/", "manifest.jsonl")  # what has to be the same, byte for byte


class Road:
    """One project on its way through a stage, killed and continued."""

    def __init__(self, project: Project, server: Server) -> None:
        self.project, self.server = project, server
        self.log = project.folder / "log.txt"
        self.kills = self.settled = 0

    def fresh(self) -> None:
        """The same papers, and nothing asked yet."""
        shutil.rmtree(self.project.output, ignore_errors=True)
        for kept in (self.server.seen, self.server.attempts, self.server.batches, self.server.files):
            kept.clear()

    def start(self, line: str, kill_at: int | None = None, before: bool = False) -> killable.Any:
        return killable.start(line, self.project.folder / "config.yaml", self.log, kill_at, before)

    def finish(self, line: str) -> None:
        """Run a command to its end, doing what it asks for."""
        for _ in range(3):
            process = self.start(line)
            process.join(60)
            if not self.settle():
                break
        assert process.exitcode == 0, self.log.read_text()

    def settle(self) -> bool:
        """What a user does who is asked: look at the provider's list of batches, and say whether it is there."""
        asked = re.search(r"file (file-\w+):.*--resolve (\d+) sent", self.log.read_text())
        if not asked:
            return False
        made = [name for name, batch in self.server.batches.items() if batch.info["input_file_id"] == asked[1]]
        self.settled += 1
        verdict = f"sent:{made[0]}" if made else "lost"
        process = self.start(f"batch_status.py --resolve {asked[2]} {verdict}")
        process.join(60)
        assert process.exitcode == 0, self.log.read_text()
        return True

    def killed_after(self, line: str, seconds: float) -> bool:
        """Whether the command was still running after so many seconds, and is dead now."""
        process = self.start(line)
        process.join(seconds)
        process.kill()
        process.join()
        if process.exitcode == killable.KILLED:
            self.kills += 1
            return True
        assert process.exitcode == 0 or self.settle(), self.log.read_text()
        return process.exitcode != 0

    def outputs(self) -> dict[str, bytes]:
        return {name: content for name, content in self.project.files().items() if name.startswith(KEPT)}

    def check(self, undisturbed: dict[str, bytes], requests: int) -> None:
        assert len(self.server.seen) == requests
        assert set(self.server.seen.values()) == set(self.server.attempts.values()) == {1}
        assert self.outputs() == undisturbed


@pytest.fixture
def road(project: Project, server: Server) -> Iterator[Road]:
    yield Road(project, server)


def papers(project: Project, documents: int, pages: int, per_batch: int) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=per_batch, POLL_SECONDS=0.02)
    for number in range(documents):
        texts = [f"Page {page} of {number}. We use the Korvian Household Survey." for page in range(pages)]
        make_pdf(project.input / f"{number:02}.pdf", texts)


def undisturbed(road: Road) -> tuple[dict[str, bytes], dict[str, float]]:
    """What comes out, and how long each command takes."""
    seconds = {}
    for line in ROAD:
        started = time.monotonic()
        road.finish(line)
        seconds[line] = time.monotonic() - started
    return road.outputs(), seconds


def kill_at_random_moments(road: Road, kills: int, requests: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    expected, seconds = undisturbed(road)
    projects = 0
    while road.kills < kills:
        road.fresh()
        projects += 1
        for line in ROAD:
            while road.kills < kills and road.killed_after(line, dice.uniform(0, seconds[line])):
                pass
            road.finish(line)
        road.check(expected, requests)
    print(f"{road.kills} kills over {projects} runs of {requests} requests; {road.settled} settled by hand")


def kill_at_every_commit(road: Road, requests: int, step: int) -> None:
    """Each commit of each command, in a project of its own; every `step`-th, before and after."""
    expected, _ = undisturbed(road)
    commits = 0
    for place, line in enumerate(ROAD):
        for number in range(1, 10_000, step):
            ended = False
            for before in (True, False):
                road.fresh()
                for earlier in ROAD[:place]:
                    road.finish(earlier)
                process = road.start(line, kill_at=number, before=before)
                process.join(60)
                ended = process.exitcode != killable.KILLED
                for following in ROAD[place:]:
                    road.finish(following)
                road.check(expected, requests)
                commits += not ended
            if ended:
                break
    print(f"killed at {commits} commits; {road.settled} settled by hand")
    assert commits > 20 // step


def test_killed_at_random_moments(road: Road) -> None:
    papers(road.project, 4, 10, per_batch=8)
    kill_at_random_moments(road, kills=15, requests=40)


def test_killed_at_commits(road: Road) -> None:
    papers(road.project, 2, 4, per_batch=4)
    kill_at_every_commit(road, requests=8, step=4)


@pytest.mark.slow
def test_200_kills_over_2000_requests_in_10_batches(road: Road) -> None:
    papers(road.project, 40, 50, per_batch=200)
    kill_at_random_moments(road, kills=200, requests=2000)


@pytest.mark.slow
def test_killed_at_every_commit(road: Road) -> None:
    papers(road.project, 3, 5, per_batch=4)
    kill_at_every_commit(road, requests=15, step=1)
