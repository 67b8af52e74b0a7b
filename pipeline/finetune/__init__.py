"""Final labels -> training data for a model of one's own."""

from pipeline.finetune.generate import SPLITS, generate, split_of

__all__ = ["SPLITS", "generate", "split_of"]
