"""The reader process as it would be if it recognised neither languages nor kinds of pages."""

from __future__ import annotations

import sys

from pipeline.documents import read, reader

if __name__ == "__main__":
    read.guess_language = lambda text: None
    read.PageKinds.kind = lambda self, text: None  # type: ignore[method-assign]
    sys.exit(reader.main())
