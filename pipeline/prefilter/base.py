"""The decision about each page, from the stored probabilities of a classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pydantic import ValidationError

from pipeline.files import file_stamp, write_atomic
from pipeline.records import Page, PageText, Record
from pipeline.workspace import Workspace

PREFILTERED = "skipped:prefilter"  # the page_status of a page that the prefilter skips
DIGITS = 6  # of a stored probability


class Classifier(ABC):
    """`identity`: changes with everything that the probabilities depend on, besides the text. Cheap to compute.

    `threshold`: the one to use if PREFILTER_THRESHOLD is not set.
    """

    identity: str
    threshold: float

    @abstractmethod
    def probabilities(self, pages: Sequence[Page]) -> list[float]:
        """For each page of one document, how probable it is that it mentions a dataset: from 0 to 1."""


class PageProbabilities(Record):
    """prefilter/<document>.json. `text_sha256`: digest of the text that was classified. `probabilities`: by page."""

    source: str
    classifier: str
    text_sha256: str
    probabilities: dict[int, float]


class Prefilter:
    """`threshold`: pages with a lower probability are skipped (None: the classifier's own threshold)."""

    def __init__(self, classifier: Classifier, threshold: float | None, workspace: Workspace) -> None:
        self._classifier, self._workspace = classifier, workspace
        self._threshold = classifier.threshold if threshold is None else threshold

    def decide(self, text: PageText) -> set[int]:
        """The numbers of the pages to skip. Classifies the pages unless that was done before.

        Raises ConfigError if the classifier cannot be used, WorkspaceError.
        """
        stored = self._stored(text)
        if stored is None:
            pages = [page for page in text.pages if page.text.strip()]
            values = [round(value, DIGITS) for value in self._classifier.probabilities(pages)]
            by_page = {page.page: value for page, value in zip(pages, values, strict=True)}
            stored = PageProbabilities(
                source=text.source, classifier=self._classifier.identity, text_sha256=text.digest(),
                probabilities=by_page,
            )  # fmt: skip
            write_atomic(self._workspace.prefilter(text.source), stored.model_dump_json(indent=1).encode())
        return self._skipped(stored)

    def decided(self, text: PageText) -> set[int]:
        """The pages to skip as far as it was decided: none if the pages of this text were never classified."""
        stored = self._stored(text)
        return self._skipped(stored) if stored else set()

    def stamp(self, source: str) -> str:
        """Changes whenever `decided` may give another result for the same text."""
        return f"{self._classifier.identity} {self._threshold} {file_stamp(self._workspace.prefilter(source))}"

    def _skipped(self, stored: PageProbabilities) -> set[int]:
        return {page for page, probability in stored.probabilities.items() if probability < self._threshold}

    def _stored(self, text: PageText) -> PageProbabilities | None:
        """The stored probabilities, if they are about this text and from this classifier."""
        try:
            stored = PageProbabilities.model_validate_json(self._workspace.prefilter(text.source).read_bytes())
        except (OSError, ValidationError):
            return None  # the paper was never classified, or the file is damaged
        same = (stored.classifier, stored.text_sha256) == (self._classifier.identity, text.digest())
        return stored if same else None
