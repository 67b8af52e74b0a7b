"""Training data for a fine-tuned model, made from the final labels."""

from pipeline.config import SPLITS
from pipeline.finetune.generate import generate, split_of

__all__ = ["SPLITS", "generate", "split_of"]
