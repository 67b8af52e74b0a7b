"""Let the embedded model answer many questions, in a process of its own.

PyTorch and llama.cpp each keep threads that wait busily for work. In one process they slow each other down to a halt.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipeline.providers.embedded import EmbeddedModel


def answers(weights: Path, adapter: Path, bodies: Sequence[dict[str, Any]]) -> list[str]:
    """The answers to chat completion requests; an empty text where there is none. Raises ProviderError."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_answer_all, weights, adapter, list(bodies)).result()


def _answer_all(weights: Path, adapter: Path, bodies: Sequence[dict[str, Any]]) -> list[str]:
    model = EmbeddedModel(weights, adapter)
    return [_content(model.complete(body)[1]) for body in bodies]


def _content(reply: dict[str, Any]) -> str:
    choices = reply.get("choices") or [{}]
    return str(choices[0].get("message", {}).get("content") or "")
