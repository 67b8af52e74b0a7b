"""What tokens cost in a batch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from pipeline.config import Config
from pipeline.providers import is_free
from pipeline.records import Outcome

SMALL = 1_000  # tokens, for the price of one
LONG = 100_000  # tokens; some models have a higher price for requests that are longer than some border above this
_O200K = re.compile(r"gpt-4o|gpt-4\.1|gpt-[5-9]|o[1-9]|chatgpt-4o")  # the models that use o200k_base


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token, batch discount included."""

    input: float
    output: float
    cached_input: float
    written_input: float  # tokens that are written to the cache


@dataclass(frozen=True)
class Pricing:
    """The prices of one run: PRICES if it names the model, else those of the package genai-prices."""

    config: Config

    def price(self, model: str, provider: str) -> Price | None:
        """None if the price is unknown. `provider`: its kind."""
        if is_free(provider):
            return Price(0.0, 0.0, 0.0, 0.0)
        own = self.config.price_for(model)
        if own is None:
            return _listed(model)
        cached = own.input if own.cached_input is None else own.cached_input
        return Price(own.input / 1e6, own.output / 1e6, cached / 1e6, own.input / 1e6)

    def cost(self, outcome: Outcome, provider: str, model: str) -> float | None:
        """Dollars of an answer, from the tokens that it reports, or None if the price is unknown.

        Completion tokens include reasoning tokens. Tokens that were read from the cache, or written to it, have their
        own prices.
        """
        price = self.price(model, provider)
        if price is None:
            return None
        cached = min(outcome.cached_tokens, outcome.prompt_tokens)
        written = min(outcome.written_tokens, outcome.prompt_tokens - cached)
        if outcome.prompt_tokens > LONG and not is_free(provider) and self.config.price_for(model) is None:
            return _dollars(model, outcome.prompt_tokens, cached, written, outcome.completion_tokens)
        full = (outcome.prompt_tokens - cached - written) * price.input + outcome.completion_tokens * price.output
        return round(full + cached * price.cached_input + written * price.written_input, 9)


def counts_are_exact(model: str) -> bool:
    """Whether `count_tokens` uses the encoding of this model: it is not known of a model that nobody lists."""
    return _O200K.match(model) is not None and _listed(model) is not None


@lru_cache(maxsize=64)
def _listed(model: str) -> Price | None:
    """The batch price that genai-prices lists for OpenAI's models."""
    try:
        parts = {
            "input": _dollars(model, SMALL),
            "output": _dollars(model, 0, output=SMALL),
            "cached_input": _dollars(model, SMALL, cached=SMALL),
            "written_input": _dollars(model, SMALL, written=SMALL),
        }
    except LookupError:
        return None
    return Price(**{name: round(dollars / SMALL, 15) for name, dollars in parts.items()})


def _dollars(model: str, input_: int, cached: int = 0, written: int = 0, output: int = 0) -> float:
    """What one request costs in a batch, by genai-prices. Raises LookupError for an unknown model."""
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=input_, cache_read_tokens=cached, cache_write_tokens=written, output_tokens=output)
    price = calc_price(usage, model, provider_id="openai", price_context={"processing": "batch"})
    return round(float(price.total_price), 12)
