"""Whatever a server has done wrong, and in whatever order: in the end every page is answered, and paid for once."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from server import Server
from server_batches import Batch, Rows, write_files
from server_faults import FAULTS

ALL = "run_batch.py --process all"
COMMANDS = (
    "run_batch.py --process extraction",
    "retrieve_results.py --process extraction",
    "retrieve_results.py --process extraction --wait",
    "run_batch.py --process judge",
    "batch_status.py",
    ALL,
)
LEFT_OUT = {
    "error_null_status_400", "validation_failure",  # refuse requests for good
    "missing_rows",  # the server loses answers that were paid for
    "raw_line_separators",  # gives other answers
    "big_output", "mute_for_a_while", "create_times_out_after_creating",  # take too long
    "another_key",
}  # fmt: skip
TEMPORARY = sorted(set(FAULTS) - LEFT_OUT)
COMPARED = ("text/", "manifest.jsonl")  # byte for byte; documents but for the number of requests and their cost


class Runs:
    """The same papers, again and again."""

    def __init__(self, project: Project, server: Server) -> None:
        self.project, self.server = project, server
        self.answered: Counter[str] = Counter()  # how often each question was answered
        self.resolved: set[str] = set()  # request files of this run that the user had to settle
        self.commands = self.doubts = 0

    def behave(self) -> None:
        self.server.behave()
        self.server.result_files = self._count

    def _count(self, batch: Batch, rows: Rows) -> dict[str, bytes]:
        bodies = dict(batch.lines)
        answered = {row["custom_id"] for row in rows["output"] if row["custom_id"] in bodies}
        self.answered.update(json.dumps(bodies[custom_id]) for custom_id in answered)
        return write_files(batch, rows)

    def reset(self, folder: Path) -> None:
        self.behave()
        self.resolved.clear()
        for records in (self.server.seen, self.server.attempts, self.server.batches, self.server.files, self.answered):
            records.clear()
        self.project.output = folder / "out"
        self.project.configure(MAX_REQUESTS_PER_BATCH=3, OUTPUT_DIR=str(self.project.output))

    def command(self, line: str) -> tuple[int, str]:
        self.commands += 1
        return self.project.command(line)

    def finish(self) -> None:
        """Run all stages as a user does who does what the messages say."""
        for _ in range(6):
            status, printed = self.command(ALL)
            asked = re.search(r"input file (\S+): .*--resolve (\d+) sent", printed)
            if asked:
                self.resolve(*asked.groups())
            elif status == 0:
                return
        pytest.fail(printed)

    def resolve(self, file_id: str, number: str) -> None:
        created = [name for name, batch in self.server.batches.items() if batch.info["input_file_id"] == file_id]
        assert number not in self.resolved, "one doubt is settled once"
        self.resolved.add(number)
        self.doubts += 1
        self.project.run(f"batch_status.py --resolve {number} {f'sent:{created[0]}' if created else 'lost'}")

    def outputs(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, content in self.project.files().items():
            if name.startswith(COMPARED):
                found[name] = content
            elif re.fullmatch(r"(extraction|judge|reasoning)/.*\.json", name):
                found[name] = {key: value for key, value in json.loads(content).items() if key != "usage"}
        return found


def disturb(runs: Runs, dice: random.Random) -> list[str]:
    """Install some faults, run some commands, and again. Returns what was done."""
    done = []
    for _ in range(dice.randint(1, 3)):
        runs.behave()
        for name in dice.sample(TEMPORARY, dice.randint(1, 3)):
            FAULTS[name](runs.server)
            done.append(name)
        for line in dice.choices(COMMANDS, k=dice.randint(1, 2)):
            status, printed = runs.command(line)
            assert status in (0, 1, 3, 4), printed
            assert status != 1 or printed.count("error: ") == 1, printed
            done.append(f"{line} -> {status}")
    runs.behave()
    return done


def run_sequences(project: Project, server: Server, count: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    server.polls_to_complete = 1
    for paper in range(2):
        project.paper(
            f"{paper}.pdf", *(f"We use the Korvian Household Survey, no. {paper} {page}." for page in range(4))
        )
    runs = Runs(project, server)
    runs.reset(project.folder / "undisturbed")
    runs.finish()
    expected, questions = runs.outputs(), Counter(runs.answered)
    assert len(expected) == 9
    for number in range(count):
        runs.reset(project.folder / f"run-{number}")
        done: list[str] = []
        try:
            done = disturb(runs, dice)
            runs.finish()
            assert runs.answered == questions, "every question is paid for once"
            assert set(server.seen.values()) == {1}, "no attempt is sent twice"
            assert runs.outputs() == expected
        except BaseException:
            print(f"run {number} of seed {seed}:", *done, sep="\n  ")
            raise
    print(f"{count} runs, {runs.commands} commands, {runs.doubts} doubts settled by the user")


def test_some_sequences_of_faults(project: Project, server: Server) -> None:
    run_sequences(project, server, 8)


@pytest.mark.slow
def test_many_sequences_of_faults(project: Project, server: Server) -> None:
    run_sequences(project, server, 300)
