"""The same batches, answered on this machine: by the embedded model, or by any chat server at LOCAL_BASE_URL.

A batch is a file of requests and a file of answers that grows line by line, so an interrupted run goes on where it
stopped. Work that was under way is done again: it costs nothing but time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.config import Config
from pipeline.errors import ProviderError, UnknownBatchError
from pipeline.providers.base import BatchInfo
from pipeline.workspace import Workspace

# A small model repeats one item until the token limit unless it is told when to stop.
MOST_ITEMS = 8
LONGEST_TEXT = 300

Complete = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class LocalProvider:
    """Batch ids are `local-<process>-<number of the shard>`."""

    kind = "local"

    def __init__(self, config: Config, workspace: Workspace) -> None:
        self.base_url = config.local_base_url or "embedded"
        self._config = config
        self._workspace = workspace

    def ready(self) -> None:
        """Weights are fetched when they are needed."""

    def body(self, process: str, response_format: dict[str, Any]) -> dict[str, Any]:
        """The embedded model is named by the hash of its weights, so no two models are ever taken for one."""
        if self._config.local_base_url:
            model = self._config.local_model
        else:
            from pipeline.providers.weights import find_weights

            model = find_weights(self._config).sha256
        params = {"temperature": 0, "max_tokens": self._config.local_max_tokens}
        return {"model": model, "response_format": _bounded(response_format), **params}

    def fitted(self, body: dict[str, Any], expects: int) -> dict[str, Any]:
        """A small model gives as many verdicts as its example has, unless it cannot."""
        if not expects:
            return body
        form = body["response_format"]
        schema = _exactly(form["json_schema"]["schema"], expects)
        return body | {"response_format": form | {"json_schema": form["json_schema"] | {"schema": schema}}}

    def probe(self, body: dict[str, Any]) -> None:
        """Raises ProviderError where the server at LOCAL_BASE_URL refuses a small request."""
        if self._config.local_base_url:
            status, answer = self._complete()(body | {"max_tokens": 1})
            if 400 <= status < 500 and status != 429:
                said = json.dumps(answer.get("error", answer))[:300]
                raise ProviderError(f"{self.base_url} refused the request: check LOCAL_MODEL. It said: {said}")

    def upload(self, path: Path) -> str:
        return path.relative_to(self._workspace.root).as_posix()

    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        return self.status(f"local-{metadata['process']}-{metadata['shard']}")

    def find(self, file_id: str) -> BatchInfo | None:
        path = Path(file_id)
        return self.status(f"local-{path.parent.name}-{int(path.stem.removeprefix('part-'))}")

    def status(self, batch_id: str) -> BatchInfo:
        requests, partial, output = self._files(batch_id)
        total = sum(1 for _ in _lines(requests))
        done = sum(1 for _ in _lines(output if output.exists() else partial))
        status = "completed" if output.exists() else "in_progress"
        return BatchInfo(
            batch_id, status, created=int(requests.stat().st_mtime), total=total, done=done, failed=0,
            input_file_id=requests.relative_to(self._workspace.root).as_posix(),
            output_file_id=batch_id if output.exists() else None,
        )  # fmt: skip

    def cancel(self, batch_id: str) -> BatchInfo:
        """Raises ProviderError: a batch that is answered here is stopped by stopping the command."""
        raise ProviderError(f"{batch_id} is answered on this machine: stop the run_batch.py that does it with Ctrl-C.")

    def size(self, file_id: str) -> int:
        raise UnknownBatchError(f"{file_id} is kept nowhere else.")

    def delete(self, file_id: str) -> None:
        """Nothing is kept elsewhere."""

    def list(self) -> Iterator[BatchInfo]:
        for requests in sorted((self._workspace.root / "batches").glob("*/part-*.jsonl"), reverse=True):
            if any(requests.parent.glob(f"local-{requests.parent.name}-{_number(requests)}.*")):
                yield self.status(f"local-{requests.parent.name}-{_number(requests)}")

    def download(self, file_id: str, path: Path) -> None:
        """The answers are written where they are looked for."""

    def work(self, batch_id: str) -> None:
        """Answer what is unanswered. Raises ProviderError where the model cannot be had or does not answer."""
        requests, partial, output = self._files(batch_id)
        if output.exists():
            return
        from filelock import FileLock, Timeout

        try:
            with FileLock(partial.with_suffix(".lock"), timeout=0):
                self._work(requests, partial)
                partial.replace(output)
        except Timeout:
            raise ProviderError(f"{batch_id} is being answered by another command: wait for it to end.") from None
        partial.with_suffix(".lock").unlink(missing_ok=True)

    def _work(self, requests: Path, partial: Path) -> None:
        answered = _answered(partial)
        waiting = [line for line in _lines(requests) if json.loads(line)["custom_id"] not in answered]
        title = f"Answering {requests.parent.name} on this machine"
        complete = self._complete() if waiting else None
        with (
            partial.open("ab") as file,
            tqdm(total=len(waiting) + len(answered), initial=len(answered), desc=title) as bar,
        ):
            meter = _Meter(bar)
            for row in _rows(waiting, complete, self._config.local_concurrency):
                file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
                file.flush()
                meter.add(row)

    def _complete(self) -> Complete:
        if self._config.local_base_url:
            from pipeline.providers.openai import chat_completer

            return chat_completer(self._config.local_base_url)
        from pipeline.providers.embedded import EmbeddedModel
        from pipeline.providers.weights import fetch_weights

        return EmbeddedModel(fetch_weights(self._config)).complete

    def _files(self, batch_id: str) -> tuple[Path, Path, Path]:
        """(requests, growing answers, finished answers)."""
        _, process, number = [*batch_id.split("-"), "", ""][:3]
        requests = self._workspace.shard(process, int(number) if number.isdigit() else 0)
        if not requests.exists():
            raise ProviderError(f"{requests}, which batch {batch_id} should answer, is gone: restore it.")
        output = self._workspace.results(process, batch_id, "output")
        return requests, self._workspace.results(process, batch_id, "partial"), output


class _Meter:
    """Shows the tokens per second of this run beside the bar."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self._bar, self._start, self._tokens = bar, time.monotonic(), 0

    def add(self, row: dict[str, Any]) -> None:
        usage = row["response"]["body"].get("usage") or {}
        self._tokens += usage.get("completion_tokens") or 0
        self._bar.set_postfix_str(f"{self._tokens / (time.monotonic() - self._start):.0f} tokens/s", refresh=False)
        self._bar.update()


