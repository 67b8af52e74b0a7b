"""The model's side: the OpenAI Batch API and all that speak it, or a model on this machine."""

from pipeline.config import Config
from pipeline.providers.base import BatchProvider
from pipeline.workspace import Workspace


def make_provider(config: Config, workspace: Workspace) -> BatchProvider:
    """The provider that PROVIDER names. Raises ConfigError where it lacks what it needs, a key for one."""
    if config.provider == "openai":
        from pipeline.providers.openai import OpenAIProvider

        return OpenAIProvider(config)
    from pipeline.providers.local import LocalProvider

    return LocalProvider(config, workspace)


__all__ = ["BatchProvider", "make_provider"]
