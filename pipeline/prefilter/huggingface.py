"""PREFILTER: huggingface:<model>. A sequence classifier from a folder or the Hugging Face hub, run by transformers.

A page is read in overlapping windows. The page has the probability of its best window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.files import file_stamp
from pipeline.prefilter.base import Classifier
from pipeline.records import Page

MAX_WINDOW = 512  # tokens, if the model allows as many
OVERLAP = 0.125  # of a window, with the one before it
BATCH = 16  # windows that are classified together
# The label that means "mentions a dataset": the first of these that the model has, else the second label.
POSITIVE_LABELS = ("dataset", "has_dataset", "mentions_dataset", "mention", "positive", "true", "yes")


class HuggingFaceClassifier(Classifier):
    """`model`: a folder (relative paths start at `base`), or the id of a model on the hub.

    The model is loaded when the first page is classified.
    """

    threshold = 0.5

    def __init__(self, model: str, base: Path) -> None:
        folder = base / model
        self._name, self._place = model, str(folder) if folder.is_dir() else model
        # A model in a folder may be trained again, so the state of its files belongs to its identity.
        files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
        self.identity = f"huggingface {model}" + "".join(f" {path.name} {file_stamp(path)}" for path in files)

    def probabilities(self, pages: Sequence[Page]) -> list[float]:
        """Raises ConfigError if the model cannot be loaded or used."""
        best = [0.0] * len(pages)
        if not pages:
            return best
        try:
            for place, value in self._model.windows([page.text for page in pages]):
                best[place] = max(best[place], value)
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._unusable(error) from None
        return best

    @cached_property
    def _model(self) -> _Model:
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging
        except ImportError:
            raise ConfigError(
                "PREFILTER: huggingface needs the packages torch and transformers: run `pip install -r "
                "requirements-prefilter.txt` first."
            ) from None
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._place)
            model, loading = AutoModelForSequenceClassification.from_pretrained(self._place, output_loading_info=True)
        except Exception as error:  # these libraries raise exceptions of many kinds for files that are missing or wrong
            raise self._unusable(error) from None
        # Without these checks transformers would go on with random weights or with a tokenizer that knows no word.
        flaws = {
            "it is not a trained sequence classifier": bool(loading["missing_keys"]),
            "it has no tokenizer": len(tokenizer) <= len(tokenizer.all_special_tokens),
            "its tokenizer is not one of the fast ones": not tokenizer.is_fast,
        }
        for flaw in (flaw for flaw, found in flaws.items() if found):
            raise ConfigError(f"PREFILTER names the model '{self._name}', but {flaw}: name another model.")
        return _Model(tokenizer, model.eval().to("cuda" if torch.cuda.is_available() else "cpu"))

    def _unusable(self, error: Exception) -> ConfigError:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        return ConfigError(
            f"PREFILTER names the model '{self._name}', which cannot be used ({reason}): give the folder or the hub id "
            "of a sequence classifier."
        )


@dataclass(frozen=True)
class _Model:
    """A loaded tokenizer and its model, from libraries without types."""

    tokenizer: Any
    model: Any

    def windows(self, texts: Sequence[str]) -> list[tuple[int, float]]:
        """(index of the text, probability) of each window of each text."""
        declared = getattr(self.model.config, "max_position_embeddings", None)
        length = min(MAX_WINDOW, self.tokenizer.model_max_length, declared or MAX_WINDOW)
        cut = self.tokenizer(
            list(texts), truncation=True, max_length=length, stride=int(length * OVERLAP),
            return_overflowing_tokens=True,
        )  # fmt: skip
        windows = list(zip(cut["overflow_to_sample_mapping"], cut["input_ids"], strict=True))
        windows.sort(key=lambda window: len(window[1]))  # windows of the same length need no padding
        at_once = BATCH if self.tokenizer.pad_token else 1
        found = []
        for start in range(0, len(windows), at_once):
            batch = windows[start : start + at_once]
            values = self._probabilities([ids for _, ids in batch])
            found += [(place, value) for (place, _), value in zip(batch, values, strict=True)]
        return found

    def _probabilities(self, windows: Sequence[list[int]]) -> list[float]:
        import torch

        inputs = {"input_ids": list(windows), "attention_mask": [[1] * len(ids) for ids in windows]}
        if len(windows) > 1:
            inputs = self.tokenizer.pad(inputs)
        with torch.inference_mode():
            logits = self.model(
                **{name: torch.tensor(ids).to(self.model.device) for name, ids in inputs.items()}
            ).logits
        one_by_one = logits.shape[-1] == 1 or self.model.config.problem_type == "multi_label_classification"
        probabilities = logits.float().sigmoid() if one_by_one else logits.float().softmax(-1)
        return [float(value) for value in probabilities[:, self._positive]]

    @cached_property
    def _positive(self) -> int:
        """The index of the label that means "mentions a dataset"."""
        labels = {
            str(name).lower().replace(" ", "_"): int(number) for number, name in self.model.config.id2label.items()
        }
        named = (labels[name] for name in POSITIVE_LABELS if name in labels)
        return next(named, min(1, len(labels) - 1))
