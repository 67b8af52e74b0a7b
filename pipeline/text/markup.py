"""Remove the markup that language models add to what they quote: Markdown, HTML tags and HTML entities."""

from __future__ import annotations

import html
import re

_MARKUP = re.compile(r"[*_`~<&\[\\#>]")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s\"[^\"]*\")?\)|<(?=https?://)([^<>\s]*)>")
_EMPHASIS = re.compile(r"(\*{1,3}|(?<!\w)_{1,3}|~~|`{1,3})(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_LEFT_OVER = re.compile(r"(?<!\w)[*_`~]+(?=\w)|(?<=\w)[*_`~]+(?!\w)")  # the other half may be outside the quotation
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!&%$<>~|])")
_LATEX = re.compile(r"\\(?:textbf|textit|emph|texttt|text)\{([^{}]*)\}")
_LINE_START = re.compile(r"^\s*(?:#{1,6}|>+|[-*+]|\d+\.)\s+(?=\S)")


def without_markup(quote: str) -> str:
    """The quotation as plain text. A quotation without markup is returned as it is."""
    if not _MARKUP.search(quote):
        return quote
    plain = html.unescape(html.unescape(quote)) if "&" in quote else quote  # some are escaped twice
    plain = _LINK.sub(lambda link: link[1] or link[2] or "", _TAG.sub("", _LATEX.sub(r"\1", plain)))
    plain = _LINE_START.sub("", plain)
    previous = None
    while previous != plain:  # emphasis may be nested
        previous, plain = plain, _EMPHASIS.sub(r"\2", plain)
    return _ESCAPE.sub(r"\1", _LEFT_OVER.sub("", plain)).strip()
