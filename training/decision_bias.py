"""How a bias on the deciding token changes which windows of held-out documents get a mention.

    python training/decision_bias.py build --fold 0

For each window of the documents of a fold: the logit of "there is a mention" minus that of "there is none", by the
adapter that was trained without them. Prints recall, precision and F1 of windows for several biases.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from corpus import PROMPT, Window, fold_documents, read_pages, windows

from pipeline.config import load_config
from pipeline.processes import FIRST
from pipeline.providers.weights import fetch_weights
from pipeline.records import Page
from pipeline.stages.blocks import page_block
from pipeline.text.chunks import whole_page
from pipeline.training.gguf_base import load_base
from pipeline.training.recipe import Recipe
from pipeline.training.rows import RowTokenizer
from pipeline.training.tasks import TASKS
from pipeline.training.trainer import CHECKPOINT, Trainer

BIASES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Recall and precision of windows by bias on the deciding token.")
    parser.add_argument("build", type=Path, help="folder of crossvalidate.py")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args(argv)
    gold = read_pages("rcc_pages.jsonl", "rcc")
    held_out = set(fold_documents(gold, options.folds)[options.fold])
    corpus = windows([page for page in gold if page.document in held_out])
    model, tokenizer = load_base(fetch_weights(load_config(), FIRST))
    checkpoint = options.build / f"fold-{options.fold}" / CHECKPOINT
    trainer = Trainer(model, Recipe(""), options.build, start_from=checkpoint)
    margins = Margins(trainer.model, tokenizer)
    positive = [margins.of(window) for window in corpus.positive]
    negative = [margins.of(window) for window in corpus.negative]
    for bias in BIASES:
        right = sum(margin + bias > 0 for margin in positive)
        wrong = sum(margin + bias > 0 for margin in negative)
        recall, precision = right / len(positive), right / max(1, right + wrong)
        f1 = 2 * right / (len(positive) + right + wrong)
        print(f"bias {bias:4.1f}: recall {recall:.2f}, precision {precision:.2f}, F1 {f1:.2f}")
    return 0


class Margins:
    """How much a model prefers "there is a mention" to "there is none", for a window."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model.eval().base_model.model, tokenizer
        self._system = PROMPT.read_text(encoding="utf-8").strip()
        self._rows = RowTokenizer(tokenizer, TASKS[FIRST], 1.0)

    def of(self, window: Window) -> float:
        """In logits. Positive: the answer names something."""
        question = page_block(whole_page(Page(page=1, text=window.text)))
        messages = [{"role": "system", "content": self._system}, {"role": "user", "content": question}]
        tokens = self._rows.question(messages) + self._rows.before_decision
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self._model.model(input_ids=torch.tensor([tokens])).last_hidden_state[:, -1]
            logits = self._model.lm_head(hidden).float()[0]
        return float(logits[self._rows.decision_token] - logits[self._rows.empty_token])


if __name__ == "__main__":
    raise SystemExit(main())
