"""Run a notebook and save it with its output, without times, so that only what is printed differs between two runs.

python tools/run_notebook.py examples/batch-processing-example.ipynb
"""

# nbformat has no types:
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import sys
from pathlib import Path

import nbclient
import nbformat


def main(path: Path) -> None:
    book = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    resources = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(book, kernel_name="python3", record_timing=False, resources=resources).execute()
    nbformat.write(book, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
