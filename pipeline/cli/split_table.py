"""The table of `generate_finetune_data.py`."""

from __future__ import annotations

from collections.abc import Mapping

from tabulate import tabulate

from pipeline.cli.output import Output


def print_splits(output: Output, counts: Mapping[str, Mapping[str, int]]) -> None:
    """A line for each split, and what was counted in it."""
    output.report["splits"] = counts
    headers = ("split", *(name.replace("_", " ") for name in next(iter(counts.values()))))
    rows = [(split, *(f"{number:,}" for number in numbers.values())) for split, numbers in counts.items()]
    alignment = ("left", *("right" for _ in headers[1:]))
    output.note(tabulate(rows, headers, tablefmt="plain", disable_numparse=True, colalign=alignment))
