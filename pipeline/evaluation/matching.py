"""One-to-one matching of spans with the Hungarian method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import numpy

MIN_JACCARD = 0.5  # of two spans that count as the same mention
Interval = tuple[int, int]


def require_packages() -> None:
    """Raises ConfigError if the optional packages of the evaluation are not installed."""
    try:
        import numpy  # noqa: F401
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"The evaluation needs the package {error.name}: run `pip install -r requirements-evaluation.txt` first."
        ) from None


def jaccard(one: Interval, other: Interval) -> float:
    """Characters that two spans share, divided by the characters that at least one of them covers."""
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    union = (one[1] - one[0]) + (other[1] - other[0]) - shared
    return shared / union if union else float(one == other)


def contains(one: Interval, other: Interval) -> bool:
    """Whether one of two spans holds the other."""
    return (one[0] <= other[0] and other[1] <= one[1]) or (other[0] <= one[0] and one[1] <= other[1])


def match_spans(gold: Sequence[Interval], predicted: Sequence[Interval], lenient: bool = False) -> dict[int, int]:
    """Pairs of one gold and one predicted span, as indexes; each span is in one pair at most.

    A pair needs a Jaccard index of MIN_JACCARD. With `lenient`, it is enough that one span holds the other.
    """
    similarities = {}
    for row, one in enumerate(gold):
        for column, other in enumerate(predicted):
            similarity = jaccard(one, other)
            if similarity >= MIN_JACCARD or (lenient and contains(one, other)):
                similarities[row, column] = similarity
    return best_pairs(similarities, len(gold), len(predicted))


def best_pairs(weights: Mapping[tuple[int, int], float], rows: int, columns: int) -> dict[int, int]:
    """As many one-to-one pairs as possible among the keys of `weights`, then those with the largest sum of weights.

    `weights`: from 0 to 1, for each (row, column) that may be a pair. Returns the column of each row that has one.
    """
    if not weights:
        return {}
    import numpy
    from scipy.optimize import linear_sum_assignment

    # Each pair is worth more than all weights together, so the number of pairs comes first.
    pair_value = min(rows, columns) + 1
    gains: numpy.ndarray[Any, Any] = numpy.zeros((rows, columns))
    for place, weight in weights.items():
        gains[place] = pair_value + weight
    found = zip(*linear_sum_assignment(gains, maximize=True), strict=True)
    return {int(row): int(column) for row, column in found if (row, column) in weights}
