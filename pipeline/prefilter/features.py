"""What the lexical prefilter looks at: words about data and the shapes of dataset names, counted on each page.

The same code computes the features for training (training/train_prefilter.py) and at run time. It is plain Python, with
one pass over the words of a page, because it runs for every page of every paper.

The pages of a document are looked at together. If the document has "National Household Survey (NHS)" or "NHS data"
somewhere, NHS is one of its acronyms of data and counts on every page: a table often says only "Source: NHS". In the
same way, a kind of data that the document repeats, such as "credit register", counts wherever it occurs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|\d+(?:,\d{3})*|[():=]")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_ACRONYM = re.compile(r"[A-Z][a-z]{0,3}-?[A-Z][A-Za-z-]*")
ACRONYM_LENGTH = range(3, 13)  # letters and hyphens; shorter ones are mostly initials and countries
INTRODUCED_WITHIN = 10  # words between a word about data and an acronym in brackets
REPEATED = 3  # times that a document has "credit register", if it is a kind of data of this document
NAME_WITHIN = 4  # words before "Survey" of which one is capitalised, if it is the end of a name


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words about data. One feature counts the words of one group.
GROUPS = {
    "data": "data dataset datasets database databases microdata datafile datafiles",
    "collection": "survey surveys census censuses panel panels register registers registry registries cohort cohorts "
    "questionnaire questionnaires poll polls barometer archive archives repository repositories corpus corpora "
    "treebank treebanks inventory statistics records",
    "origin": "source sources obtained collected provided conducted compiled available downloaded retrieved extracted "
    "published administered maintained taken derived",
    "design": "longitudinal cross-sectional representative nationally population-based administrative wave waves round "
    "rounds weighted weights sampling confidential",
}
# Words that say what the authors do with data, if "we" or "this study" is before them.
USES = _set_of(
    "use used using uses utilize utilized utilise utilised analyse analysed analyze analyzed exploit exploits merge "
    "merged link linked combine combined rely relies draw draws drawn employ employed"
)
# Words before "data" or "survey" that do not say which one.
NOT_A_KIND = _set_of(
    "the a an this that these those our their its his her of on in for to from by with and or as at is are was were be "
    "been have has had no not any all some such each both more most other which we i it they can may using use used "
    "new only also than two three first"
)
# Words that end the name of a dataset if they are capitalised.
NAME_ENDS = _set_of(
    "survey surveys census censuses panel panels register registers registry registries cohort database databases "
    "dataset datasets data microdata study studies statistics accounts records archive archives barometer indicators "
    "index inventory corpus treebank poll interviews questionnaire file files system atlas"
)
AUTHORS = _set_of("we i authors paper study analysis article")
FEATURES = (
    *GROUPS, "acronyms_in_brackets", "acronyms_of_data", "document_acronyms", "distinct_document_acronyms", "kinds",
    "document_kinds", "names", "authors_use", "years_at_names",
)  # fmt: skip

_GROUP_OF = {word: group for group, words in GROUPS.items() for word in words.split()}
_ABOUT_DATA = frozenset(word for word, group in _GROUP_OF.items() if group in ("data", "collection")) | {"study"}
_AFTER_ACRONYM = _ABOUT_DATA | {"sample", "respondents", "participants", "wave", "waves"}


def features(texts: Sequence[str]) -> list[list[float]]:
    """The features of each page of one document, in the order of FEATURES. A count of n becomes log(1 + n)."""
    pages = [_Words(text) for text in texts]
    acronyms = {acronym for page in pages for acronym in page.acronyms_of_data}
    occurrences = Counter(kind for page in pages for kind in page.kinds)
    kinds = {kind for kind, count in occurrences.items() if count >= REPEATED}
    return [[math.log1p(count) for count in page.counts(acronyms, kinds)] for page in pages]


class _Words:
    """The words of one page. Brackets, colons and equals signs count as words."""

    def __init__(self, text: str) -> None:
        self.words = _WORD.findall(text)
        self.lower = [word.lower() for word in self.words]
        self.acronyms = [
            (place, word)
            for place, word in enumerate(self.words)
            # The first two conditions are true of few words, and quicker than the pattern.
            if len(word) in ACRONYM_LENGTH and not word[1:].islower() and _ACRONYM.fullmatch(word)
        ]
        self.acronyms_of_data = [word for place, word in self.acronyms if self._is_of_data(place)]
        self.kinds = [
            (before, word)
            for before, word in pairwise(self.lower)
            if word in _ABOUT_DATA and before[0].isalpha() and before not in NOT_A_KIND
        ]

    def _is_of_data(self, place: int) -> bool:
        """Whether the acronym is in "Survey … (ACRONYM)", "ACRONYM data" or "data from the ACRONYM"."""
        before = self.lower[max(0, place - INTRODUCED_WITHIN) : place]
        after = self.lower[place + 1] if place + 1 < len(self.lower) else ""
        if after in _AFTER_ACRONYM:
            return True
        if before[-1:] == ["("] and after == ")":
            return not _ABOUT_DATA.isdisjoint(before)
        return "data" in before[-3:] and not {"from", "of", "in"}.isdisjoint(before[-2:])

    def counts(self, document_acronyms: Collection[str], document_kinds: Collection[tuple[str, str]]) -> Iterator[int]:
        """The count of each feature, in the order of FEATURES."""
        known = [word for _, word in self.acronyms if word in document_acronyms]
        found = Counter[str](
            acronyms_in_brackets=sum(self.words[place - 1] == "(" for place, _ in self.acronyms if place),
            acronyms_of_data=len(self.acronyms_of_data),
            document_acronyms=len(known),
            distinct_document_acronyms=len(set(known)),
            kinds=len(self.kinds),
            document_kinds=sum(kind in document_kinds for kind in self.kinds),
        )
        for place, word in enumerate(self.lower):
            if word in _GROUP_OF:
                found[_GROUP_OF[word]] += 1
            if word in NAME_ENDS:
                found["names"] += self.words[place][0].isupper() and self._has_capital(place - NAME_WITHIN, place)
            elif word in USES:
                found["authors_use"] += not AUTHORS.isdisjoint(self.lower[max(0, place - 2) : place])
            elif _YEAR.fullmatch(word):
                found["years_at_names"] += self._has_capital(place - 1, place + 2)
        return (found[name] for name in FEATURES)

    def _has_capital(self, start: int, end: int) -> bool:
        """Whether one of these words begins with a capital."""
        return any(word[0].isupper() for word in self.words[max(0, start) : end])
