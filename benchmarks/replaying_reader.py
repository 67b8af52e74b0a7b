"""The worker process that repeats what a real one sent. benchmarks/planning.py runs it.

The folder of these messages is in the environment variable REPLAYED_REPLIES. A paper named 3@7.pdf is the copy number 7
of 3.jsonl. The number of the copy is added to each page, because equal pages would be one question.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipeline.pdf.worker_messages import ReadRequest

TEXT = b'"text":"'  # where the number is added, in each message about a page


def main() -> int:
    folder = Path(os.environ["REPLAYED_REPLIES"])
    replies = {path.stem: path.read_bytes() for path in folder.glob("*.jsonl")}
    out = sys.stdout.buffer
    out.write(b"{}\n")  # it has started
    out.flush()
    for line in sys.stdin.buffer:
        name, _, copy = Path(ReadRequest.model_validate_json(line).file).stem.partition("@")
        out.write(replies[name].replace(TEXT, TEXT + copy.encode() + b" "))
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
