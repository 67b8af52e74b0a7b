"""Evaluate the stages of a run, and compare two runs on the same gold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.errors import InputError, StageOrderError
from pipeline.evaluation.gold import Gold
from pipeline.evaluation.measures import MEASURES, SAMPLES, Estimate, count_table, interval, measure, resampled
from pipeline.evaluation.placement import Placement, place, require_pages
from pipeline.evaluation.predictions import Predictions, predictions
from pipeline.evaluation.scoring import ALL, LEVELS, Scores, score
from pipeline.processes import PROCESSES
from pipeline.records import SPECIFICITIES
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class StageResult:
    """A stage of the pipeline, compared with the gold."""

    process: str
    predictions: Predictions
    scores: Scores


@dataclass(frozen=True)
class Evaluation:
    """All stages of a run that have answers, in order. `process`: the stage that is shown in detail."""

    folder: Path
    gold: Sequence[Gold]
    placement: Placement
    process: str
    stages: list[StageResult]
    samples: int
    seed: int
    min_specificity: str

    @property
    def processes(self) -> list[str]:
        """The stages that have answers."""
        return [stage.process for stage in self.stages]

    @property
    def chosen(self) -> StageResult:
        """The stage that is shown in detail."""
        return next(stage for stage in self.stages if stage.process == self.process)


@dataclass(frozen=True)
class Comparison:
    """Two runs on the gold pages that both have.

    `differences`: for each level the F1 of `second` minus that of `first`, with the paired bootstrap interval.
    `only_one`: number of gold pages that only one of the runs has; they are left out.
    """

    first: Evaluation
    second: Evaluation
    differences: dict[str, Estimate] = field(default_factory=dict)
    only_one: int = 0


@dataclass(frozen=True)
class GoldLabels:
    """What a run is compared with. `labels`: replace the pages of `gold` that they mark as complete.

    `min_specificity`: vaguer mentions are left out on both sides.
    """

    gold: Gold | None = None
    labels: Gold | None = None
    documents_map: Mapping[str, str] = field(default_factory=dict)
    min_specificity: str = SPECIFICITIES[-1]

    @property
    def files(self) -> list[Gold]:
        return [one for one in (self.gold, self.labels) if one]


def evaluate_run(
    workspace: Workspace, labels: GoldLabels, process: str | None = None, *, samples: int = SAMPLES, seed: int = 0
) -> Evaluation:
    """Evaluate every stage that has answers. `process`: the stage shown in detail (default: the last one).

    Raises InputError if no gold page belongs to a document of the workspace, StageOrderError if there are no answers,
    WorkspaceError, ConfigError.
    """
    return _evaluate(workspace, labels, _placed(workspace, labels), process, samples, seed)


def compare_runs(
    first: Workspace,
    second: Workspace,
    labels: GoldLabels,
    process: str | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Evaluate two runs on the gold pages that both have, and the difference of their F1. Raises as `evaluate_run`."""
    placements = [_placed(workspace, labels) for workspace in (first, second)]
    keys = [{page.key for page in placement.pages} for placement in placements]
    for placement in placements:
        placement.pages = [page for page in placement.pages if page.key in keys[0] & keys[1]]
    if not keys[0] & keys[1]:
        raise InputError(
            f"{first.root} and {second.root} have no gold page in common: check that both hold its papers."
        )
    one, other = (
        _evaluate(workspace, labels, placement, process, samples, seed)
        for workspace, placement in zip((first, second), placements, strict=True)
    )
    # The stages that are compared must be the same, although one run may have got further.
    both = [name for name in PROCESSES if name in one.processes and name in other.processes]
    if not both:
        raise StageOrderError(
            f"{first.root} and {second.root} have answers of different stages, so they cannot be compared."
        )
    one, other = (replace(evaluation, process=process or both[-1]) for evaluation in (one, other))
    differences = _differences(one.chosen.scores, other.chosen.scores, samples, seed)
    return Comparison(one, other, differences, len(keys[0] ^ keys[1]))


def _placed(workspace: Workspace, labels: GoldLabels) -> Placement:
    """The gold in the texts of the workspace, with pages of the labels instead of the same pages of the gold."""
    result = Placement()
    for gold in labels.files:
        placed = place(gold.pages, workspace, labels.documents_map)
        replaced = {(page.document, page.page) for page in placed.pages}
        result.pages = [page for page in result.pages if (page.document, page.page) not in replaced] + placed.pages
        result.unmatched |= placed.unmatched
        result.unplaced += placed.unplaced
        result.relocated += placed.relocated
        result.digests |= placed.digests
    result.pages = [page.with_specificity(labels.min_specificity) for page in result.pages]
    require_pages(result, workspace)
    return result


def _evaluate(
    workspace: Workspace, labels: GoldLabels, placement: Placement, process: str | None, samples: int, seed: int
) -> Evaluation:
    stages = []
    for one in PROCESSES:
        found = predictions(workspace, one, placement.pages, placement.digests)
        if found is not None:
            found.pages = [page.with_specificity(labels.min_specificity) for page in found.pages]
            stages.append(StageResult(one, found, score(placement.pages, found.pages, samples=samples, seed=seed)))
    answered = [stage.process for stage in stages]
    if not answered or (process and process not in answered):
        missing = process or PROCESSES[0]
        raise StageOrderError(
            f"{workspace.root} has no answers of {missing} yet: run `python run_batch.py --process all` first."
        )
    shown = process or answered[-1]
    return Evaluation(workspace.root, labels.files, placement, shown, stages, samples, seed, labels.min_specificity)


def _differences(first: Scores, second: Scores, samples: int, seed: int) -> dict[str, Estimate]:
    """F1 of the second minus F1 of the first on each level. Both see the same documents in every bootstrap sample."""
    import numpy

    tallies = {
        (side, level): scores.tallies[level, *ALL] for side, scores in enumerate((first, second)) for level in LEVELS
    }
    table = count_table(tallies, first.documents)
    f1 = MEASURES.index("f1")

    def difference(sums: numpy.ndarray) -> numpy.ndarray:
        scores = measure(sums)[..., f1]
        return scores[..., len(LEVELS) :] - scores[..., : len(LEVELS)]

    values = difference(table.sum(axis=0))
    if len(first.documents) > 1:
        drawn = numpy.concatenate([difference(sums) for sums in resampled(table, samples, seed)])
        lows, highs = interval(drawn)
    else:
        lows = highs = numpy.full_like(values, numpy.nan)
    return {level: Estimate.of(*row) for level, *row in zip(LEVELS, values, lows, highs, strict=True)}
