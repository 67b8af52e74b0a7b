"""The base model, from the GGUF file that the embedded model runs on.

Training on the very weights that answer later needs no other download, and the adapter learns around their rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def load_base(weights: Path) -> tuple[Any, Any]:
    """(model in bfloat16, on a GPU if there is one, tokenizer) of a GGUF file."""
    place: dict[str, Any] = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.bfloat16, attn_implementation="sdpa")
    model.config.use_cache = False
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
