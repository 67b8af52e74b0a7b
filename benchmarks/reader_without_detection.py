"""The worker process without the detection of languages and page kinds. benchmarks/reading.py runs it."""

from __future__ import annotations

import sys

from pipeline.pdf import worker

if __name__ == "__main__":
    sys.exit(worker.main(lambda paper, first: paper.pages(first, classify=False)))
