"""Remove from a text what is often changed when it is copied: white space, dashes, quotation marks, accents, case."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from itertools import accumulate

BLOCK = 256  # characters of a page that are normalized together
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


class _Replacements(dict[int, str | None]):
    """What each character is normalized to (None if it is ignored). Computed on first use of a character."""

    def __missing__(self, code: int) -> str | None:
        parts = unicodedata.normalize("NFKD", _ODD_LETTERS.get(chr(code), chr(code)))
        replaced = "" if is_ignored(chr(code)) else "".join(part for part in parts if not is_ignored(part)).casefold()
        # Some characters become others that change again.
        self[code] = replaced if replaced == chr(code) else normalized(replaced)
        self[code] = self[code] or None
        return self[code]


_REPLACEMENTS = _Replacements()
_IGNORED_ASCII = frozenset(char for char in map(chr, range(128)) if is_ignored(char))


def normalized(text: str) -> str:
    """The letters, digits and symbols of `text`, in lower case and without accents."""
    if not text.isascii():  # `translate` is ten times as fast for ASCII, and a page has few other characters
        for char in set(text):
            if char > "\x7f":
                text = text.replace(char, _REPLACEMENTS[ord(char)] or "")
    return text.translate(_REPLACEMENTS)


def normalized_with_origin(text: str) -> tuple[str, list[int]]:
    """The normalized text, and for each of its characters the index of the character of `text` that it comes from."""
    whole = NormalizedText(text)
    return whole.text, list(map(whole.origin, range(len(whole.text))))


class NormalizedText:
    """The normalized text of a page, and which character of the page each of its characters comes from."""

    def __init__(self, text: str) -> None:
        self._blocks = [text[first : first + BLOCK] for first in range(0, len(text), BLOCK)]
        parts = list(map(normalized, self._blocks))
        self.text = "".join(parts)
        self._starts = [0, *accumulate(map(len, parts))]
        self._origins: dict[int, list[int]] = {}

    def origin(self, index: int) -> int:
        """The page's character that `self.text[index]` comes from."""
        block = bisect_right(self._starts, index) - 1
        return block * BLOCK + self._origins_in(block)[index - self._starts[block]]

    def position(self, offset: int) -> int:
        """The first character of `self.text` that comes from the page's character `offset` or a later one."""
        block, rest = divmod(offset, BLOCK)
        if block >= len(self._blocks) or not rest:
            return self._starts[min(block, len(self._blocks))]
        return self._starts[block] + bisect_left(self._origins_in(block), rest)

    def _origins_in(self, block: int) -> list[int]:
        """The origins in one block. Few are needed, and computing all takes longer than normalizing the page."""
        if block not in self._origins:
            text = self._blocks[block]
            if text.isascii():  # each character that is left is still one
                self._origins[block] = [index for index, char in enumerate(text) if char not in _IGNORED_ASCII]
            else:
                parts = map(_REPLACEMENTS.__getitem__, map(ord, text))
                self._origins[block] = [index for index, part in enumerate(parts) if part for _ in part]
        return self._origins[block]
