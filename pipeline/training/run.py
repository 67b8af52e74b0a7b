"""One training: rows in, adapter out, with the epoch that is best on rows kept apart."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.files import sha256_of, write_atomic
from pipeline.providers.adapters import AdapterCard
from pipeline.providers.base import Prompt
from pipeline.providers.local import AnswerLimits, LocalRequests
from pipeline.providers.weights import fetch_weights, find_weights
from pipeline.stages import get_stage
from pipeline.text.tokens import count_tokens
from pipeline.training.answering import answers
from pipeline.training.gguf_adapter import write_adapter
from pipeline.training.gguf_base import load_base
from pipeline.training.recipe import Recipe
from pipeline.training.rows import RowTokenizer, TokenRow, read_rows
from pipeline.training.scoring import Messages, Score, score_answers
from pipeline.training.tasks import Task
from pipeline.training.trainer import CHECKPOINT, Trainer
from pipeline.words import counted

BIASES = (1.0, 2.0)  # that are tried on the deciding token, besides none
SHORTEST_PART = 50  # tokens; pages are never cut into smaller parts
MAX_ROW_TOKENS = 8192  # the context of the embedded model


@dataclass(frozen=True)
class Best:
    """The epoch that was kept. `score`, `test`: on the rows of valid.jsonl and test.jsonl; 0 rows if there are none."""

    epoch: int
    score: Score
    test: Score

    @property
    def finds_nothing(self) -> bool:
        return (self.test if self.test.rows else self.score).always_nothing


class Training:
    """Trains for `task` on the rows in the folder `data`, and writes the adapter and its card to the folder `output`.

    `announce` gets a line about each epoch.
    Raises InputError if there are no rows to train on, ConfigError, ProviderError.
    """

    def __init__(
        self, config: Config, task: Task, recipe: Recipe, data: Path, output: Path, announce: Callable[[str], object]
    ) -> None:
        self._task, self._announce = task, announce
        self._config = config.model_copy(update={"local_model": recipe.base})
        self._recipe, self._output = recipe, output
        rows = {name: list(read_rows(data / f"{name}.jsonl")) for name in ("train", "valid", "test")}
        self._train = rows["train"]
        self._held_out = {name: [messages for messages, _ in rows[name]] for name in ("valid", "test")}
        if not any(self._is_positive(messages) for messages, _ in self._train):
            raise InputError(
                f"{data / 'train.jsonl'} has no row with {task.what}, so there is nothing to learn: label more pages, "
                f"or check that these are rows of `python generate_finetune_data.py --process {task.process}`."
            )
        self._data = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        everything = [messages for part in rows.values() for messages, _ in part]
        self._limits = _limits(everything)
        self._page_tokens = max(SHORTEST_PART, *(count_tokens(_page(messages)) for messages in everything))
        self._decision_token: int | None = None
        output.mkdir(parents=True, exist_ok=True)

    @property
    def adapter(self) -> Path:
        return self._output / "adapter.gguf"

    @property
    def description(self) -> str:
        """What is going to be trained on."""
        positive = sum(self._is_positive(messages) for messages, _ in self._train)
        rest = len(self._train) - positive
        held_out = {name: counted(len(rows), "row") for name, rows in self._held_out.items()}
        return (
            f"Training on {counted(positive, 'row')} with {self._task.what} and {rest:,} without, "
            f"{held_out['valid']} in valid, {held_out['test']} in test."
        )

    def run(self, start_from: Path | None = None) -> Best:
        """Train all epochs. `start_from`: folder of another training, to go on from its adapter."""
        weights = fetch_weights(self._config, self._task.process)
        model, tokenizer = load_base(weights)
        rows = self._token_rows(tokenizer)
        trainer = Trainer(model, self._recipe, self._output, start_from / CHECKPOINT if start_from else None)
        start = sha256_of(start_from / CHECKPOINT) if start_from else ""
        inputs = f"{self._data} {find_weights(self._config, self._task.process).sha256} {start}"
        scores = trainer.train(rows, inputs, lambda epoch: self._after_epoch(epoch, trainer, weights))
        report = {"recipe": asdict(self._recipe), "epochs": scores}
        write_atomic(self._output / "training.json", json.dumps(report, indent=2).encode() + b"\n")
        # Without rows that were kept apart, the last epoch is the best guess.
        best = max(scores, key=lambda one: (one["f1"], one["epoch"]))
        shutil.copy(self._epoch_file(best["epoch"]), self.adapter)
        biased = {0.0: Score(**best["score"])}
        biased |= {
            bias: self._score(weights, self.adapter, "valid", bias) for bias in BIASES if self._held_out["valid"]
        }
        bias = max(biased, key=lambda one: biased[one].f1)
        write_atomic(self.adapter.with_suffix(".json"), self._card(bias).model_dump_json(indent=2).encode() + b"\n")
        return Best(best["epoch"], biased[bias], self._score(weights, self.adapter, "test", bias))

    def _token_rows(self, tokenizer: Any) -> list[TokenRow]:
        tokenized = RowTokenizer(tokenizer, self._task, self._recipe.decision_weight)
        self._decision_token = tokenized.decision_token
        rows = [tokenized.row(messages, unlabelled) for messages, unlabelled in self._train]
        short = [row for row in rows if len(row.tokens) <= MAX_ROW_TOKENS]
        if len(short) < len(rows):
            self._announce(
                f"Left out: {counted(len(rows) - len(short), 'row')} with more than {MAX_ROW_TOKENS:,} tokens"
            )
        return short

    def _after_epoch(self, epoch: int, trainer: Trainer, weights: Path) -> dict[str, Any]:
        write_adapter(trainer.model, self._epoch_file(epoch))
        score = self._score(weights, self._epoch_file(epoch), "valid", 0.0)
        self._announce(f"\nEpoch {epoch}: {score}")
        return {"epoch": epoch, "f1": score.f1, "score": asdict(score)}

    def _score(self, weights: Path, adapter: Path, split: str, bias: float) -> Score:
        """Let the embedded model answer, as it will be used."""
        rows = self._held_out[split][: self._recipe.valid_rows if split == "valid" else None]
        if not rows:
            return Score()
        stage = get_stage(self._task.process)
        params = {"temperature": 0, "max_tokens": 1024, **self._card(bias).params}
        prompt = Prompt(stage.process, "", stage.schema_name, stage.schema)
        form = LocalRequests(prompt, "", "", params, self._limits)
        expected = [self._task.expects(messages[-1]["content"]) for messages in rows]
        bodies = [
            form.body("", number) | {"messages": list(messages[:-1])}
            for number, messages in zip(expected, rows, strict=True)
        ]
        return score_answers(self._task, rows, answers(weights, adapter, bodies))

    def _card(self, bias: float) -> AdapterCard:
        return AdapterCard(
            process=self._task.process,
            base=self._recipe.base,
            prompt=self._task.prompt,
            base_sha256=find_weights(self._config, self._task.process).sha256,
            page_tokens=self._page_tokens,
            max_items=self._limits.max_items,
            max_text=self._limits.max_text,
            decision_token=self._decision_token,
            decision_bias=bias,
        )

    def _is_positive(self, messages: Messages) -> bool:
        answer = messages[-1]["content"]
        return bool(self._task.found(answer, self._task.expects(answer)))

    def _epoch_file(self, epoch: int) -> Path:
        return self._output / f"epoch-{epoch}.gguf"


def _page(messages: Messages) -> str:
    """The page that a row asks about, without the tags around it."""
    return messages[1]["content"].partition("<page>\n")[2].removesuffix("\n</page>")


def _limits(rows: Sequence[Messages]) -> AnswerLimits:
    """Limits that every taught answer fits, and not less than those without an adapter."""
    usual = AnswerLimits()
    lists, texts = [usual.max_items], [usual.max_text]
    open_values = [json.loads(messages[-1]["content"]) for messages in rows]
    while open_values:
        value = open_values.pop()
        if isinstance(value, dict):
            open_values += value.values()
        elif isinstance(value, list):
            lists.append(len(value))
            open_values += value
        elif isinstance(value, str):
            texts.append(len(value))
    return AnswerLimits(max(lists), max(texts))
