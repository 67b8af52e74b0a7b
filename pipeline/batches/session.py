"""What the steps of a command work with."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from pipeline.batches.requests import RequestBuilder
from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.config import Config
from pipeline.ledger import Ledger
from pipeline.ledger.batches import Batch
from pipeline.prefilter import Prefilter, make_prefilter
from pipeline.providers import BatchProvider, check_provider, make_provider
from pipeline.stages import Stage, get_stage
from pipeline.workspace import Workspace


class Session:
    """The settings, the workspace, the ledger and the provider of one command. Closes ledger and provider when left.

    `command`: what other commands are shown while this one holds the lock. Raises ConfigError, WorkspaceError.
    """

    def __init__(self, config: Config, command: str, clock: Clock = SYSTEM_CLOCK) -> None:
        check_provider(config.provider)
        self.config, self.clock, self._command = config, clock, command
        self.workspace = Workspace(config.output_dir)
        self.workspace.prepare()
        self.ledger = Ledger(self.workspace.ledger, clock)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        if "provider" in self.__dict__:  # it was created
            self.provider.close()
        self.ledger.close()

    @cached_property
    def provider(self) -> BatchProvider:
        """Created when it is needed: reading the ledger needs neither a key nor the client library."""
        return make_provider(self.config, self.workspace, self.clock)

    @cached_property
    def prefilter(self) -> Prefilter | None:
        """Decides which pages need no question. None if it is off."""
        return make_prefilter(self.config, self.workspace)

    def lock(self) -> AbstractContextManager[None]:
        """Held while planning, submitting or collecting, never while waiting. Raises LockedError."""
        return self.workspace.lock(self._command, self.clock)

    def waiting(self) -> AbstractContextManager[None]:
        """Held while waiting for answers, so that other commands can tell that they will be collected."""
        return self.workspace.waiting(self._command)

    def stage_run(self, process: str) -> StageRun:
        return StageRun(get_stage(process), self.config, self.workspace, self.ledger, self.provider)


@dataclass(frozen=True)
class StageRun:
    """One stage at work: what planning, submitting and collecting have in common."""

    stage: Stage
    config: Config
    workspace: Workspace
    ledger: Ledger
    provider: BatchProvider

    @property
    def process(self) -> str:
        return self.stage.process

    @cached_property
    def requests(self) -> RequestBuilder:
        """Built when it is needed: collecting answers never reads a prompt. Raises ConfigError."""
        return RequestBuilder.make(self.stage, self.provider, self.config)

    def batches(self, state: str | None = None) -> list[Batch]:
        """The batches of this stage, oldest first, those of other providers included."""
        return self.ledger.batches.all(self.process, state)

    def unsent(self) -> list[Batch]:
        """The request files of this stage that are for this provider and have no batch yet."""
        return [batch for batch in self.batches() if batch.unsent and batch.server == self.provider.server]
