"""Training rows as tokens: what the model reads, what it should answer, and how much each token of it counts."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.training.tasks import Task


@dataclass(frozen=True)
class TokenRow:
    """`tokens`: the question and the answer. `weights`: of each token of the answer, in the loss; 0 leaves it out."""

    tokens: list[int]
    weights: list[float]

    @property
    def answer_start(self) -> int:
        return len(self.tokens) - len(self.weights)


class RowTokenizer:
    """`tokenizer`: of the base model. `decision_weight`: of the tokens that decide between "nothing" and "something".

    They are few among hundreds. With a weight of 1 a model learns to answer "nothing" to every page.
    `before_decision`: the tokens before it. `decision_token`, `empty_token`: what it is for something, and for nothing.
    """

    def __init__(self, tokenizer: Any, task: Task, decision_weight: float) -> None:
        self._tokenizer, self._task, self._decision_weight = tokenizer, task, decision_weight
        empty, full = (self._ids(text) for text in (task.no, task.yes))
        place = next(place for place, pair in enumerate(zip(empty, full, strict=False)) if len(set(pair)) > 1)
        self.before_decision, self.decision_token, self.empty_token = full[:place], full[place], empty[place]

    def row(self, messages: Sequence[dict[str, str]], unlabelled: Sequence[str]) -> TokenRow:
        """The row of a conversation whose last message is the answer. Values of `unlabelled` fields do not count."""
        question = self.question(messages[:-1])
        answer = messages[-1]["content"]
        encoded = self._tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
        fields = set(unlabelled) - self._task.always_taught
        left_out = [match.span(1) for name in fields for match in _value(name).finditer(answer)]
        deciding = [match.span(1) for match in self._task.deciding.finditer(answer)]
        weights = [
            self._decision_weight if _overlaps(span, deciding) else 0.0 if _overlaps(span, left_out) else 1.0
            for span in encoded["offset_mapping"]
        ]
        end_of_turn = self._tokenizer.eos_token_id
        return TokenRow([*question, *encoded["input_ids"], end_of_turn], [*weights, 1.0])

    def question(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """The tokens of a conversation, up to where the model's answer begins."""
        tokens: list[int] = self._tokenizer.apply_chat_template(
            list(messages), tokenize=True, add_generation_prompt=True, return_dict=False
        )
        return tokens

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _overlaps(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(low < span[1] and span[0] < high for low, high in others)


def _value(field: str) -> re.Pattern[str]:
    """Matches a field of the answer; group 1 is its value."""
    return re.compile(rf'"{field}":(null|"(?:[^"\\]|\\.)*")')


def read_rows(path: Path) -> Iterator[tuple[list[dict[str, str]], list[str]]]:
    """(messages, fields that nobody has labelled) of each row of a file in the format `openai`.

    The fields are in `<name>.sources.jsonl`, if that file exists. Raises InputError.
    """
    sources = path.with_suffix(".sources.jsonl")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        provenance = sources.read_text(encoding="utf-8").splitlines() if sources.exists() else ["{}"] * len(lines)
        for line, source in zip(lines, provenance, strict=True):
            yield json.loads(line)["messages"], json.loads(source).get("unlabelled", [])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be used as training data ({error}): write it with `python generate_finetune_data.py`."
        ) from None


def batches(rows: Sequence[TokenRow], max_tokens: int, seed: int) -> list[list[TokenRow]]:
    """The rows in batches of similar length, in random order. A batch has at most `max_tokens` tokens with padding."""
    rng = random.Random(seed)
    ordered = sorted(rows, key=lambda row: (len(row.tokens) // 16, rng.random()))
    made: list[list[TokenRow]] = [[]]
    for row in ordered:
        if made[-1] and len(row.tokens) * (len(made[-1]) + 1) > max_tokens:
            made.append([])
        made[-1].append(row)
    rng.shuffle(made)
    return [batch for batch in made if batch]
