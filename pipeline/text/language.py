"""Guess the language of the pages of a document. It decides how they are split into sentences."""

from __future__ import annotations

from collections import Counter
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
# Most papers are in English. These words are frequent there and nowhere else; "of", "in", "is" and "was" are Dutch too.
# On 3,482 pages, at least one sample of 95 % of the English pages has a share of 0.08 or more.
ENGLISH_WORDS = """
the and that with are this from which been were not their these between than our they there its such other when would
through
"""
_ENGLISH = frozenset(ENGLISH_WORDS.split())
MIN_ENGLISH = 0.08  # share of the words of a sample
MIN_WORDS = 30  # of a sample; a name in English is shorter, and so is most text in languages without spaces
MAX_BYTES = 1.2  # UTF-8 bytes per character of a sample; other scripts have two or three
FIRST_CJK = "\u2e80"  # Chinese, Japanese and Korean, which put no spaces between words, begin here


def guess_language(text: str) -> str | None:
    """The ISO 639-1 code, or None if the text is too short or the guess is uncertain."""
    start = max(0, (len(text) - SAMPLE) // 2)
    middle = text[start : start + SAMPLE]
    if _is_english(middle) or any(map(_is_english, _samples(text))):
        return "en"
    return _language_of(middle)


def _is_english(sample: str) -> bool:
    """Whether a sample has the usual share of English words. Much faster than the classifier."""
    words = sample.lower().split()
    if len(words) < MIN_WORDS or sum(map(_ENGLISH.__contains__, words)) < MIN_ENGLISH * len(words):
        return False
    return len(sample.encode("utf-8", "replace")) <= MAX_BYTES * len(sample)


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
