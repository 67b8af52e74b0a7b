"""Text with everything left out that retyping changes: white space, dashes, quotation marks, accents, case."""

from __future__ import annotations

import unicodedata

_IGNORED = {"Zs", "Zl", "Zp", "Cc", "Cf", "Pd", "Pi", "Pf", "Mn"}
_IGNORED_CHARACTERS = frozenset("'\"`´′″−�")


class _Folds(dict[str, str]):
    """What is left of a character: '' for those that are ignored. Filled as characters are met."""

    def __missing__(self, char: str) -> str:
        parts = "" if is_ignored(char) else unicodedata.normalize("NFKD", char)
        self[char] = folded = "".join(part for part in parts if not is_ignored(part)).casefold()
        return folded


def is_ignored(char: str) -> bool:
    """Whether retyping may change, add or drop it."""
    return char in _IGNORED_CHARACTERS or unicodedata.category(char) in _IGNORED


_FOLDS = _Folds()


def folded(text: str) -> str:
    """The letters, digits and signs of `text` that retyping leaves as they are."""
    return "".join(map(_FOLDS.__getitem__, text))


def folded_with_origin(text: str) -> tuple[str, list[int]]:
    """The same, and for each of its characters the index of the one in `text` that it comes from."""
    parts = list(map(_FOLDS.__getitem__, text))
    joined = "".join(parts)
    if len(joined) == sum(map(bool, parts)):
        return joined, [index for index, part in enumerate(parts) if part]
    return joined, [index for index, part in enumerate(parts) for _ in part]
