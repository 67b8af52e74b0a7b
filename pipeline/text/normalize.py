"""Remove from a text what is often changed when it is copied: white space, dashes, quotation marks, accents, case."""

from __future__ import annotations

import re
import unicodedata

_IGNORED_CATEGORIES = {"Zs", "Zl", "Zp", "Cc", "Cf", "Pd", "Pi", "Pf"}
# "¬" is a hyphen of some PDFs, "ˇ" and its neighbours are accents of TeX, U+0640 lengthens Arabic letters.
_IGNORED_CHARACTERS = frozenset("'\"`´′″−�¬ˆˇˉˊˋ\u0640")
# Accents. The marks of other scripts are not among them: without its mark, a kana or a Thai vowel is another one.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u1ab0-\u1aff"
    "\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]"
)
_ODD_LETTERS = {"ı": "i", "\uf001": "fi", "\uf002": "fl"}  # dotless i of TeX, ligatures of older fonts


def is_ignored(char: str) -> bool:
    """Whether normalization removes the character, because a copy may change, add or drop it."""
    if char in _IGNORED_CHARACTERS or unicodedata.category(char) in _IGNORED_CATEGORIES:
        return True
    return unicodedata.category(char) == "Mn" and _ACCENTS.match(char) is not None


class _Replacements(dict[str, str]):
    """What each character is normalized to ('' if it is ignored). Computed on first use of a character."""

    def __missing__(self, char: str) -> str:
        parts = "" if is_ignored(char) else unicodedata.normalize("NFKD", _ODD_LETTERS.get(char, char))
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
