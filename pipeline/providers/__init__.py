"""Where the model runs: the OpenAI Batch API and compatible servers, or this machine.

A new provider is one file and one line here. It may speak any format: see `BatchProvider` in base.py.
"""

from __future__ import annotations

from importlib import import_module

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.providers.base import BatchProvider
from pipeline.workspace import Workspace

PROVIDER_CLASSES = {
    "openai": "pipeline.providers.openai:OpenAIProvider",
    "local": "pipeline.providers.local:LocalProvider",
}

__all__ = ["BatchProvider", "check_provider", "make_provider", "provider_class"]


def check_provider(kind: str) -> None:
    """Raises ConfigError if PROVIDER names no provider."""
    if kind not in PROVIDER_CLASSES:
        raise ConfigError(f"PROVIDER is '{kind}': use one of {', '.join(PROVIDER_CLASSES)}.")


def provider_class(kind: str) -> type[BatchProvider]:
    """The class behind a value of PROVIDER. Raises ConfigError."""
    check_provider(kind)
    module, _, name = PROVIDER_CLASSES[kind].partition(":")
    found: type[BatchProvider] = getattr(import_module(module), name)
    return found


def make_provider(config: Config, workspace: Workspace, clock: Clock = SYSTEM_CLOCK) -> BatchProvider:
    """The provider that PROVIDER names. Raises ConfigError."""
    return provider_class(config.provider)(config, workspace, clock)
