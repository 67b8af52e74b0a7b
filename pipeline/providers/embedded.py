"""Run a language model inside this process: llama.cpp through xllamacpp."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import ProviderError

CONTEXT_TOKENS = 8192  # for the prompt with its examples, a long page and the answer


def require_package() -> None:
    """Raises ProviderError if xllamacpp is not installed."""
    if find_spec("xllamacpp") is None:
        raise ProviderError(
            "The embedded model needs the package xllamacpp: run `pip install -r requirements-local.txt` first."
        )


class EmbeddedModel:
    """A model loaded from a GGUF file, with a LoRA adapter if one is given.

    Raises ProviderError if xllamacpp is not installed or the file cannot be loaded.
    """

    def __init__(self, weights: Path, adapter: Path | None = None) -> None:
        # How long idle threads spin before they sleep. OpenMP's default is several times slower when another process
        # uses the cores, and without spinning it is half as fast on idle cores (measured on 2 cores).
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
        require_package()
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(weights)
        if adapter:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        params.n_ctx = CONTEXT_TOKENS
        params.n_parallel = 1
        params.verbosity = -1
        try:
            self._server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            raise ProviderError(
                f"{weights} could not be loaded ({error}): replace the file, or, if it was downloaded, delete it and "
                "run the same command again."
            ) from None

    def complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer a chat completion request. Returns the HTTP status and the body that a server would send."""
        answer = dict(self._server.handle_chat_completions(body))
        error = answer.get("error")
        return (int(error.get("code") or 500) if isinstance(error, dict) else 200), answer
