"""One name for all variants of a dataset's name, within and across documents, and why they are taken for the same.

Names are the same dataset if they have the same content words: without years, small words, plural endings and words
like "data", in any order. An acronym is the dataset that its document defines it for, or else the only one that any
document defines it for. Acronyms with several meanings, and names that differ in one word or number, are kept apart: a
wrong merge cannot be seen in a table, a missing one can. A registry and a person's overrides decide before these rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from pipeline.export.registry import Override, RegisteredDataset, Registry
from pipeline.records import Dataset
from pipeline.text.names import (
    MIN_INITIALS,
    content_words,
    defined_forms,
    initials,
    is_acronym,
    is_short_for,
    key,
    own_forms,
    plain_name,
    word_bag,
)

Words = tuple[str, ...]
Meaning = tuple[Words | None, str | None]  # content words of a dataset, None if unknown; why a name means it
MOST_WORDS = 15  # longer names are not abbreviated in part
MIN_SHORT_FORM = 2  # content words; one word alone is too often part of several names


@dataclass(frozen=True)
class Canonical:
    """The canonical name of a mention. All are None for a mention without a name."""

    name: str | None = None
    id: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class NameUse:
    """A name as printed, and all forms that are known for it in its document: long forms and acronyms."""

    name: str
    forms: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset, page_text: str) -> NameUse:
        """The name of a mention, with what the page defines, and what models said if the letters confirm it."""
        name = " ".join(dataset.raw_name.split())
        forms = own_forms(dataset.raw_name)
        if dataset.start is not None and dataset.end is not None:
            forms += defined_forms(name, page_text, dataset.start, dataset.end)
        long, short = own_forms(dataset.harmonized_name or name)[0], dataset.acronym or name
        if is_acronym(short) and is_short_for(short, long):
            forms += [long, short]
        return cls(name, tuple(dict.fromkeys(" ".join(form.split()) for form in forms)))

    @cached_property
    def long_forms(self) -> list[str]:
        return [form for form in self.forms if not is_acronym(form)]

    @cached_property
    def acronyms(self) -> list[str]:
        return [form for form in self.forms if is_acronym(form)]


class Names:
    """What a document, or all of them, say about names.

    `printed`: how often each long form was printed, by its content words. `defined`: the content words of the long
    forms of each acronym.
    """

    def __init__(self) -> None:
        self.printed: dict[Words, Counter[str]] = defaultdict(Counter)
        self.defined: dict[str, set[Words]] = defaultdict(set)

    def add(self, use: NameUse) -> None:
        words = {long: word_bag(long) for long in use.long_forms}
        for long, bag in words.items():
            self.printed[bag][plain_name(long)] += 1
        for short in use.acronyms:
            self.defined[key(short)].update(words.values())


class CanonicalNames:
    """The canonical names of a corpus: `add` the names of all documents, then ask for those `in_document`."""

    def __init__(self, registry: Registry | None = None, overrides: Sequence[Override] = ()) -> None:
        self.registry = registry or Registry()
        self._override_ids = {one.canonical_name: one.canonical_id for one in overrides if one.canonical_id}
        self._overrides = {(one.document, _folded(one.name)): one for one in overrides}
        self.everywhere = Names()

    def add(self, uses: Iterable[NameUse]) -> None:
        """Learn from the names of a document."""
        for use in uses:
            self.everywhere.add(use)

    def in_document(self, document: str, uses: Iterable[NameUse]) -> DocumentNames:
        """The canonical names in a document with these names, all of which were added."""
        here = Names()
        for use in uses:
            here.add(use)
        return DocumentNames(document, here, self)

    def override(self, document: str, name: str) -> Canonical | None:
        """What a person has set for a name in a document."""
        found = self._overrides.get((document, _folded(name))) or self._overrides.get((None, _folded(name)))
        if found is None:
            return None
        return Canonical(
            found.canonical_name, found.canonical_id or self.id_of(found.canonical_name), "set by a person"
        )

    def id_of(self, name: str) -> str | None:
        """The id of a canonical name: that of a person, or else that of the registry."""
        entry = self.registry.by_name.get(name)
        return self._override_ids.get(name) or (entry.id if entry else None)

    @cached_property
    def by_initials(self) -> dict[str, set[Words]]:
        """The names with certain initials."""
        found: dict[str, set[Words]] = defaultdict(set)
        for words, printed in self.everywhere.printed.items():
            for letters in {letters for name in printed for letters in initials(name)}:
                found[letters].add(words)
        return found

    @cached_property
    def by_abbreviation(self) -> dict[Words, set[Words]]:
        """The names that another name abbreviates in part: "Ohio Unemployment Insurance" by "Ohio UI"."""
        known = self.everywhere.printed
        found: dict[Words, set[Words]] = defaultdict(set)
        for words, printed in known.items():
            for short in {short for name in printed for short in _abbreviations(name, MIN_INITIALS)}:
                if short in known and short != words:
                    found[short].add(words)
        return found

    def shown(self, words: Words) -> str:
        """How a name is printed most often; of several forms, the longest."""
        printed = self.everywhere.printed.get(words)
        if not printed:  # the documents have changed since the names were added
            return " ".join(words)
        return max(printed, key=lambda name: (printed[name], len(name), name))


class DocumentNames:
    """The canonical names in a document. `here`: what it says about names."""

    def __init__(self, document: str, here: Names, names: CanonicalNames) -> None:
        self._document, self._here, self._names = document, here, names
        self._found: dict[NameUse, Canonical] = {}

    def knows(self, use: NameUse) -> bool:
        """Whether a name that was not added, because its mention is no named one, is that of a mention that is."""
        words, _ = self._meaning(use)
        return words in self._names.everywhere.printed

    def of(self, use: NameUse) -> Canonical:
        """The canonical name of one of the document's names."""
        if use not in self._found:
            self._found[use] = self._find(use)
        return self._found[use]

    def _find(self, use: NameUse) -> Canonical:
        found = self._by_rules(use)
        by_name = self._names.override(self._document, use.name)
        canonical = by_name or self._names.override(self._document, found.name or "") or found
        return canonical if canonical.id else replace(canonical, id=self._names.id_of(canonical.name or ""))

    def _by_rules(self, use: NameUse) -> Canonical:
        words, reason = self._meaning_here(use)
        entry = self._registered(use, words)
        if words is None and entry is None:
            words, reason = self._meaning_elsewhere(use.acronyms[0])
            entry = self._registered(use, words)
        if entry:
            return Canonical(entry.name, entry.id, f"{reason}; in the registry" if reason else "in the registry")
        return Canonical(plain_name(use.acronyms[0]) if words is None else self._names.shown(words), None, reason)

    def _registered(self, use: NameUse, words: Words | None) -> RegisteredDataset | None:
        """The dataset of the registry. Its acronym is enough only where no long form contradicts it."""
        registry = self._names.registry
        entry = registry.find(words) if words else None
        if entry or not use.acronyms:
            return entry
        by_acronym = registry.find_acronym(use.acronyms[0])
        if by_acronym and words and not set(words) & set(word_bag(by_acronym.name)):
            return None
        return by_acronym

    def _meaning(self, use: NameUse) -> Meaning:
        """What a name means: in its document, or else in others."""
        here = self._meaning_here(use)
        return self._meaning_elsewhere(use.acronyms[0]) if here[0] is None else here

    def _meaning_here(self, use: NameUse) -> Meaning:
        if use.long_forms:
            return self._long_form(use)
        short, here = key(use.acronyms[0]), self._here
        return _first(
            (here.defined.get(short, set()), "acronym defined in the same document"),
            (
                self._names.by_initials.get(short, set()) & here.printed.keys(),
                "initials of a name in the same document",
            ),
        )

    def _meaning_elsewhere(self, acronym: str) -> Meaning:
        short = key(acronym)
        return _first(
            (self._names.everywhere.defined.get(short, set()), "acronym defined in another document"),
            (self._names.by_initials.get(short, set()), "initials of a name in another document"),
        )

    def _long_form(self, use: NameUse) -> Meaning:
        """The name itself, or the longer one that it stands for."""
        words = word_bag(use.long_forms[0])
        full = self._written_out(words)
        if full:
            return full, "abbreviates a part of this name"
        short = content_words(use.long_forms[0])
        longer = [
            other
            for other, printed in self._here.printed.items()
            if any(_is_short_form(short, content_words(name)) for name in printed)
        ]
        if len(longer) == 1:
            return longer[0], "short form of a name in the same document"
        return words, None

    @cached_property
    def _abbreviated_here(self) -> dict[Words, set[Words]]:
        """The names of the document by their abbreviations. Two letters have too many meanings elsewhere."""
        found: dict[Words, set[Words]] = defaultdict(set)
        for words, printed in self._here.printed.items():
            for short in {short for name in printed for short in _abbreviations(name, 2)}:
                found[short].add(words)
        return found

    def _written_out(self, words: Words) -> Words | None:
        """The name with an acronym in it written out, if this is a name that occurs."""
        full_names = set(self._names.by_abbreviation.get(words, ()))
        full_names |= self._abbreviated_here.get(words, set()) - {words}
        for word in words:
            for meaning in self._here.defined.get(word) or self._names.everywhere.defined.get(word) or ():
                full = tuple(sorted((*(other for other in words if other != word), *meaning)))
                if full in self._names.everywhere.printed and full != words:
                    full_names.add(full)
        return next(iter(full_names)) if len(full_names) == 1 else None


