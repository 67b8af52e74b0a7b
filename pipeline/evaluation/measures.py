"""Precision, recall, F1 and F0.5 with bootstrap intervals.

Counts of a document are four numbers: gold items, gold items that were found, predicted items, and predicted items that
are right. If all items are compared, found and right are equal. In a breakdown by a field they can differ, because gold
items are grouped by the value in the gold, predicted ones by the predicted value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

MEASURES = ("precision", "recall", "f1", "f05")
SAMPLES = 2000  # of the bootstrap
COVERAGE = 0.95  # of an interval
MAX_CELLS = 5_000_000  # of the matrix of resampled documents that is held in memory at a time
Key = TypeVar("Key")


class Counts(NamedTuple):
    """See the description of the module."""

    gold: int = 0
    found: int = 0
    predicted: int = 0
    right: int = 0


@dataclass(frozen=True)
class Estimate:
    """A measure from 0 to 1, and its interval. None: undefined, or no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, *numbers: float) -> Estimate:
        """NaN becomes None. Digits that depend on the order of additions are cut off."""
        return cls(*(None if number != number else round(float(number), 6) for number in numbers))


def estimates(
    counts: Mapping[Key, Mapping[str, Counts]], documents: Sequence[str], samples: int = SAMPLES, seed: int = 0
) -> dict[Key, dict[str, Estimate]]:
    """For each key the four measures over all documents, with percentile bootstrap intervals.

    `counts`: by key and document; a document without an entry has no items. Documents are resampled, because the pages
    of a document are alike. With fewer than two documents there is no interval.
    """
    import numpy

    keys = list(counts)
    table = count_table(counts, documents)
    values = measure(table.sum(axis=0))
    if len(documents) < 2:
        lows = highs = numpy.full_like(values, numpy.nan)
    else:
        drawn = numpy.concatenate([measure(sums) for sums in resampled(table, samples, seed)])
        lows, highs = interval(drawn)
    return {
        key: {
            name: Estimate.of(values[row, column], lows[row, column], highs[row, column])
            for column, name in enumerate(MEASURES)
        }
        for row, key in enumerate(keys)
    }


def count_table(counts: Mapping[Key, Mapping[str, Counts]], documents: Sequence[str]) -> Array:
    """The counts as an array of shape (documents, keys, 4)."""
    import numpy

    rows = [[per_document.get(document, Counts()) for per_document in counts.values()] for document in documents]
    return numpy.array(rows, dtype=float).reshape(len(documents), len(counts), 4)


def resampled(table: Array, samples: int, seed: int) -> Iterator[Array]:
    """Sums over documents that were drawn with replacement, in arrays of shape (samples, keys, 4).

    All keys see the same documents in a sample, so that their measures can be compared sample by sample.
    """
    import numpy

    random, size = numpy.random.default_rng(seed), len(table)
    flat = table.reshape(size, -1)
    step = max(1, MAX_CELLS // max(flat.shape))
    for start in range(0, samples, step):
        count = min(step, samples - start)
        weights = random.multinomial(size, [1 / size] * size, size=count)
        yield (weights @ flat).reshape(count, *table.shape[1:])


def measure(counts: Array) -> Array:
    """Precision, recall, F1 and F0.5 of counts in the last axis. NaN where a measure is undefined.

    Precision is undefined without predicted items; recall, F1 and F0.5 without gold items. With gold items but without
    predicted ones, F1 and F0.5 are 0.
    """
    import numpy

    gold, found, predicted, right = numpy.moveaxis(counts, -1, 0)
    with numpy.errstate(invalid="ignore", divide="ignore"):
        precision = right / predicted
        recall = found / gold
        known = numpy.nan_to_num(precision)
        results = [precision, recall]
        for beta in (1.0, 0.5):
            score = (1 + beta**2) * known * recall / (beta**2 * known + recall)
            # 0 divided by 0: nothing was found. Without gold, the recall is undefined and so is the score.
            results.append(numpy.where(gold == 0, numpy.nan, numpy.nan_to_num(score)))
    return numpy.stack(results, axis=-1)


def interval(drawn: Array) -> tuple[Array, Array]:
    """The ends of the central 95 % along the first axis, without undefined values."""
    import numpy

    tail = 100 * (1 - COVERAGE) / 2
    undefined = numpy.isnan(drawn).all(axis=0)
    # A column of nothing but NaN would cause a warning.
    low, high = numpy.nanpercentile(numpy.where(undefined, 0.0, drawn), (tail, 100 - tail), axis=0)
    return numpy.where(undefined, numpy.nan, low), numpy.where(undefined, numpy.nan, high)
