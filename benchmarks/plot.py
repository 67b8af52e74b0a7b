"""Draw the tables of docs/speed.md as bar charts in docs/speed.png. Needs requirements-plots.txt.

    python benchmarks/plot.py

The values are read from docs/speed.md, so that the picture and the tables cannot differ.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

DOCS = Path(__file__).resolve().parents[1] / "docs"
OURS, BASELINE = "#2a6f97", "#c9c9c9"


def rows(marker: str) -> list[tuple[str, float, float]]:
    """(label, our value, baseline), both per second, for each row of the table under `<!-- marker -->` in speed.md."""
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {marker} -->\s*(.*?)\n\n", text, re.DOTALL)
    assert found, f"docs/speed.md has no table under <!-- {marker} -->"
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()[2:]]
    return [(cells[0], number(cells[1]), number(cells[2])) for cells in table]


def number(cell: str) -> float:
    """The number in a cell such as `1,056`."""
    return float(re.sub(r"[^\d.]", "", cell))


def draw(axes: Axes, title: str, unit: str, bars: list[tuple[str, float, float]]) -> None:
    """Draw two horizontal bars for each row: our value and the baseline."""
    places = range(len(bars))
    axes.barh([place - 0.2 for place in places], [bar[1] for bar in bars], 0.36, color=OURS, label="this program")
    axes.barh([place + 0.2 for place in places], [bar[2] for bar in bars], 0.36, color=BASELINE, label="baseline")
    for place, (_, ours, baseline) in zip(places, bars, strict=True):
        axes.text(ours, place - 0.2, f" {ours:,.0f}", va="center", fontsize=8)
        axes.text(baseline, place + 0.2, f" {baseline:,.0f}", va="center", fontsize=8, color="#666666")
    axes.set_yticks(list(places), [fill(bar[0], 30) for bar in bars], fontsize=9)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(unit, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.14)


def main() -> None:
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 5.2), height_ratios=(4, 3), layout="constrained")
    draw(above, "PDFs to request files (baseline: a bare PyMuPDF loop)", "pages per second", rows("reading"))
    draw(below, "Answers to document files (baseline: the aim)", "answers per second", rows("merging"))
    below.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(DOCS / "speed.png", dpi=150)


if __name__ == "__main__":
    main()
