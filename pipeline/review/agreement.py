"""How far two annotators agree: Cohen's kappa for each field, and where they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.labels import FIELDS, MentionLabel, PageLabel

UNMARKED = "not marked"


@dataclass
class Agreement:
    """`other_texts`: pages that the two saw in different versions.

    `pairs`: by field, what the one and the other said of each mention; `disagreements`: a line for each.
    """

    pages: int = 0
    other_texts: int = 0
    pairs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    disagreements: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, int, float, float | None]]:
        """(field, mentions, share that is the same, kappa)."""
        for name, pairs in self.pairs.items():
            same = sum(one == other for one, other in pairs) / len(pairs) if pairs else 0.0
            yield name, len(pairs), same, cohens_kappa(pairs)


def agreement(one: Iterable[PageLabel], other: Iterable[PageLabel]) -> Agreement:
    """Compare two annotators on the pages that both have labelled.

    `valid` is compared for every mention that either has marked; the fields where both take it for one.
    """
    first, second = _newest(one), _newest(other)
    result = Agreement(pairs={name: [] for name in ("valid", *FIELDS)})
    for place in sorted(first.keys() & second.keys()):
        if first[place].text_sha256 != second[place].text_sha256:
            result.other_texts += 1  # offsets in one text say nothing of the other
            continue
        result.pages += 1
        _compare(first[place], second[place], result)
    return result


def _newest(labels: Iterable[PageLabel]) -> dict[tuple[str, int], PageLabel]:
    return {(label.source, label.page): label for label in sorted(labels, key=lambda label: label.time)}


def _compare(one: PageLabel, other: PageLabel, result: Agreement) -> None:
    first = {(mention.start, mention.end): mention for mention in one.mentions}
    second = {(mention.start, mention.end): mention for mention in other.mentions}
    for span in sorted(first.keys() | second.keys()):
        said = first.get(span), second.get(span)
        _note(result, "valid", one, said, (_verdict(said[0]), _verdict(said[1])))
        if said[0] and said[1] and "reject" not in (said[0].decision, said[1].decision):
            for name in FIELDS:
                _note(result, name, one, said, (str(getattr(said[0], name)), str(getattr(said[1], name))))


def _verdict(mention: MentionLabel | None) -> str:
    if mention is None:
        return UNMARKED
    return "invalid" if mention.decision == "reject" else "valid"


def _note(
    result: Agreement, name: str, page: PageLabel, said: Sequence[MentionLabel | None], values: tuple[str, str]
) -> None:
    result.pairs[name].append(values)
    if values[0] != values[1]:
        quote = next(mention.quote for mention in said if mention)
        result.disagreements.append(
            f"{page.source}, page {page.page}, “{' '.join(quote.split())}”: {name} {values[0]} / {values[1]}"
        )


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement beyond chance (Cohen, 1960): 1 is perfect, 0 what chance would give; None where it is undefined."""
    if not pairs:
        return None
    observed = sum(one == other for one, other in pairs) / len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(first[value] * second[value] for value in first) / len(pairs) ** 2
    return None if expected == 1 else (observed - expected) / (1 - expected)
