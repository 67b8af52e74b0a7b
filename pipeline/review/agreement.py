"""Agreement between two annotators: Cohen's kappa for each field, and the mentions on which they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.records import DATASET_FIELDS
from pipeline.review.labels import DatasetLabel, PageLabel

VERDICT = "verdict"  # compared besides the fields of a dataset


@dataclass
class Agreement:
    """`pages`: number of pages that were compared. `different_texts`: pages that were labelled on different texts.

    `pairs`: for each field, the values of the first and the second annotator for each mention. `disagreements`: one
    line for each pair that differs.
    """

    pages: int = 0
    different_texts: int = 0
    pairs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, int, float, float | None]]:
        """For each field: its name, the number of mentions, the share with equal values (0 to 1), and kappa."""
        for name, pairs in self.pairs.items():
            same = sum(one == other for one, other in pairs) / len(pairs) if pairs else 0.0
            yield name, len(pairs), same, cohens_kappa(pairs)


def agreement(one: Iterable[PageLabel], other: Iterable[PageLabel]) -> Agreement:
    """Compare two annotators on the pages that both have labelled.

    The verdict is compared for every mention that at least one of them has marked. The other fields are compared for
    mentions that both take as valid, if both have labelled the field.
    """
    first, second = _newest(one), _newest(other)
    result = Agreement(pairs={name: [] for name in (VERDICT, *DATASET_FIELDS)})
    for place in sorted(first.keys() & second.keys()):
        # Offsets in different texts cannot be compared.
        if first[place].text_sha256 != second[place].text_sha256:
            result.different_texts += 1
            continue
        result.pages += 1
        _compare(first[place], second[place], result)
    return result


def _newest(labels: Iterable[PageLabel]) -> dict[tuple[str, int], PageLabel]:
    return {(label.source, label.page): label for label in sorted(labels, key=lambda label: label.time)}


def _compare(one: PageLabel, other: PageLabel, result: Agreement) -> None:
    """Add the pairs and disagreements of one page to `result`."""
    first = {(label.start, label.end): label for label in one.mentions}
    second = {(label.start, label.end): label for label in other.mentions}
    for span in sorted(first.keys() | second.keys()):
        left, right = first.get(span), second.get(span)
        pairs = {VERDICT: (_verdict(left), _verdict(right))}
        if left and right and "reject" not in (left.decision, right.decision):
            # A field that one of them has not labelled has only its default there.
            both = left.labelled_fields().keys() & right.labelled_fields().keys()
            names = [name for name in DATASET_FIELDS if name in both]
            pairs |= {name: (str(getattr(left, name)), str(getattr(right, name))) for name in names}
        quote = " ".join(next(label.quote for label in (left, right) if label).split())
        for name, values in pairs.items():
            result.pairs[name].append(values)
            if values[0] != values[1]:
                values_by = f"{values[0]} ({one.annotator}), {values[1]} ({other.annotator})"
                result.disagreements.append(f"{one.source}, page {one.page}, “{quote}”, {name}: {values_by}")


def _verdict(label: DatasetLabel | None) -> str:
    if label is None:
        return "not marked"
    return "invalid" if label.decision == "reject" else "valid"


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance (Cohen, 1960, doi:10.1177/001316446002000104).

    1 is perfect agreement, 0 is what chance would give. None where it is undefined: without pairs, or if both
    annotators always gave the same value.
    """
    if not pairs:
        return None
    observed = sum(one == other for one, other in pairs) / len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(first[value] * second[value] for value in first) / len(pairs) ** 2
    return None if expected == 1 else (observed - expected) / (1 - expected)
