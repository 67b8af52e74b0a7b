"""The pages that annotators review, with the datasets that the pipeline found on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from pipeline.errors import StageOrderError
from pipeline.processes import FIRST, PROCESSES
from pipeline.records import DATASET_FIELDS, Dataset, Document, MentionPage, Page, PageText, Record
from pipeline.review.labels import FINISHED, text_hash
from pipeline.selection import Selection
from pipeline.store import load_document, load_text, manifest_entries
from pipeline.workspace import Workspace

# The canonical names in a document: of each of its mentions, or None.
NamesIn = Callable[[Document, PageText], Callable[[Dataset, Page], str | None]]


class ReviewDataset(Record):
    """A dataset mention of the pipeline that was located in the page. `verdicts`: as in `Dataset`.

    `fields`: null where no model and no person has given a value. `canonical_name`: what the tables
    call the dataset, if that is known and not just what the page prints.
    """

    start: int
    end: int
    quote: str
    canonical_name: str | None
    sent_start: int | None
    sent_end: int | None
    valid: bool | None
    invalid_reason: str | None
    fields: dict[str, str | None]
    verdicts: dict[str, dict[str, Any]]


class ReviewPage(Record):
    """A page and its mentions. `unlocated`: dataset names of the pipeline that do not occur in the page's text.

    `contradictions`: for each name on this page whose verdicts differ within the document, what they are.
    """

    source: str
    page: int
    text: str
    text_sha256: str
    mentions: list[ReviewDataset]
    unlocated: list[str]
    contradictions: list[str]


def no_names(document: Document, text: PageText) -> Callable[[Dataset, Page], str | None]:
    return lambda dataset, page: None


def review_pages(
    workspace: Workspace, selection: Selection, all_pages: bool = False, names_in: NamesIn = no_names
) -> Iterator[ReviewPage]:
    """Every selected page that the pipeline has finished or found datasets on, as the last stage so far left it.

    Pages with a name that is judged both ways within its document come first: one of the verdicts is probably wrong.
    `all_pages`: also the other pages with text. Raises StageOrderError if there is no page, InputError, WorkspaceError.
    """
    found = False
    for contradictory in (True, False):
        for page in _pages(workspace, selection, all_pages, names_in):
            if bool(page.contradictions) is contradictory:
                found = True
                yield page
    if not found and all_pages:
        raise StageOrderError("There are no pages to review: the selected papers have no text.")
    if not found:
        raise StageOrderError(
            "There are no pages to review yet: run `python run_batch.py --process all` first, or use --all-pages to "
            "label pages that no stage has finished."
        )


def _pages(workspace: Workspace, selection: Selection, all_pages: bool, names_in: NamesIn) -> Iterator[ReviewPage]:
    """The pages to review, in the order of the documents."""
    entries = selection.of(manifest_entries(workspace))
    for entry in tqdm(entries, desc="Selecting pages", unit=" papers", leave=False, disable=None):
        stages = (load_document(workspace, process, entry.source) for process in reversed(PROCESSES))
        document = next(filter(None, stages), None)
        text = load_text(workspace, entry.source)
        if document is None or document.text_sha256 != text.digest():
            # There is no document, or the PDF has changed since, and its offsets refer to another text.
            document = Document(source=entry.source, process=FIRST)
        name_of = names_in(document, text)
        for page in text.pages:
            known = document.page(page.page)
            finished = document.page_status.get(str(page.page)) in FINISHED
            wanted = finished or (known and known.datasets()) or (all_pages and page.text.strip())
            if wanted and selection.has_page(page.page):
                yield _review_page(document, page, known, name_of)


def _review_page(
    document: Document, page: Page, known: MentionPage | None, name_of: Callable[[Dataset, Page], str | None]
) -> ReviewPage:
    datasets = known.datasets() if known else []
    return ReviewPage(
        source=document.source,
        page=page.page,
        text=page.text,
        text_sha256=text_hash(page),
        mentions=[_review_dataset(one, name_of(one, page)) for one in datasets if one.start is not None],
        unlocated=[dataset.raw_name for dataset in datasets if dataset.start is None],
        contradictions=[
            f"{one.name}: valid on {_page_list(one.valid_on)}, invalid on {_page_list(one.invalid_on)}"
            for one in document.judged_both_ways
            if page.page in (*one.valid_on, *one.invalid_on)
        ],
    )


def _page_list(pages: Sequence[int]) -> str:
    return ("page " if len(pages) == 1 else "pages ") + ", ".join(map(str, pages))


def _review_dataset(dataset: Dataset, canonical_name: str | None) -> ReviewDataset:
    return ReviewDataset(
        start=dataset.start or 0,
        end=dataset.end or 0,
        quote=dataset.raw_name,
        canonical_name=canonical_name if canonical_name != " ".join(dataset.raw_name.split()) else None,
        sent_start=dataset.sent_start,
        sent_end=dataset.sent_end,
        valid=dataset.valid,
        invalid_reason=dataset.invalid_reason,
        # Without the defaults of fields that nobody has given: a person must not accept them unseen.
        fields=dict.fromkeys(DATASET_FIELDS) | dataset.labelled_fields(),
        verdicts=dataset.verdicts,
    )
