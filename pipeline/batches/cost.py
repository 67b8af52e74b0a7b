"""Tokens and dollars. Prices are those of the package genai-prices; the Batch API takes half of them."""

from __future__ import annotations

from functools import lru_cache

from pipeline.records import Outcome

BATCH_DISCOUNT = 0.5  # OpenAI, "Batch API": 50 % of the synchronous price, for input and output
MESSAGE_OVERHEAD = 8  # tokens that the chat format adds to a system and a user message


def batch_price(model: str) -> tuple[float, float] | None:
    """(input, output) in dollars per token at batch price, or None where the model's price is not known."""
    return _price(model)


def cost_of(outcome: Outcome, provider: str, model: str) -> float | None:
    """Dollars that an answer cost, from the tokens that it reports; nothing for a model that runs here."""
    if provider == "local":
        return 0.0
    price = batch_price(model)
    if price is None:
        return None
    return round(outcome.prompt_tokens * price[0] + outcome.completion_tokens * price[1], 9)


def count_tokens(text: str) -> int:
    """Tokens of `text` in o200k_base, the encoding of gpt-4o and later; an estimate for other models."""
    return sum(len(_encoding().encode_ordinary(text[i : i + 500_000])) for i in range(0, len(text), 500_000))


@lru_cache(maxsize=1)
def _encoding():  # type: ignore[no-untyped-def]
    import bpe_openai

    return bpe_openai.get_encoding("o200k_base")


@lru_cache(maxsize=64)
def _price(model: str) -> tuple[float, float] | None:
    from genai_prices import Usage, calc_price

    try:
        price = calc_price(Usage(input_tokens=1_000_000, output_tokens=1_000_000), model, provider_id="openai")
    except LookupError:
        return None
    scale = BATCH_DISCOUNT / 1_000_000
    return float(price.input_price) * scale, float(price.output_price) * scale
