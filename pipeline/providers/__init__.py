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

__all__ = ["BatchProvider", "answers_here", "check_provider", "is_free", "make_provider"]


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


def is_free(kind: str) -> bool:
    """Whether answers of this kind of provider cost nothing. An unknown kind, of an older folder, is not free."""
    return kind in PROVIDER_CLASSES and provider_class(kind).is_free


def answers_here(kind: str) -> bool:
    """Whether batches of this kind of provider are answered on this machine."""
    return kind in PROVIDER_CLASSES and provider_class(kind).answers_here


def make_provider(config: Config, workspace: Workspace, clock: Clock = SYSTEM_CLOCK) -> BatchProvider:
    """The provider that PROVIDER names. Raises ConfigError."""
    return provider_class(config.provider)(config, workspace, clock)
