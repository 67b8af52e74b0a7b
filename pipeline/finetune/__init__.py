"""Final labels -> training data for a model of one's own."""

from pipeline.config import SPLITS
from pipeline.finetune.generate import generate, split_of

__all__ = ["SPLITS", "generate", "split_of"]
