"""Train a LoRA adapter, on a CPU or a GPU, with checkpoints from which an interrupted training goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tqdm import tqdm

from pipeline.training.gguf_adapter import lora_tensors
from pipeline.training.recipe import Recipe
from pipeline.training.rows import TokenRow, batches

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 120.0


class Trainer:
    """Trains the adapter of `model` on `rows`. `folder`: for the checkpoint."""

    def __init__(self, model: Any, recipe: Recipe, folder: Path, start_from: Path | None = None) -> None:
        torch.manual_seed(recipe.seed)
        lora = LoraConfig(
            r=recipe.rank,
            lora_alpha=2 * recipe.rank,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        self.model = get_peft_model(model, lora)
        self._recipe, self._folder = recipe, folder
        self._parameters = [value for value in self.model.parameters() if value.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=recipe.learning_rate, weight_decay=0.0)
        self._history: list[Any] = []
        self._device = next(self.model.parameters()).device.type
        if start_from:
            self._load_adapter(torch.load(start_from, weights_only=True, map_location="cpu")["adapter"])

    def train(self, rows: Sequence[TokenRow], inputs: str, after_epoch: Callable[[int], Any]) -> list[Any]:
        """Train for all epochs. Returns what `after_epoch` returned for each of them; it gets their numbers, from 1.

        `inputs`: hash of everything that the training depends on. A checkpoint with another one is not continued.
        """
        plan: list[list[TokenRow]] = []
        epoch_ends: dict[int, int] = {}  # number of steps, number of the epoch
        for epoch in range(self._recipe.epochs):
            plan += batches(rows, self._recipe.batch_tokens, self._recipe.seed + epoch)
            epoch_ends[len(plan)] = epoch + 1
        done = self._resume(inputs)
        self.model.train()
        saved, tokens, started = time.monotonic(), 0, time.monotonic()
        with tqdm(total=len(plan), initial=done, desc="Training", unit=" steps", disable=None) as bar:
            for step in range(done, len(plan)):
                loss = self._step(plan[step], step, len(plan))
                tokens += sum(len(row.tokens) for row in plan[step])
                bar.set_postfix_str(
                    f"loss {loss:.3f}, {tokens / (time.monotonic() - started):.0f} tokens/s", refresh=False
                )
                bar.update()
                if step + 1 in epoch_ends:
                    self._history.append(after_epoch(epoch_ends[step + 1]))
                    self.model.train()
                if step + 1 in epoch_ends or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save(step + 1, inputs)
                    saved = time.monotonic()
        return self._history

    def _step(self, batch: Sequence[TokenRow], step: int, total: int) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * _schedule(step, total, self._recipe.warmup)
        with torch.autocast(self._device, dtype=torch.bfloat16):
            loss = batch_loss(self.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def _save(self, step: int, inputs: str) -> None:
        state = {"step": step, "recipe": asdict(self._recipe), "inputs": inputs, "history": self._history}
        state |= {"adapter": lora_tensors(self.model), "optimizer": self._optimizer.state_dict()}
        partial = self._folder / (CHECKPOINT + ".partial")
        torch.save(state, partial)
        partial.replace(self._folder / CHECKPOINT)

    def _resume(self, inputs: str) -> int:
        """The step to go on with: after the last checkpoint, if there is one of the same recipe and inputs."""
        path = self._folder / CHECKPOINT
        if not path.exists():
            return 0
        state = torch.load(path, weights_only=True, map_location="cpu")
        if (state["recipe"], state.get("inputs")) != (asdict(self._recipe), inputs):
            return 0
        self._history = state["history"]
        self._load_adapter(state["adapter"])
        self._optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def _load_adapter(self, tensors: dict[str, torch.Tensor]) -> None:
        named = {name.replace(".lora_A", ".lora_A.default.weight").replace(".lora_B", ".lora_B.default.weight"): value
                 for name, value in tensors.items()}  # fmt: skip
        self.model.load_state_dict(named, strict=False)


def batch_loss(model: Any, batch: Sequence[TokenRow]) -> torch.Tensor:
    """Mean cross entropy of the answers' tokens, by their weights. Only these tokens go through the output layer."""
    longest = max(len(row.tokens) for row in batch)
    device = next(model.parameters()).device
    tokens = torch.zeros((len(batch), longest), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    counted: list[tuple[int, int, int, float]] = []  # row, place before the token, token, weight
    for number, row in enumerate(batch):
        tokens[number, : len(row.tokens)] = torch.tensor(row.tokens)
        mask[number, : len(row.tokens)] = 1
        for place, weight in enumerate(row.weights, start=row.answer_start):
            if weight:
                counted.append((number, place - 1, row.tokens[place], weight))
    rows, places, targets, weights = zip(*counted, strict=True)
    base = model.base_model.model
    hidden = base.model(input_ids=tokens.to(device), attention_mask=mask.to(device)).last_hidden_state
    logits = base.lm_head(hidden[list(rows), list(places)]).float()
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(targets, device=device), reduction="none")
    share = torch.tensor(weights, device=device)
    return (losses * share).sum() / share.sum()


def _schedule(step: int, total: int, warmup: float) -> float:
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