def _rows(lines: list[bytes], complete: Complete | None, concurrency: int) -> Iterator[dict[str, Any]]:
    """The answers, in the shape of a result file, in the order of the requests."""
    if complete is None:
        return

    def row(line: bytes) -> dict[str, Any]:
        request = json.loads(line)
        status, body = complete(request["body"])
        response = {"status_code": status, "body": body}
        return {"id": request["custom_id"], "custom_id": request["custom_id"], "response": response, "error": None}

    if concurrency == 1:
        yield from map(row, lines)
        return
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            yield from pool.map(row, lines)
        finally:
            pool.shutdown(cancel_futures=True)


def _answered(partial: Path) -> set[str]:
    """The custom ids that have an answer; half a line, left by a crash, is cut off."""
    if not partial.exists():
        return set()
    whole = partial.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if len(kept) < len(whole):
        os.truncate(partial, len(kept))
    return {json.loads(line)["custom_id"] for line in kept.splitlines()}


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from file


def _number(requests: Path) -> int:
    return int(requests.stem.removeprefix("part-"))


def _exactly(schema: dict[str, Any], rows: int) -> dict[str, Any]:
    """The schema with `rows` items in each list at its top."""
    lists = {name: part for name, part in schema["properties"].items() if part.get("type") == "array"}
    fitted = {name: part | {"minItems": rows, "maxItems": rows} for name, part in lists.items()}
    return schema | {"properties": schema["properties"] | fitted}


def _bounded(node: Any) -> Any:
    """The schema with an end to every list and text that has none of its own."""
    if isinstance(node, list):
        return [_bounded(item) for item in node]
    if not isinstance(node, dict):
        return node
    bounds: dict[str, Any] = {}
    if node.get("type") == "array":
        bounds = {"maxItems": MOST_ITEMS}
    elif "string" in node.get("type", ()) and "enum" not in node and "const" not in node:  # also ["string", "null"]
        bounds = {"maxLength": LONGEST_TEXT}
    return {key: _bounded(value) for key, value in node.items()} | bounds
