"""The language of a page, for splitting it into sentences and for telling what a folder holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from pipeline.records import Page

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE = 400  # characters from the middle of a page: its head and foot are running titles
ENOUGH = 130  # letters; tables of figures have fewer, and are guessed to be anything
SURE = 0.5


def guess_language(text: str) -> str | None:
    """ISO 639-1 code, or None where the page tells too little."""
    start = max(0, (len(text) - SAMPLE) // 2)
    sample = text[start : start + SAMPLE]
    if sum(map(str.isalpha, sample)) < ENOUGH and not _is_dense(sample):
        return None
    language, probability = _identifier().classify(sample)
    return str(language) if probability >= SURE else None


def fill_in(pages: Sequence[Page]) -> str | None:
    """Pages that tell too little are in the language of most others; returns that language."""
    counts = Counter(page.language for page in pages if page.language)
    usual = counts.most_common(1)[0][0] if counts else None
    for page in pages:
        page.language = page.language or usual
    return usual


def _is_dense(sample: str) -> bool:
    """Whether it is in a script in which few characters say much (Chinese, Japanese, Korean)."""
    return sum(char >= "\u2e80" for char in sample) > ENOUGH // 4


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
