"""Compare predicted mentions with gold mentions, on three levels. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.evaluation.matching import best_pairs, jaccard, match_spans, require_packages
from pipeline.evaluation.measures import SAMPLES, Counts, Estimate, estimates
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName, MarkedPage
from pipeline.text.names import NameForms, groups, name_forms

LEVELS = ("mention", "mention_lenient", "name", "page")
RowKey = tuple[str, str, str]  # level, group ("all", a field, or "document"), value of the field or document id
Tallies = dict[RowKey, dict[str, Counts]]  # counts by row and document
ALL = ("all", "")

# The rules as they are printed in every output.
RULES = {
    "mention": "A predicted span matches a gold span if their Jaccard index (shared characters / covered characters) "
    "is at least 0.5. Matching is one to one (Hungarian method): as many pairs as possible, then the largest overlap. "
    "A repeated prediction of the same place is a false positive.",
    "mention_lenient": "The same, but it is enough that one of the two spans holds the other.",
    "name": "Distinct names of a document, matched one to one. Letter case, accents, punctuation, years, a leading "
    "article, a trailing 'data' or 'dataset' and a plural -s are ignored. A name equals its acronym if the name or "
    "the text gives both, or if the acronym has the initials of the name. A predicted name that was located nowhere "
    "in the text is a false positive.",
    "page": "A page counts as positive if it has at least one mention that was located.",
    "located": "Mentions that were not located in the text are not part of the levels mention and page. They are "
    "counted, and are false positives on the level name.",
    "groups": "Precision is grouped by the predicted value of the field, recall by its value in the gold. A name or "
    "page counts under each value that one of its mentions has.",
    "intervals": "95 % percentile bootstrap intervals: documents are drawn with replacement. There are no intervals "
    "for single documents.",
}


@dataclass(frozen=True)
class Row:
    """The result of one level for all items (`group` is "all"), one value of a field, or one document."""

    level: str
    group: str
    value: str
    counts: Counts
    measures: Mapping[str, Estimate]


@dataclass(frozen=True)
class MentionError:
    """A false positive or false negative of the level "mention", or a predicted name that was not located.

    `start`, `end`: in the text of `page`. `overlaps`: names on the other side that overlap it but do not match it.
    """

    kind: Literal["false_positive", "false_negative", "unlocated"]
    page: MarkedPage
    mention: MarkedName
    overlaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """The comparison of all gold pages with the predictions for them.

    `not_evaluated`: number of predicted pages that have mentions but are not in the gold, and of these mentions.
    `tallies`: the counts behind the rows, by document.
    """

    documents: list[str]
    pages: int
    rows: list[Row]
    errors: list[MentionError]
    not_evaluated: tuple[int, int]
    tallies: Tallies = field(repr=False)

    def row(self, level: str, group: str = "all", value: str = "") -> Row:
        """One row. Raises KeyError if there is none."""
        for row in self.rows:
            if (row.level, row.group, row.value) == (level, group, value):
                return row
        raise KeyError((level, group, value))

    def unlocated(self) -> int:
        """Number of predicted mentions on the gold pages that were not located in the text."""
        return sum(error.kind == "unlocated" for error in self.errors)


def score(
    gold_pages: Iterable[MarkedPage], predicted_pages: Iterable[MarkedPage], *, samples: int = SAMPLES, seed: int = 0
) -> Scores:
    """Compare the predictions with the gold. A gold page without a predicted page counts as a page without predictions.

    `samples`: number of bootstrap samples, drawn with `seed`. Raises ValueError if a page occurs twice on one side,
    ConfigError if an optional package is missing.
    """
    require_packages()
    gold, predicted = _by_key(gold_pages), _by_key(predicted_pages)
    documents = sorted({page.document for page in gold.values()})
    by_document: dict[str, list[tuple[MarkedPage, MarkedPage]]] = {document: [] for document in documents}
    for key in sorted(gold):
        page = gold[key]
        by_document[page.document].append((page, predicted.get(key) or MarkedPage(*key[:2], page.text, part=page.part)))
    comparison = _Comparison()
    for document, pages in by_document.items():
        comparison.add_mentions(document, pages)
        comparison.add_names(document, pages)
        comparison.add_pages(document, pages)
    others = [page for key, page in predicted.items() if key not in gold and page.mentions]
    return Scores(
        documents=documents,
        pages=len(gold),
        rows=_rows(comparison.tallies, documents, samples, seed),
        errors=comparison.errors,
        not_evaluated=(len(others), sum(len(page.mentions) for page in others)),
        tallies=comparison.tallies,
    )


def _by_key(pages: Iterable[MarkedPage]) -> dict[tuple[str, int, int], MarkedPage]:
    found: dict[tuple[str, int, int], MarkedPage] = {}
    for page in pages:
        if page.key in found:
            raise ValueError(f"Page {page.page} (part {page.part}) of {page.document} occurs twice.")
        found[page.key] = page
    return found


def _rows(tallies: Tallies, documents: Sequence[str], samples: int, seed: int) -> list[Row]:
    measured = estimates(tallies, documents, samples, seed)
    rows = [
        Row(*key, Counts(*map(sum, zip(*per_document.values(), strict=True))), measured[key])
        for key, per_document in tallies.items()
    ]
    # A document alone cannot be resampled.
    for document in documents:
        own = {(level, "document", document): {document: tallies[level, *ALL][document]} for level in LEVELS}
        rows += [Row(*key, own[key][document], values) for key, values in estimates(own, [document]).items()]
    order = {name: place for place, name in enumerate((*LEVELS, "all", *GROUP_FIELDS, "document"))}
    return sorted(rows, key=lambda row: (order[row.group], order[row.level], row.value))


@dataclass(frozen=True)
class _Item:
    """What a level counts: a mention, a name or a page. `hit`: it has a partner on the other side."""

    mentions: Sequence[MarkedName]
    hit: bool


class _Comparison:
    """Collects counts and errors, document by document."""

    def __init__(self) -> None:
        self.tallies: Tallies = {(level, *ALL): {} for level in LEVELS}
        self.errors: list[MentionError] = []

    def add_mentions(self, document: str, pages: Sequence[tuple[MarkedPage, MarkedPage]]) -> None:
        items: dict[str, tuple[list[_Item], list[_Item]]] = {"mention": ([], []), "mention_lenient": ([], [])}
        for gold_page, predicted_page in pages:
            gold, predicted = _located(gold_page), _located(predicted_page)
            for level, (gold_items, predicted_items) in items.items():
                pairs = match_spans(
                    [span for _, span in gold], [span for _, span in predicted], lenient=level == "mention_lenient"
                )
                right = set(pairs.values())
                gold_items += [_Item([one], place in pairs) for place, (one, _) in enumerate(gold)]
                predicted_items += [_Item([one], place in right) for place, (one, _) in enumerate(predicted)]
                if level == "mention":
                    self._add_errors(gold_page, predicted_page, pairs)
        for level, (gold_items, predicted_items) in items.items():
            self._add(level, document, gold_items, predicted_items)

    def add_names(self, document: str, pages: Sequence[tuple[MarkedPage, MarkedPage]]) -> None:
        gold = _distinct_names([(page, mention) for page, _ in pages for mention in page.mentions])
        # The text of the gold page: both sides must see the same definitions of acronyms.
        predicted = _distinct_names([(page, mention) for page, other in pages for mention in other.mentions])
        pairs = best_pairs(
            {
                (row, column): 1.0 if one.keys & other.keys else 0.5
                for row, (one, _) in enumerate(gold)
                for column, (other, mentions) in enumerate(predicted)
                if one.same(other) and any(mention.span for mention in mentions)
            },
            len(gold),
            len(predicted),
        )
        right = set(pairs.values())
        self._add(
            "name",
            document,
            [_Item(mentions, place in pairs) for place, (_, mentions) in enumerate(gold)],
            [_Item(mentions, place in right) for place, (_, mentions) in enumerate(predicted)],
        )

    def add_pages(self, document: str, pages: Sequence[tuple[MarkedPage, MarkedPage]]) -> None:
        located = [[[one for one, _ in _located(page)] for page in pair] for pair in pages]
        self._add(
            "page",
            document,
            [_Item(gold, bool(predicted)) for gold, predicted in located if gold],
            [_Item(predicted, bool(gold)) for gold, predicted in located if predicted],
        )

    def _add(self, level: str, document: str, gold: Sequence[_Item], predicted: Sequence[_Item]) -> None:
        """Add the counts of one document: over all items, and for each value of the fields."""
        self.tallies[level, *ALL][document] = _counts(gold, predicted)
        for name in GROUP_FIELDS:
            values = {value for item in (*gold, *predicted) for value in _values(item, name)}
            for value in values:
                counts = _counts(
                    *([item for item in side if value in _values(item, name)] for side in (gold, predicted))
                )
                self.tallies.setdefault((level, name, value), {})[document] = counts

    def _add_errors(self, gold: MarkedPage, predicted: MarkedPage, pairs: Mapping[int, int]) -> None:
        marked, found = _located(gold), _located(predicted)
        right = set(pairs.values())
        for place, (mention, span) in enumerate(marked):
            if place not in pairs:
                self.errors.append(MentionError("false_negative", gold, mention, _overlapping(span, found)))
        for place, (mention, span) in enumerate(found):
            if place not in right:
                self.errors.append(MentionError("false_positive", gold, mention, _overlapping(span, marked)))
        self.errors += [MentionError("unlocated", gold, one) for one in predicted.mentions if one.span is None]


def _located(page: MarkedPage) -> list[tuple[MarkedName, tuple[int, int]]]:
    """The located mentions, in an order that does not depend on that of the page: of equal pairs, one is chosen."""
    return [(mention, mention.span) for mention in sorted(page.mentions, key=_order) if mention.span]


def _order(mention: MarkedName) -> tuple[tuple[int, int], str, str, str]:
    return mention.span or (-1, -1), mention.name, mention.specificity or "", mention.context or ""


def _counts(gold: Sequence[_Item], predicted: Sequence[_Item]) -> Counts:
    return Counts(len(gold), sum(item.hit for item in gold), len(predicted), sum(item.hit for item in predicted))


def _values(item: _Item, name: str) -> set[str]:
    """The values of a field that the mentions of an item have."""
    return {value for mention in item.mentions if (value := getattr(mention, name))}


def _distinct_names(mentions: Sequence[tuple[MarkedPage, MarkedName]]) -> list[tuple[NameForms, list[MarkedName]]]:
    """The distinct names among mentions: all forms of each, and its mentions. `text` of the pages defines acronyms."""
    ordered = sorted(mentions, key=lambda one: (one[0].page, one[0].part, _order(one[1])))
    forms = [name_forms(mention.name, page.text, mention.span) for page, mention in ordered]
    return [
        (NameForms.union([forms[place] for place in group]), [ordered[place][1] for place in group])
        for group in groups(forms)
    ]


def _overlapping(span: tuple[int, int], others: Sequence[tuple[MarkedName, tuple[int, int]]]) -> tuple[str, ...]:
    return tuple(one.name for one, other in others if jaccard(span, other) > 0)
