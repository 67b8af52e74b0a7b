"""The mentions that a stage of the pipeline has found on the gold pages, and what its verdicts changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tqdm import tqdm

from pipeline.evaluation.matching import match_spans
from pipeline.evaluation.pages import MarkedName, MarkedPage
from pipeline.processes import previous_process
from pipeline.records import NOT_SENT, Dataset, Document, MentionPage
from pipeline.review.labels import FINISHED
from pipeline.store import load_document, manifest_entries
from pipeline.workspace import Workspace

OUTDATED = "outdated"  # the document was made from another text, so its offsets mean nothing


@dataclass(frozen=True)
class VerdictChange:
    """A located mention whose verdict a stage has changed.

    `right`: a removed mention matches no gold mention that is otherwise missed; a restored one matches a gold mention.
    """

    kind: Literal["removed", "restored"]
    page: MarkedPage
    mention: MarkedName
    right: bool
    reason: str | None


@dataclass
class Predictions:
    """`pages`: the gold pages with the mentions of the stage, rejected ones left out.

    `unanswered`: (document, page, status) of gold pages that the stage has not finished; they have no mentions.
    `other_pages`, `other_mentions`: number of pages with mentions that the gold does not cover, and of these mentions.
    """

    pages: list[MarkedPage] = field(default_factory=list)
    unanswered: list[tuple[str, int, str]] = field(default_factory=list)
    changes: list[VerdictChange] = field(default_factory=list)
    other_pages: int = 0
    other_mentions: int = 0


def predictions(
    workspace: Workspace, process: str, gold: Sequence[MarkedPage], digests: Mapping[str, str]
) -> Predictions | None:
    """The predictions of stage `process` for the gold pages, or None if it has no document at all.

    `digests`: of the text of each gold document. Raises InputError, WorkspaceError.
    """
    by_document: dict[str, dict[int, list[MarkedPage]]] = defaultdict(lambda: defaultdict(list))
    for page in gold:
        by_document[page.document][page.page].append(page)
    result, exists = Predictions(), False
    entries = manifest_entries(workspace)
    for entry in tqdm(entries, desc=f"Evaluating {process}", unit=" papers", leave=False, disable=None):
        document = load_document(workspace, process, entry.source)
        exists = exists or document is not None
        wanted = by_document.get(entry.source, {})
        for number, parts in wanted.items():
            status = _status(document, number, digests[entry.source])
            if document is None or status not in FINISHED:
                result.unanswered.append((entry.source, number, status))
            else:
                _add_page(document.page(number), parts, process, result)
        if document is not None:
            _count_others(document, wanted, result)
    return result if exists else None


def _count_others(document: Document, wanted: Mapping[int, Sequence[MarkedPage]], result: Predictions) -> None:
    """Count the mentions of a document that are on none of its gold pages."""
    for page in document.pages:
        parts = wanted.get(page.page, ())
        mentions = [one for one in page.datasets() if one.valid is not False]
        result.other_pages += bool(mentions and not parts)
        result.other_mentions += sum(not any(_is_in(one, part) for part in parts) for one in mentions)


def _status(document: Document | None, page: int, digest: str) -> str:
    if document is None:
        return NOT_SENT
    if document.text_sha256 not in (None, digest):
        return OUTDATED
    return document.page_status.get(str(page), NOT_SENT)


def _add_page(known: MentionPage | None, parts: Iterable[MarkedPage], process: str, result: Predictions) -> None:
    """Add the mentions of one page, and the changes of its verdicts, to `result`."""
    for part in parts:
        datasets = [one for one in (known.datasets() if known else []) if _is_in(one, part)]
        kept = [one for one in datasets if one.valid is not False]
        mentions = tuple(_mention(one, part.offset) for one in kept)
        result.pages.append(MarkedPage(part.document, part.page, part.text, mentions, part.part, part.offset))
        result.changes += verdict_changes(part, datasets, process)


def _is_in(dataset: Dataset, part: MarkedPage) -> bool:
    """Whether a mention overlaps the part. One that was not located belongs to every page that is gold as a whole."""
    if dataset.start is None or dataset.end is None:
        return part.part == 0
    return dataset.start < part.offset + len(part.text) and part.offset < dataset.end


def _mention(dataset: Dataset, offset: int) -> MarkedName:
    place = MarkedName(dataset.raw_name, dataset.start, dataset.end, dataset.specificity, dataset.context)
    return place.shifted(-offset)


def verdict_changes(gold: MarkedPage, datasets: Sequence[Dataset], process: str) -> Iterator[VerdictChange]:
    """The mentions whose verdict differs from that of the stage before. Extraction gives no verdict: all are valid."""
    previous = previous_process(process)
    if previous is None:
        return
    located = [(one, _mention(one, gold.offset)) for one in datasets if one.start is not None]
    kept = [(one, mention) for one, mention in located if one.valid is not False]
    removed = [(one, mention) for one, mention in located if one.valid is False and _was_valid(one, previous)]
    marked = [one.span for one in gold.mentions if one.span]
    right, missed = _matched(marked, [mention for _, mention in kept])
    lost, _ = _matched(missed, [mention for _, mention in removed])
    for place, (one, mention) in enumerate(removed):
        yield VerdictChange("removed", gold, mention, place not in lost, one.invalid_reason)
    for place, (one, mention) in enumerate(kept):
        if not _was_valid(one, previous):
            yield VerdictChange("restored", gold, mention, place in right, None)


def _matched(gold: Sequence[tuple[int, int]], mentions: Sequence[MarkedName]) -> tuple[set[int], list[tuple[int, int]]]:
    """The indexes of the mentions that match the gold, and the gold spans that none matches."""
    pairs = match_spans(gold, [mention.span for mention in mentions if mention.span])
    return set(pairs.values()), [span for place, span in enumerate(gold) if place not in pairs]


def _was_valid(dataset: Dataset, process: str) -> bool:
    """The verdict of an earlier stage; valid if it gave none."""
    return dataset.verdicts.get(process, {}).get("valid") is not False
