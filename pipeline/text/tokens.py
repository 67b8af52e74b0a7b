"""Counting tokens."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any

from pipeline.records import storable

_BINDINGS = "bpe_openai._bindings"
LONGEST_INPUT = 500_000  # characters at a time; the tokenizer raises ValueError above 1,000,000


def count_tokens(text: str) -> int:
    """Tokens of `text` in o200k_base, the encoding of gpt-4o and later models; an estimate for other models."""
    count = _tokenizer().count
    try:
        if len(text) <= LONGEST_INPUT:
            return int(count(text))
        return sum(count(text[i : i + LONGEST_INPUT]) for i in range(0, len(text), LONGEST_INPUT))
    except UnicodeEncodeError:
        return count_tokens(storable(text))


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """The tokenizer of bpe_openai without the rest of that package, which would need 70 MB and half a second more.

    When the package is imported, it loads tables that only decoding needs, in every process that counts tokens.
    """
    package = find_spec("bpe_openai")
    folders = package.submodule_search_locations if package else None
    found = PathFinder.find_spec(_BINDINGS, folders) if folders else None
    if _BINDINGS in sys.modules or found is None or found.loader is None:
        return import_module(_BINDINGS).tokenizer_for_encoding("o200k_base")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    sys.modules[_BINDINGS] = module  # it can be loaded only once
    return module.tokenizer_for_encoding("o200k_base")
