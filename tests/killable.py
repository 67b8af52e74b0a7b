"""The commands in processes that can be killed: forked from one that has imported everything, so they start fast."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

from tqdm import tqdm

import batch_status
import generate_finetune_data
import pipeline.providers.openai
import pipeline.runner
import retrieve_results
import run_batch

COMMANDS = {
    "run_batch.py": run_batch.main,
    "retrieve_results.py": retrieve_results.main,
    "batch_status.py": batch_status.main,
    "generate_finetune_data.py": generate_finetune_data.main,
}
KILLED = -signal.SIGKILL
_WRITES = re.compile(r"\s*(COMMIT|INSERT|UPDATE|DELETE)", re.IGNORECASE)


def start(line: str, config: Path, log: Path, kill_at: int | None = None, before: bool = False) -> Any:
    """Start e.g. `run_batch.py --process judge`; it kills itself at its `kill_at`-th commit, after or `before` it."""
    context = multiprocessing.get_context("forkserver")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the process that all others are forked from
    context.set_forkserver_preload(["killable"])
    environment = {key: value for key, value in os.environ.items() if key.startswith("OPENAI_")}
    process = context.Process(target=_run, args=(line, str(config), str(log), environment, kill_at, before))
    process.start()
    return process


def _run(line: str, config: str, log: str, environment: dict[str, str], kill_at: int | None, before: bool) -> None:
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1, encoding="utf-8")
    tqdm.set_lock(threading.RLock())  # its own is shared between processes, and left behind by one that is killed
    pipeline.providers.openai.WAITS = (0.05,) * 8
    if kill_at is not None:
        _kill_at_commit(kill_at, before)
    script, *arguments = line.split()
    os._exit(COMMANDS[script]([*arguments, "--config", config]))


def _kill_at_commit(number: int, before: bool) -> None:
    commits = 0

    class Counting(sqlite3.Connection):
        def execute(self, query: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
            nonlocal commits
            commit = bool(_WRITES.match(query)) and (query == "COMMIT" or not self.in_transaction)
            commits += commit
            hit = commit and commits == number
            if hit and before:
                os.kill(os.getpid(), signal.SIGKILL)
            cursor = super().execute(query, *values)
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)
            return cursor

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **named: connect(*args, factory=Counting, **named)  # type: ignore[assignment]
