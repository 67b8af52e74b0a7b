"""A local server with the Batch API that replays the recorded answers of the demo about the sample papers.

    with replaying() as server:
        ...  # OPENAI_BASE_URL=server.url, OPENAI_API_KEY=server.key

It is the server of the tests, which checks every request against the official specification. The answers are those in
examples/demo/answers/, by the user message. Needs requirements-dev.txt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = ROOT / "examples" / "demo" / "answers"
sys.path.insert(0, str(ROOT / "tests"))

from server import Server  # noqa: E402
from server_answers import completion  # noqa: E402


def replaying() -> Server:
    """The server, for use in a `with` statement."""
    recorded = {row["question"]: content_of(row) for path in sorted(ANSWERS.glob("*.jsonl")) for row in rows(path)}
    parts = [row["question"] for row in rows(ANSWERS / "extraction.jsonl")]

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        question = body["messages"][-1]["content"]
        content = recorded.get(question)
        if content is None:
            # The embedded model was asked about parts of the page. Together they answer the question about all of it.
            asked = [part for part in parts if page_text(part) in question and question.startswith("<page>")]
            mentions = [mention for part in asked for mention in json.loads(recorded[part])["data_mentions"]]
            content = json.dumps({"data_mentions": mentions}) if asked else None
        if content is None:
            message = f"No answer is recorded for this question: {question[:80]}"
            return 400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        return 200, completion(body, content)

    server = Server(polls_to_complete=1)
    server.answer = answer
    return server


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def content_of(row: dict[str, Any]) -> str:
    content: str = row["response"]["body"]["choices"][0]["message"]["content"]
    return content


def page_text(question: str) -> str:
    return question.removeprefix("<page>\n").removesuffix("\n</page>")
