"""The worker process that reads papers. The pool starts it as `python -m pipeline.pdf.worker MEGABYTES`.

A library that parses untrusted files can loop forever, use all memory or crash. So it runs in this process, which has a
memory limit and is killed when the time limit of a paper is over. Requests arrive on standard input, and messages leave
on standard output.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.pdf.extract import OpenPaper, UnreadableError
from pipeline.pdf.worker_messages import HAS_ALARM, ReadRequest, WorkerMessage
from pipeline.records import Page
from pipeline.text.language import decide_languages
from pipeline.text.tokens import count_tokens

PageReader = Callable[[OpenPaper, int], Iterator[Page]]


def main(read_pages: PageReader = OpenPaper.pages) -> int:
    """Answer requests until standard input is closed. `read_pages` returns the pages from a given number on."""
    # Only our messages may reach the parent, so anything that a library prints is discarded.
    with os.fdopen(os.dup(1), "wb") as channel:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent, which ends this process
        _limit_memory(int(sys.argv[1]))
        count_tokens("")  # loads the tokenizer, before the time limit of a paper runs
        _send(channel, WorkerMessage())
        for line in sys.stdin.buffer:
            request = ReadRequest.model_validate_json(line)
            _set_alarm(request.seconds)
            for message in replies(request, read_pages):
                if message.done:
                    _set_alarm(0)  # before sending, so that it cannot go off during the next paper
                elif message.page and message.page.ocr:
                    _set_alarm(request.seconds)  # OCR takes seconds for each page, so the limit is for one page
                _send(channel, message)
    return 0


def replies(request: ReadRequest, read_pages: PageReader = OpenPaper.pages) -> Iterator[WorkerMessage]:
    """The messages about a paper, the last of which has `done`."""
    file = Path(request.file)
    try:
        if request.first_page == 1:
            sha256 = _sha256(file)
            yield WorkerMessage(sha256=sha256)
            if sha256 == request.known_sha256:
                yield WorkerMessage(done=True)
                return
        with OpenPaper(file, request.password, request.ocr) as paper:
            yield WorkerMessage(n_pages=paper.n_pages, title=paper.title, year=paper.year, remark=paper.remark)
            pages = []
            for page in read_pages(paper, request.first_page):
                yield WorkerMessage(page=page)
                pages.append(page)
        decide_languages(pages)
        languages = [page.language for page in pages] if request.first_page == 1 else None
        yield WorkerMessage(done=True, languages=languages)
    except UnreadableError as problem:
        yield WorkerMessage(done=True, problem=str(problem))
    except OSError as error:
        yield WorkerMessage(
            done=True, problem=f"it cannot be opened ({error.strerror or error}): check its permissions"
        )
    except MemoryError:
        yield WorkerMessage(done=True, out_of_memory=True)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _send(channel: BinaryIO, message: WorkerMessage) -> None:
    channel.write(message.model_dump_json(exclude_defaults=True).encode() + b"\n")
    channel.flush()


def _limit_memory(megabytes: int) -> None:
    if sys.platform == "linux":
        import resource

        wanted, (_, hard_limit) = megabytes << 20, resource.getrlimit(resource.RLIMIT_AS)
        limit = wanted if hard_limit == resource.RLIM_INFINITY else min(wanted, hard_limit)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard_limit))


def _set_alarm(seconds: float) -> None:
    """End this process after `seconds` (0: never), even inside a loop of the library or after the parent has died."""
    if HAS_ALARM:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    sys.exit(main())
