"""Remove from a text what is often changed when it is copied: white space, dashes, quotation marks, accents, case."""

from __future__ import annotations

import unicodedata

_IGNORED_CATEGORIES = {"Zs", "Zl", "Zp", "Cc", "Cf", "Pd", "Pi", "Pf", "Mn"}
_IGNORED_CHARACTERS = frozenset("'\"`´′″−�")


def is_ignored(char: str) -> bool:
    """Whether normalization removes the character, because a copy may change, add or drop it."""
    return char in _IGNORED_CHARACTERS or unicodedata.category(char) in _IGNORED_CATEGORIES


class _Replacements(dict[str, str]):
    """What each character is normalized to ('' if it is ignored). Computed on first use of a character."""

    def __missing__(self, char: str) -> str:
        parts = "" if is_ignored(char) else unicodedata.normalize("NFKD", char)
        self[char] = replacement = "".join(part for part in parts if not is_ignored(part)).casefold()
        return replacement


_REPLACEMENTS = _Replacements()


def normalized(text: str) -> str:
    """The letters, digits and symbols of `text`, in lower case and without accents."""
    return "".join(map(_REPLACEMENTS.__getitem__, text))


def normalized_with_origin(text: str) -> tuple[str, list[int]]:
    """The normalized text, and for each of its characters the index of the character of `text` that it comes from."""
    parts = list(map(_REPLACEMENTS.__getitem__, text))
    joined = "".join(parts)
    if len(joined) == sum(map(bool, parts)):  # the usual case: no character has become two
        return joined, [index for index, part in enumerate(parts) if part]
    return joined, [index for index, part in enumerate(parts) for _ in part]