def _first(*found: tuple[Collection[Words], str]) -> Meaning:
    """The first of several meanings with their reasons. If it is not the only one of its kind, none is certain."""
    for meanings, reason in found:
        if len(meanings) == 1:
            return next(iter(meanings)), reason
        if meanings:
            return None, f"acronym with {len(meanings)} meanings"
    return None, None


def _abbreviations(name: str, letters: int) -> Iterator[Words]:
    """The word bags of a name with a part as at least so many initials: "Ohio UI" for "Ohio Unemployment Insurance"."""
    words = content_words(name)
    if len(words) > MOST_WORDS:
        return
    for start in range(len(words)):
        for end in range(start + letters, len(words) + 1):
            if end - start < len(words):
                initials_ = "".join(word[0] for word in words[start:end])
                yield tuple(sorted((*words[:start], initials_, *words[end:])))


def _is_short_form(short: Words, long: Words) -> bool:
    """Whether `long` is `short` with more words before or between its words. A number is never left out."""
    if not MIN_SHORT_FORM <= len(short) < len(long) or short[-1] != long[-1]:
        return False
    rest = iter(long)
    left_out = [word for word in long if word not in short]
    return all(word in rest for word in short) and not any(char.isdigit() for word in left_out for char in word)


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def named(dataset: Dataset) -> bool:
    """Whether a mention has a name that can be shared: unnamed data ("school records") have none."""
    return dataset.valid is not False and dataset.specificity in (None, "properly_named")
