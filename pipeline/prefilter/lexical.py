"""PREFILTER: lexical. A linear classifier over the counts of features.py, with the weights of lexical.json.

README.md in this folder describes how it was trained and how well it works.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.prefilter.base import Classifier
from pipeline.prefilter.features import FEATURES, features
from pipeline.records import Page

WEIGHTS_FILE = Path(__file__).parent / "lexical.json"
FEATURES_VERSION = 1  # raise it when features.py counts something else
LANGUAGE = "en"  # of the pages that it was trained on; other pages are never skipped
MAX_LOGIT = 50.0  # avoids an overflow of exp


class LexicalClassifier(Classifier):
    """Logistic regression. Reads its weights when it is created."""

    def __init__(self, file: Path = WEIGHTS_FILE) -> None:
        content = file.read_bytes()
        model = json.loads(content)
        self._bias = float(model["bias"])
        self._weights = [float(model["weights"][name]) for name in FEATURES]
        self.threshold = float(model["threshold"])
        self.identity = f"lexical {FEATURES_VERSION} {hashlib.sha256(content).hexdigest()[:12]}"

    def probabilities(self, pages: Sequence[Page]) -> list[float]:
        values = features([page.text for page in pages])
        return [
            self.probability(counts) if page.language == LANGUAGE else 1.0
            for page, counts in zip(pages, values, strict=True)
        ]

    def probability(self, counts: Sequence[float]) -> float:
        """The probability for one page. `counts`: its features, in the order of FEATURES."""
        logit = self._bias + sum(weight * count for weight, count in zip(self._weights, counts, strict=True))
        return 1 / (1 + math.exp(-max(-MAX_LOGIT, min(MAX_LOGIT, logit))))
