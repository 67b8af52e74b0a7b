"""Tokens and dollars. Prices are those of the package genai-prices; the Batch API takes half of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pipeline.config import Config
from pipeline.records import Outcome

BATCH_DISCOUNT = 0.5  # OpenAI, "Batch API": 50 % of the synchronous price, for input and output
MESSAGE_OVERHEAD = 8  # tokens that the chat format adds to a system and a user message
_O200K = re.compile(r"gpt-4o|gpt-4\.1|gpt-[5-9]|o[1-9]|chatgpt-4o")  # the models that use o200k_base


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per token as a batch is billed."""

    input: float
    output: float
    cached_input: float


@dataclass(frozen=True)
class Pricing:
    """The prices of one run: PRICES where it names the model, else genai-prices."""

    config: Config

    def price(self, model: str, provider: str = "openai") -> Price | None:
        """None where it is not known. A model that runs here costs nothing."""
        if provider == "local":
            return Price(0.0, 0.0, 0.0)
        own = self.config.price_for(model)
        if own is None:
            return _listed(model)
        cached = own.input if own.cached_input is None else own.cached_input
        return Price(own.input / 1e6, own.output / 1e6, cached / 1e6)

    def cost(self, outcome: Outcome, provider: str, model: str) -> float | None:
        """Dollars that an answer cost, from the tokens that it reports, or None where the price is not known.

        Reasoning tokens are among the completion tokens. Cached ones are billed in full unless PRICES says otherwise:
        not every batch gets that discount, and a bill should not be larger than what was shown.
        """
        price = self.price(model, provider)
        if price is None:
            return None
        cached = min(outcome.cached_tokens, outcome.prompt_tokens)
        full = (outcome.prompt_tokens - cached) * price.input + outcome.completion_tokens * price.output
        return round(full + cached * price.cached_input, 9)


def count_tokens(text: str) -> int:
    """Tokens of `text` in o200k_base, the encoding of gpt-4o and later; an estimate for other models."""
    return sum(len(_encoding().encode_ordinary(text[i : i + 500_000])) for i in range(0, len(text), 500_000))


def counts_are_exact(model: str) -> bool:
    """Whether `count_tokens` uses the model's own encoding."""
    return _O200K.match(model) is not None


@lru_cache(maxsize=1)
def _encoding():  # type: ignore[no-untyped-def]
    import bpe_openai

    return bpe_openai.get_encoding("o200k_base")


@lru_cache(maxsize=64)
def _listed(model: str) -> Price | None:
    from genai_prices import Usage, calc_price

    try:
        price = calc_price(Usage(input_tokens=1_000_000, output_tokens=1_000_000), model, provider_id="openai")
    except LookupError:
        return None
    scale = BATCH_DISCOUNT / 1_000_000
    full = float(price.input_price) * scale
    return Price(full, float(price.output_price) * scale, full)
