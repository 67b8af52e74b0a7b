"""The canonical names of mentions, for programs that show mentions but export no tables."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.config import Config
from pipeline.export.canonical import CanonicalNames, NameUse, named
from pipeline.export.mentions import final_documents, last_stage, uses_of
from pipeline.export.registry import Registry, load_registry
from pipeline.records import Dataset, Document, Page, PageText
from pipeline.review.labels import load_labels
from pipeline.selection import Selection
from pipeline.workspace import Workspace


def canonical_names(
    config: Config, selection: Selection
) -> Callable[[Document, PageText], Callable[[Dataset, Page], str | None]]:
    """The canonical names in each of the selected documents: those of the exports, without a person's overrides.

    Reads the documents once. Raises ConfigError, InputError, LabelError, WorkspaceError.
    """
    workspace = Workspace(config.output_dir)
    names = CanonicalNames(load_registry(config.dataset_registry) if config.dataset_registry else Registry())
    for final in final_documents(workspace, last_stage(workspace), load_labels(workspace), selection):
        names.add(uses_of(final))

    def in_document(document: Document, text: PageText) -> Callable[[Dataset, Page], str | None]:
        found = [(one, page) for page in text.pages if (known := document.page(page.page)) for one in known.datasets()]
        here = names.in_document(document.source, [NameUse.of(one, page.text) for one, page in found if named(one)])

        def of(dataset: Dataset, page: Page) -> str | None:
            use = NameUse.of(dataset, page.text)
            return here.of(use).name if named(dataset) or here.knows(use) else None

        return of

    return in_document
