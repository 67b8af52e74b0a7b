"""LoRA adapters for the embedded model: small files that make it good at one stage.

Beside an adapter `<name>.gguf` lies `<name>.json`, which says how it was trained, and so how it must be asked.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.files import sha256_of
from pipeline.records import invalid_because

SHIPPED = Path(__file__).parent / "models"  # <process>-<base>.gguf


class AdapterCard(BaseModel):
    """How an adapter was trained.

    `base_sha256`: of the GGUF file of its base model. `prompt`: name of the prompt file. `page_tokens`: longest part of
    a page, as MAX_PAGE_TOKENS counts. `max_items`, `max_text`: longest list, and most characters of a text, in an
    answer. `decision_bias`: added to the logit of `decision_token`, with which an answer says that there is something
    (a mention, a valid one), because a model that saw as many rows with as without says so too often or too rarely.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    process: str
    base: str
    base_sha256: str
    prompt: str = "extraction_finetuned"
    page_tokens: int | None = Field(default=None, ge=50)
    max_items: int = Field(default=20, ge=1)
    max_text: int = Field(default=2000, ge=100)
    decision_token: int | None = None
    decision_bias: float = 0.0

    @property
    def params(self) -> dict[str, Any]:
        """Request parameters, in the form of llama.cpp."""
        if self.decision_token is None or not self.decision_bias:
            return {}
        return {"logit_bias": [[self.decision_token, self.decision_bias]]}


class Adapter(BaseModel):
    """An adapter file and its card."""

    model_config = ConfigDict(frozen=True)

    path: Path
    sha256: str
    card: AdapterCard


def find_adapter(config: Config, process: str, base_sha256: str) -> Adapter | None:
    """The adapter that LOCAL_ADAPTER names, if it is for this stage, or else the shipped one, if it fits the model.

    Raises ConfigError if it does not exist, has no card, or was trained for another base model.
    """
    if config.local_adapter == "none":
        return None
    if config.local_adapter != "auto":
        adapter = _load(config.folder / Path(config.local_adapter).expanduser())
        if adapter.card.process == process:
            return _fitting(adapter, base_sha256)
    shipped = (_load(path) for path in sorted(SHIPPED.glob(f"{process}-*.gguf")))
    return next((adapter for adapter in shipped if adapter.card.base_sha256 == base_sha256), None)


def _fitting(adapter: Adapter, base_sha256: str) -> Adapter:
    if adapter.card.base_sha256 != base_sha256:
        raise ConfigError(
            f"LOCAL_ADAPTER {adapter.path} was trained for another base model: set "
            f"'{adapter.card.process}: {adapter.card.base}' under LOCAL_MODEL in config.yaml, or LOCAL_ADAPTER to none."
        )
    return adapter


@cache
def _load(path: Path) -> Adapter:
    card = path.with_suffix(".json")
    try:
        return Adapter(
            path=path, sha256=sha256_of(path), card=AdapterCard.model_validate_json(card.read_text(encoding="utf-8"))
        )
    except OSError as error:
        raise ConfigError(
            f"LOCAL_ADAPTER: cannot read {error.filename} ({error.strerror}): set it to auto, none, or a .gguf file "
            "beside a .json file of the same name, as train_adapter.py writes them."
        ) from None
    except ValidationError as error:
        raise ConfigError(
            f"{card} does not describe an adapter ({invalid_because(error)}): train it again with "
            "`python train_adapter.py`, or set LOCAL_ADAPTER to auto."
        ) from None
