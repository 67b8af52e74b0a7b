"""Opens the session of a command."""

from __future__ import annotations

from pipeline.batches.session import Session
from pipeline.cli.output import Output
from pipeline.clock import Clock
from pipeline.config import SECRETS, load_config


def open_session(output: Output, config_file: str | None, command: str, clock: Clock) -> Session:
    """Read the settings and print which of them do not come from config.yaml. Raises ConfigError, WorkspaceError."""
    config = load_config(config_file)
    overridden = [f"{key} ({source})" for key, source in config.overridden.items() if key not in SECRETS]
    if overridden:
        output.note("Settings that override config.yaml: " + ", ".join(overridden))
    return Session(config, command, clock)
