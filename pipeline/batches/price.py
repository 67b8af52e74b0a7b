"""What tokens cost in a batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pipeline.config import Config
from pipeline.providers import is_free
from pipeline.records import Outcome

SMALL = 1_000  # tokens; a large request would be priced at the higher rate for long contexts
_O200K = re.compile(r"gpt-4o|gpt-4\.1|gpt-[5-9]|o[1-9]|chatgpt-4o")  # the models that use o200k_base


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token, batch discount included."""

    input: float
    output: float
    cached_input: float


@dataclass(frozen=True)
class Pricing:
    """The prices of one run: PRICES if it names the model, else those of the package genai-prices."""

    config: Config

    def price(self, model: str, provider: str) -> Price | None:
        """None if the price is unknown. `provider`: its kind."""
        if is_free(provider):
            return Price(0.0, 0.0, 0.0)
        own = self.config.price_for(model)
        if own is None:
            return _listed(model)
        cached = own.input if own.cached_input is None else own.cached_input
        return Price(own.input / 1e6, own.output / 1e6, cached / 1e6)

    def cost(self, outcome: Outcome, provider: str, model: str) -> float | None:
        """Dollars of an answer, from the tokens that it reports, or None if the price is unknown.

        Completion tokens include reasoning tokens. Cached tokens are counted in full unless PRICES says otherwise:
        not every batch gets that discount, and the bill should not be higher than the estimate.
        """
        price = self.price(model, provider)
        if price is None:
            return None
        cached = min(outcome.cached_tokens, outcome.prompt_tokens)
        full = (outcome.prompt_tokens - cached) * price.input + outcome.completion_tokens * price.output
        return round(full + cached * price.cached_input, 9)


def counts_are_exact(model: str) -> bool:
    """Whether `count_tokens` uses the encoding of this model."""
    return _O200K.match(model) is not None


@lru_cache(maxsize=64)
def _listed(model: str) -> Price | None:
    """The batch price that genai-prices lists for OpenAI's models."""
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=SMALL, output_tokens=SMALL)
    try:
        price = calc_price(usage, model, provider_id="openai", price_context={"processing": "batch"})
    except LookupError:
        return None
    full = round(float(price.input_price) / SMALL, 15)
    return Price(full, round(float(price.output_price) / SMALL, 15), full)
