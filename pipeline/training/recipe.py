"""How an adapter is trained. Imports nothing large, so that a missing package can be reported at once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from pipeline.errors import ConfigError

PACKAGES = ("torch", "transformers", "peft", "gguf", "xllamacpp")


@dataclass(frozen=True)
class Recipe:
    """`base`: as LOCAL_MODEL names it. `rank`: of the LoRA matrices, which are on all linear layers.

    `warmup`: share of the steps in which the learning rate rises; then it falls as a cosine, to a tenth.
    `batch_tokens`: tokens in a step, with padding. Rows in a step have similar lengths. `decision_weight`: in the loss,
    of the token that decides between "nothing" and "something". `valid_rows`: answered after each epoch.
    """

    base: str
    epochs: int = 3
    rank: int = 16
    learning_rate: float = 5e-4
    warmup: float = 0.05
    batch_tokens: int = 2400
    decision_weight: float = 8.0
    valid_rows: int = 120
    seed: int = 0


def require_packages() -> None:
    """Raises ConfigError if a package is missing that training needs."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Training needs the packages {', '.join(missing)}: run "
            "`pip install -r requirements-training.txt -r requirements-local.txt` first."
        )
