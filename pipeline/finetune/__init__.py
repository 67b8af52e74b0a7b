"""Training data for a fine-tuned model, made from final and human labels."""

from __future__ import annotations

from typing import Literal, get_args

# The formats of a training row. Here, because `generate_finetune_data.py --help` must not wait for the other modules.
Format = Literal["openai", "sharegpt", "alpaca"]
FORMATS: tuple[Format, ...] = get_args(Format)
