"""One training: rows in, adapter out, with the epoch that is best on rows kept apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.files import write_atomic
from pipeline.processes import FIRST
from pipeline.providers.adapters import AdapterCard
from pipeline.providers.base import Prompt
from pipeline.providers.embedded import EmbeddedModel
from pipeline.providers.local import AnswerLimits, LocalRequests
from pipeline.providers.weights import fetch_weights, find_weights
from pipeline.stages import get_stage
from pipeline.text.tokens import count_tokens
from pipeline.training.gguf_adapter import write_adapter
from pipeline.training.gguf_base import load_base
from pipeline.training.recipe import Recipe
from pipeline.training.rows import RowTokenizer, TokenRow, read_rows
from pipeline.training.scoring import Messages, NameScore, score_rows
from pipeline.training.trainer import CHECKPOINT, Trainer
from pipeline.words import counted

MAX_ROW_TOKENS = 8192  # the context of the embedded model


@dataclass(frozen=True)
class Best:
    """The epoch that was kept. `score`: on rows of valid.jsonl. `test`: on those of test.jsonl, if there are any."""

    epoch: int
    score: NameScore
    test: NameScore | None = None

    @property
    def says_nothing(self) -> bool:
        return (self.test or self.score).always_nothing


class Training:
    """Trains on the rows in the folder `data`, and writes the adapter and its card to the folder `output`.

    Raises InputError if there are no rows to train on, ConfigError, ProviderError.
    """

    def __init__(self, config: Config, recipe: Recipe, data: Path, output: Path) -> None:
        self._config = config.model_copy(update={"local_model": recipe.base})
        self._recipe, self._output = recipe, output
        rows = {name: list(read_rows(data / f"{name}.jsonl")) for name in ("train", "valid", "test")}
        self._train = rows["train"]
        self._held_out = {name: [messages for messages, _ in rows[name]] for name in ("valid", "test")}
        if not any(_has_mention(messages) for messages, _ in self._train):
            raise InputError(f"{data / 'train.jsonl'} has no row with a mention, so there is nothing to learn.")
        everything = [messages for part in rows.values() for messages, _ in part]
        self._limits = _limits(everything)
        self._page_tokens = max(count_tokens(messages[1]["content"]) for messages in everything)
        output.mkdir(parents=True, exist_ok=True)
        self._scores: list[dict[str, Any]] = []

    @property
    def adapter(self) -> Path:
        return self._output / "adapter.gguf"

    @property
    def description(self) -> str:
        """What is going to be trained on."""
        positive = sum(_has_mention(messages) for messages, _ in self._train)
        rest = len(self._train) - positive
        held_out = {name: counted(len(rows), "row") for name, rows in self._held_out.items()}
        return (
            f"Training on {counted(positive, 'row')} with mentions and {rest:,} without, "
            f"{held_out['valid']} in valid, {held_out['test']} in test."
        )

    def run(self, start_from: Path | None = None) -> Best:
        """Train all epochs. `start_from`: folder of another training, to go on from its adapter."""
        weights = fetch_weights(self._config, FIRST)
        model, tokenizer = load_base(weights)
        rows = self._token_rows(tokenizer)
        trainer = Trainer(model, self._recipe, self._output, start_from / CHECKPOINT if start_from else None)
        trainer.train(rows, lambda epoch: self._after_epoch(epoch, trainer, weights))
        best = max(self._load_scores(), key=lambda one: (one["f1"], one["epoch"]))
        shutil.copy(self._epoch_file(best["epoch"]), self.adapter)
        write_atomic(self.adapter.with_suffix(".json"), self._card().model_dump_json(indent=2).encode() + b"\n")
        test = self._score(weights, self.adapter, self._held_out["test"]) if self._held_out["test"] else None
        return Best(best["epoch"], NameScore(**best["score"]), test)

    def _token_rows(self, tokenizer: Any) -> list[TokenRow]:
        tokenized = RowTokenizer(tokenizer, self._recipe.decision_weight)
        rows = [tokenized.row(messages, unlabelled) for messages, unlabelled in self._train]
        short = [row for row in rows if len(row.tokens) <= MAX_ROW_TOKENS]
        if len(short) < len(rows):
            print(f"Left out: {counted(len(rows) - len(short), 'row')} with more than {MAX_ROW_TOKENS:,} tokens")
        return short

    def _after_epoch(self, epoch: int, trainer: Trainer, weights: Path) -> None:
        write_adapter(trainer.model, self._epoch_file(epoch))
        # Without rows that were kept apart, the last epoch is the best guess.
        score = self._score(weights, self._epoch_file(epoch), self._held_out["valid"][: self._recipe.valid_rows])
        scores = [one for one in self._load_scores() if one["epoch"] != epoch]
        scores.append({"epoch": epoch, "f1": score.f1, "score": asdict(score)})
        report = {"recipe": asdict(self._recipe), "epochs": scores}
        write_atomic(self._output / "training.json", json.dumps(report, indent=2).encode() + b"\n")
        print(f"\nEpoch {epoch}: {score}", flush=True)

    def _score(self, weights: Path, adapter: Path, rows: Sequence[Messages]) -> NameScore:
        """Let the embedded model answer, as it will be used."""
        model = EmbeddedModel(weights, adapter)
        stage = get_stage(FIRST)
        prompt = Prompt(FIRST, "", stage.schema_name, stage.schema)
        form = LocalRequests(prompt, "", "", {"temperature": 0, "max_tokens": 1024}, self._limits)

        def answer(messages: Messages) -> str:
            body = form.body("", 0) | {"messages": list(messages)}
            _, reply = model.complete(body)
            choices = reply.get("choices") or [{}]
            return str(choices[0].get("message", {}).get("content") or "")

        return score_rows(rows, answer)

    def _card(self) -> AdapterCard:
        return AdapterCard(
            process=FIRST,
            base=self._recipe.base,
            base_sha256=find_weights(self._config, FIRST).sha256,
            page_tokens=self._page_tokens,
            max_items=self._limits.max_items,
            max_text=self._limits.max_text,
        )

    def _epoch_file(self, epoch: int) -> Path:
        return self._output / f"epoch-{epoch}.gguf"

    def _load_scores(self) -> list[dict[str, Any]]:
        path = self._output / "training.json"
        found: list[dict[str, Any]] = json.loads(path.read_text())["epochs"] if path.exists() else []
        return found


def _has_mention(messages: Messages) -> bool:
    return bool(json.loads(messages[-1]["content"])["data_mentions"])


def _limits(rows: Sequence[Messages]) -> AnswerLimits:
    """Limits that every taught answer fits, and not less than those without an adapter."""
    usual, lists, texts = AnswerLimits(), [0], [0]
    for messages in rows:
        for passage in (answer := json.loads(messages[-1]["content"]))["data_mentions"]:
            lists += [len(answer["data_mentions"]), len(passage["datasets"])]
            texts += [len(passage["mentioned_in"]), *(len(one["raw_name"]) for one in passage["datasets"])]
    return AnswerLimits(max(usual.max_items, *lists), max(usual.max_text, *texts))
