"""What is compared: pages with the dataset mentions that people, or a stage, have marked on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.records import is_specific

# The fields by which results are broken down. Both are fields of `DatasetFields`.
GROUP_FIELDS = ("specificity", "context")


@dataclass(frozen=True)
class MarkedName:
    """One dataset mention. `text[start:end]` is the name; both are None for a name that was not found in the text."""

    name: str
    start: int | None = None
    end: int | None = None
    specificity: str | None = None
    context: str | None = None

    @property
    def span(self) -> tuple[int, int] | None:
        return None if self.start is None or self.end is None else (self.start, self.end)

    def at(self, start: int | None, end: int | None) -> MarkedName:
        """The same mention in another place."""
        return replace(self, start=start, end=end)

    def shifted(self, offset: int) -> MarkedName:
        """The same mention `offset` characters further on."""
        return self if self.start is None or self.end is None else self.at(self.start + offset, self.end + offset)


@dataclass(frozen=True)
class MarkedPage:
    """A page, or a part of one, and the mentions on it. Pages count from 1, offsets refer to `text`.

    `part`: 0 for a whole page, another number for each part of a page of which the gold covers only some sentences.
    `offset`: where `text` begins in the text of the page.
    """

    document: str
    page: int
    text: str
    mentions: tuple[MarkedName, ...] = ()
    part: int = 0
    offset: int = 0

    def with_specificity(self, minimum: str) -> MarkedPage:
        """The page without the mentions that are vaguer than `minimum`."""
        kept = tuple(one for one in self.mentions if is_specific(one.specificity, minimum))
        return self if len(kept) == len(self.mentions) else replace(self, mentions=kept)

    @property
    def key(self) -> tuple[str, int, int]:
        """What identifies the page: document, page and part."""
        return self.document, self.page, self.part
