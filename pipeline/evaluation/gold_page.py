"""A gold page before it is placed in the texts of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.pages import MarkedName


@dataclass(frozen=True)
class GoldPage:
    """A page as the gold file has it. `document`: its id there. Offsets of the mentions refer to the gold's own text.

    `page`: None if the gold does not say it; then the page is found by its text. `text` is None for labels, which have
    only the hash of the text (`text_sha256`).
    """

    document: str
    page: int | None
    mentions: tuple[MarkedName, ...]
    text: str | None = None
    text_sha256: str | None = None
