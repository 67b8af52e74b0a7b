"""Guess the language of a page. It decides how the page is split into sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from pipeline.records import Page

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE = 400  # characters, from the middle of a page: its head and foot are running titles
MIN_LETTERS = 130  # of the sample; tables of figures have fewer, and any language may be guessed for them
MIN_PROBABILITY = 0.5
FIRST_CJK = "\u2e80"  # Chinese, Japanese and Korean, which put no spaces between words, begin here


def guess_language(text: str) -> str | None:
    """The ISO 639-1 code, or None if the text is too short or the guess is uncertain."""
    start = max(0, (len(text) - SAMPLE) // 2)
    sample = text[start : start + SAMPLE]
    letters = sum(map(str.isalpha, sample))
    cjk_letters = sum(char >= FIRST_CJK for char in sample)  # one of them says as much as four letters
    if letters < MIN_LETTERS and cjk_letters <= MIN_LETTERS // 4:
        return None
    language, probability = _identifier().classify(sample)
    return str(language) if probability >= MIN_PROBABILITY else None


def fill_missing_languages(pages: Sequence[Page]) -> None:
    """Give pages without a language the language of most other pages."""
    counts = Counter(page.language for page in pages if page.language)
    most_common = counts.most_common(1)[0][0] if counts else None
    for page in pages:
        page.language = page.language or most_common


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # slow to import, and most commands do not need it

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
