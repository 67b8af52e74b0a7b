"""A bar plot of one level as inline SVG: the measures of each stage, with their intervals as whiskers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from pipeline.evaluation.measures import MEASURES, Estimate

WIDTH, HEIGHT = 420, 200  # units of the SVG
LEFT, BOTTOM, TOP = 32, 22, 10  # margins
GAP = 0.25  # of the width of a group, between groups
CAP = 4  # half the width of the end of a whisker


def bar_plot(groups: Mapping[str, Mapping[str, Estimate]], description: str) -> str:
    """The SVG. `groups`: the measures by label, from 0 to 1. An undefined measure has no bar."""
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">', *_grid()]
    width = (WIDTH - LEFT) / max(1, len(groups))
    bar = width * (1 - GAP) / len(MEASURES)
    for place, (label, measures) in enumerate(groups.items()):
        start = LEFT + place * width + width * GAP / 2
        for number, name in enumerate(MEASURES):
            parts += _bar(name, measures[name], start + number * bar, bar * 0.86)
        middle = LEFT + (place + 0.5) * width
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(label)}</text>')
    return "".join([*parts, "</svg>"])


def _y(value: float) -> float:
    return TOP + (1 - value) * (HEIGHT - BOTTOM - TOP)


def _grid() -> Iterator[str]:
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'


def _bar(name: str, estimate: Estimate, x: float, width: float) -> Iterator[str]:
    if estimate.value is None:
        return
    top, bottom = _y(estimate.value), _y(0)
    yield f'<rect class="{name}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"/>'
    if estimate.low is not None and estimate.high is not None:
        middle, low, high = x + width / 2, _y(estimate.low), _y(estimate.high)
        ends = "".join(f"M{middle - CAP:.1f} {end:.1f}h{2 * CAP}" for end in (low, high))
        yield f'<path class="whisker" fill="none" d="M{middle:.1f} {low:.1f}V{high:.1f}{ends}"/>'
