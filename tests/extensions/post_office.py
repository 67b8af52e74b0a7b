"""A provider whose format has nothing in common with OpenAI's: letters are put into a folder, and replies come back.

It answers from the page, with a pattern. No chat messages, no `response_format`, no `choices`, no HTTP.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.clock import Clock
from pipeline.config import Config
from pipeline.errors import UnknownBatchError
from pipeline.providers.base import BatchInfo, BatchProvider, Prompt, RequestFormat
from pipeline.records import Outcome
from pipeline.workspace import Workspace

NAME = re.compile(r"(?:[A-Z]\w+ )+(?:Survey|Census|Panel)")
NO_FIELDS = dict.fromkeys(("harmonized_name", "acronym", "producer", "year", "data_type", "geography"))
CLASSES = {"context": "primary", "specificity": "properly_named"}


class Letters(RequestFormat):
    """{"custom_id": …, "letter": {"about": stage, "text": …}}."""

    def __init__(self, prompt: Prompt) -> None:
        self.model, self.endpoint, self.params, self.output_limit = "the postmaster", "letterbox", {}, None
        self.answer_format = {"form": prompt.schema_name}
        self._prompt = prompt

    def body(self, content: str, expects: int, larger_budget: bool = False) -> dict[str, Any]:
        return {"about": self._prompt.process, "greeting": self._prompt.system, "text": content, "rows": expects}

    def line(self, custom_id: str, content: str, expects: int, larger_budget: bool = False) -> bytes:
        letter = self.body(content, expects, larger_budget)
        return json.dumps({"custom_id": custom_id, "letter": letter}).encode() + b"\n"


class PostOffice(BatchProvider):
    """Every letter is answered by return of post."""

    kind = "post_office"
    is_free = True
    has_queue = False

    def __init__(self, config: Config, workspace: Workspace, clock: Clock) -> None:
        self.base_url = "by post"
        self._folder = config.folder / "post"

    def request_format(self, prompt: Prompt) -> Letters:
        return Letters(prompt)

    def read_row(self, row: Mapping[str, Any]) -> tuple[object, Outcome]:
        return row.get("in reply to"), Outcome("ok", content=row.get("reply"), prompt_tokens=7, completion_tokens=5)

    def check_ready(self) -> None:
        self._folder.mkdir(exist_ok=True)

    def probe(self, body: dict[str, Any]) -> str | None:
        return None

    def upload(self, path: Path) -> str:
        name = f"{path.parent.name}-{path.name}"
        shutil.copy(path, self._folder / name)
        return name

    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        rows = [json.loads(line) for line in (self._folder / file_id).read_text().splitlines()]
        replies = [{"in reply to": row["custom_id"], "reply": json.dumps(reply(row["letter"]))} for row in rows]
        (self._folder / f"{file_id}.replies").write_text("".join(json.dumps(one) + "\n" for one in replies))
        return self.status(f"bag-{file_id}")

    def find(self, file_id: str) -> BatchInfo | None:
        return self.status(f"bag-{file_id}") if (self._folder / f"{file_id}.replies").exists() else None

    def status(self, batch_id: str) -> BatchInfo:
        file_id = batch_id.removeprefix("bag-")
        if not (self._folder / f"{file_id}.replies").exists():
            raise UnknownBatchError(f"The post office does not know {batch_id}.")
        return BatchInfo(batch_id, "completed", input_file_id=file_id, output_file_id=f"{file_id}.replies")

    def cancel(self, batch_id: str) -> BatchInfo:
        return self.status(batch_id)

    def list(self) -> Iterator[BatchInfo]:
        for file in sorted(self._folder.glob("*.replies")):
            yield self.status(f"bag-{file.name.removesuffix('.replies')}")

    def size(self, file_id: str) -> int:
        return (self._folder / file_id).stat().st_size

    def delete(self, file_id: str) -> None:
        (self._folder / file_id).unlink()

    def download(self, file_id: str, path: Path) -> None:
        shutil.copy(self._folder / file_id, path)


def reply(letter: Mapping[str, Any]) -> dict[str, Any]:
    """What the postmaster writes back."""
    if letter["about"] == "extraction":
        found = [match[0] for match in NAME.finditer(letter["text"])]
        dataset = [{"raw_name": name, **NO_FIELDS, **CLASSES, "relevance": "directly_relevant"} for name in found]
        mentions = [{"datasets": [one], "mentioned_in": one["raw_name"]} for one in dataset]
        return {"data_mentions": mentions}
    verdict = {"valid": True, "reason": "It is named.", **CLASSES}
    numbers = range(1, letter["rows"] + 1)
    if letter["about"] == "judge":
        return {"verdicts": [{"number": number, **verdict, "note": None, "corrections": []} for number in numbers]}
    argued = {"analysis": "It is named.", "devils_advocate": "It might be a report.", **verdict}
    return {"strategy": "Read.", "rubric": "Named.", "verdicts": [{"number": number, **argued} for number in numbers]}
