"""Runs the user's NOTIFY_COMMAND, so that nobody has to look for a day whether the batches have ended."""

from __future__ import annotations

import os
import subprocess
import sys

from pipeline.config import SECRETS, Config

SECONDS = 60  # for the command


def notify(config: Config, process: str, message: str) -> None:
    """Run NOTIFY_COMMAND in a shell, with STAGE and MESSAGE in its environment. Secrets are not.

    If it fails, a warning is printed: the results do not depend on it.
    """
    if not config.notify_command:
        return
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    environment |= {"STAGE": process, "MESSAGE": message}
    try:
        done = subprocess.run(
            config.notify_command, shell=True, env=environment, timeout=SECONDS, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=config.folder,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        problem = f"it took more than {SECONDS} seconds"
    else:
        if done.returncode == 0:
            return
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
        problem = f"it ended with status {done.returncode}" + (f": {said}" if said else "")
    print(f"warning: NOTIFY_COMMAND failed ({problem}): correct it in config.yaml.", file=sys.stderr)
