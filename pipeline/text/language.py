"""Guess the language of the pages of a document. It decides how they are split into sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from pipeline.records import Page

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# The languages that are distinguished: ISO 639-1 codes in which papers and reports are published. Without a limit,
# English tables are taken for Nigerian Pidgin, Bikol or Ligurian. "zxx" is text in no language, such as formulas.
NO_LANGUAGE = "zxx"
LANGUAGES = """
af am ar az be bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl gu ha he hi hr hu hy id ig is it ja ka kk km kn ko
ky lo lt lv mg mk ml mn mr ms mt my ne nl no om pa pl ps pt ro ru rw si sk sl sn so sq sr sv sw ta te tg th tl tr uk ur
uz vi xh yo zh zu
"""
SAMPLE = 400  # characters, from the middle of a page: its head and foot are running titles
MIN_LETTERS = 130  # of the sample; tables of figures have fewer, and any language may be guessed for them
MIN_PROBABILITY = 0.5
SAMPLES = 3  # of a page that seems to be in another language than its document; all of them must be
# Number of frequent words that tell the language of a document, and their share of a sample. Measured on 3,482 pages:
# 0.18 to 0.6 on 19 of 20 pages in one of the samples, up to 0.12 on pages in other languages.
FREQUENT, MIN_FREQUENT = 40, 0.18
FIRST_CJK = "\u2e80"  # Chinese, Japanese and Korean, which put no spaces between words, begin here


class LanguageGuesser:
    """Guesses the language of the pages of one document, in order.

    A page with the frequent words of earlier pages is in their language. Only other pages need the slow classifier.
    """

    def __init__(self) -> None:
        # By language: how often each word occurs on the pages so far, and the words that more than one of them has.
        self._counts = defaultdict[str, Counter[str]](Counter)
        self._repeated = defaultdict[str, set[str]](set)
        self._usual: str | None = None
        self._frequent: set[str] = set()

    def guess(self, text: str) -> str | None:
        """The ISO 639-1 code, or None if the text is too short or the guess is uncertain."""
        start = max(0, (len(text) - SAMPLE) // 2)
        sample = text[start : start + SAMPLE]
        if self._usual and (self._has_frequent_words(sample) or any(map(self._has_frequent_words, _samples(text)))):
            return self._usual
        language = _language_of(sample)
        if language and not self._usual:
            self._learn(language, text)
        return language

    def _has_frequent_words(self, sample: str) -> bool:
        words = sample.lower().split()
        return sum(map(self._frequent.__contains__, words)) >= max(1, MIN_FREQUENT * len(words))

    def _learn(self, language: str, text: str) -> None:
        """Learn from a page, until enough words are known. What only one page has may be in another language."""
        counts, repeated = self._counts[language], self._repeated[language]
        words = Counter([word for word in text.lower().split() if word.isalpha()])
        repeated |= counts.keys() & words.keys()
        counts.update(words)
        if len(repeated) >= FREQUENT:
            self._usual, self._frequent = (
                language,
                set(sorted(repeated, key=lambda word: (-counts[word], word))[:FREQUENT]),
            )


def decide_languages(pages: Sequence[Page]) -> None:
    """Give the pages of a document the language of most of them, except those that are clearly in another one."""
    counts = Counter(page.language for page in pages if page.language)
    usual = counts.most_common(1)[0][0] if counts else None
    for page in pages:
        if page.language != usual and not (page.language and _is_clearly_in(page.text, page.language)):
            page.language = usual


def _is_clearly_in(text: str, language: str) -> bool:
    """Whether all parts of a long text are in the language. A list of foreign titles or names is not."""
    found = [guess for guess in map(_language_of, _samples(text)) if guess]
    return len(found) > 1 and set(found) == {language}


def _samples(text: str) -> Iterator[str]:
    length = len(text) // SAMPLES
    if length >= SAMPLE / 2:
        for number in range(SAMPLES):
            start = number * length + max(0, (length - SAMPLE) // 2)
            yield text[start : start + min(SAMPLE, length)]


def _language_of(sample: str) -> str | None:
    if sum(map(str.isalpha, sample)) < MIN_LETTERS:
        cjk_letters = sum(char >= FIRST_CJK for char in sample)  # one of them says as much as four letters
        if cjk_letters <= MIN_LETTERS // 4:
            return None
    language, probability = _identifier().classify(sample)
    return str(language) if probability >= MIN_PROBABILITY and language != NO_LANGUAGE else None


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # slow to import, and most commands do not need it

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES.split(), NO_LANGUAGE])
    identifier.nb_ptc = identifier.nb_ptc.copy(order="C")  # twice as fast as the view of some columns
    return identifier
