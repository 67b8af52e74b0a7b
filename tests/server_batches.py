"""The batches of the test server, and the rows and files of their results."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from server_spec import Json

ENDED = ("completed", "failed", "expired", "cancelled")
DAY, MONTH = 86_400, 30 * 86_400  # seconds

Rows = dict[str, list[Json]]  # by the name of the file: output, error


@dataclass
class Batch:
    """What the API shows of a batch (`info`), and what only the server knows."""

    info: Json
    lines: list[tuple[str, Json]]
    problems: list[Json]
    keep_results: int = MONTH
    polls: int = 0


def row_id() -> str:
    return f"batch_req_{uuid.uuid4().hex}"


def unfinished(custom_id: str, status: str) -> Json:
    error = {"code": f"batch_{status}", "message": f"This request was not run before the batch was {status}."}
    return {"id": row_id(), "custom_id": custom_id, "response": None, "error": error}


def batch_info(batch_id: str, wish: Json) -> Json:
    """A batch object that has just been created."""
    now = int(time.time())
    times = [f"{status}_at" for status in (*ENDED, "in_progress", "finalizing", "cancelling")]
    return {
        "id": batch_id,
        "object": "batch",
        **{key: wish.get(key) for key in ("input_file_id", "endpoint", "completion_window", "metadata")},
        "status": "validating",
        "created_at": now,
        "expires_at": now + DAY,
        **dict.fromkeys([*times, "errors", "output_file_id", "error_file_id", "usage", "model"]),
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    }


def set_status(batch: Batch, status: str) -> None:
    """Give a batch its next status. A completed batch also gets the times of the statuses that it skipped."""
    for name in ("in_progress", "finalizing", status) if status == "completed" else (status,):
        batch.info[f"{name}_at"] = batch.info[f"{name}_at"] or int(time.time())
    batch.info["status"] = status
    batch.info["model"] = batch.lines[0][1]["model"] if batch.lines else None
    batch.info["request_counts"]["total"] = len(batch.lines)


def batch_usage(usages: list[Json]) -> Json:
    """The tokens of all answers, under the names that batches use."""

    def total(name: str, details: str | None = None) -> int:
        return sum((usage.get(details) or {} if details else usage).get(name, 0) for usage in usages)

    return {
        "input_tokens": total("prompt_tokens"),
        "input_tokens_details": {"cached_tokens": total("cached_tokens", "prompt_tokens_details")},
        "output_tokens": total("completion_tokens"),
        "output_tokens_details": {"reasoning_tokens": total("reasoning_tokens", "completion_tokens_details")},
        "total_tokens": total("total_tokens"),
    }


def input_tokens(lines: Iterable[tuple[str, Json]]) -> int:
    """Input tokens of the requests, with four characters per token."""
    messages = [message for _, body in lines for message in body.get("messages", ())]
    return sum(len(str(message.get("content"))) for message in messages) // 4


def token_limit_error(model: str, limit: int) -> Json:
    message = (
        f"Enqueued token limit reached for {model} in organization org-test. Limit: {limit} enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
    return {"code": "token_limit_exceeded", "message": message, "line": None, "param": None}


def write_files(batch: Batch, rows: Rows) -> dict[str, bytes]:
    """The result files by name. A file without rows does not exist."""
    return {name: json_lines(those) for name, those in rows.items() if those}


def json_lines(rows: Iterable[Json]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
