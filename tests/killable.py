"""Commands in processes that can be killed. They are forked from one that has imported everything, to start fast."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sqlite3
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import genai_prices
from conftest import COMMANDS, WITH_CLOCK
from tqdm import tqdm

import pipeline.providers.openai
import pipeline.workflow.retrieve  # noqa: F401 - imported once here instead of in every process, as the line above
from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.text.tokens import count_tokens

KILLED = -signal.SIGKILL
WRITES = re.compile(r"\s*(COMMIT|INSERT|UPDATE|DELETE)", re.IGNORECASE)

# These load their tables now, so that the processes need not.
count_tokens("")
genai_prices.calc_price(genai_prices.Usage(), "gpt-4o-mini", provider_id="openai")


@dataclass(frozen=True)
class KillAt:
    """The process kills itself at its `commit`-th commit of the ledger, just `before` or just after it."""

    commit: int
    before: bool


def start(line: str, config: Path, log: Path, clock: Clock = SYSTEM_CLOCK, kill_at: KillAt | None = None) -> Any:
    """Start e.g. `run_batch.py --process judge`. Its output goes to `log`. Returns the process."""
    context = multiprocessing.get_context("forkserver")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the process that all others are forked from
    context.set_forkserver_preload(["killable"])
    environment = {key: value for key, value in os.environ.items() if key.startswith("OPENAI_")}
    process = context.Process(target=_run, args=(line, str(config), str(log), environment, clock, kill_at))
    process.start()
    return process


def _run(line: str, config: str, log: str, environment: dict[str, str], clock: Clock, kill_at: KillAt | None) -> None:
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1, encoding="utf-8")
    tqdm.set_lock(threading.RLock())  # its own lock is shared between processes, and a killed process never releases it
    if kill_at:
        _kill_at_commit(kill_at)
    script, *arguments = line.split()
    with_clock = {"clock": clock} if script in WITH_CLOCK else {}
    os._exit(COMMANDS[script]([*arguments, "--config", config], **with_clock))


def _kill_at_commit(kill_at: KillAt) -> None:
    """Replace `sqlite3.connect`, so that this process kills itself at a commit."""
    commits = 0

    class Counting(sqlite3.Connection):
        def execute(self, query: str, *values: Any) -> sqlite3.Cursor:  # type: ignore[override]
            nonlocal commits
            # Outside of a transaction every statement that writes is a commit of its own.
            is_commit = bool(WRITES.match(query)) and (query == "COMMIT" or not self.in_transaction)
            commits += is_commit
            is_hit = is_commit and commits == kill_at.commit
            if is_hit and kill_at.before:
                os.kill(os.getpid(), signal.SIGKILL)
            cursor = super().execute(query, *values)
            if is_hit:
                os.kill(os.getpid(), signal.SIGKILL)
            return cursor

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **named: connect(*args, factory=Counting, **named)  # type: ignore[assignment]
