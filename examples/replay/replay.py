"""A local server with the Batch API that replays recorded answers about the sample papers.

    with replaying() as server:
        ...  # OPENAI_BASE_URL=server.url, OPENAI_API_KEY=server.key

It is the server of the tests, which checks every request against the official specification. answers.jsonl holds the
answers of the embedded model, by the SHA-256 of the user message. Needs requirements-dev.txt.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from server import Server  # noqa: E402
from server_answers import completion  # noqa: E402


def replaying() -> Server:
    """The server, for use in a `with` statement."""
    rows = map(json.loads, (HERE / "answers.jsonl").read_text(encoding="utf-8").splitlines())
    recorded = {row["question_sha256"]: row["answer"] for row in rows}

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        question = body["messages"][-1]["content"]
        content = recorded.get(hashlib.sha256(question.encode()).hexdigest())
        if content is None:
            message = f"No answer is recorded for this question: {question[:80]}"
            return 400, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
        return 200, completion(body, content)

    server = Server(polls_to_complete=1)
    server.answer = answer
    return server
