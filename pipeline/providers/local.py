"""The same batches, answered on this machine: by the embedded model, or by a chat server at LOCAL_BASE_URL.

A batch is a request file and a result file that grows line by line, so an interrupted run continues where it stopped.
The request that was being answered is answered again, which costs nothing but time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from pipeline.clock import SYSTEM_CLOCK, Clock
from pipeline.config import Config
from pipeline.errors import ProviderError, RequestError, UnknownBatchError
from pipeline.providers.base import BatchInfo, BatchProvider, Prompt, PromptStyle
from pipeline.providers.openai_format import BUDGETS, ChatRequests, outcome_of
from pipeline.records import Outcome, storable
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.providers.adapters import Adapter


MAX_FAILURES = 3  # requests in a row without a usable reply; then something is wrong with more than these pages


@dataclass(frozen=True)
class AnswerLimits:
    """A small model repeats one item until the token limit unless the schema limits lists and texts (characters)."""

    max_items: int = 8
    max_text: int = 300


Complete = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class LocalRequests(ChatRequests):
    """Chat requests whose schema limits the length of lists and texts."""

    def __init__(self, prompt: Prompt, model: str, endpoint: str, params: dict[str, Any], limits: AnswerLimits) -> None:
        super().__init__(prompt, model, endpoint, params)
        self.answer_format = _bounded(self.answer_format, limits)

    def body(self, content: str, expects: int, larger_budget: bool = False) -> dict[str, Any]:
        """A small model gives as many verdicts as the example in the prompt has, unless the schema forbids it."""
        body = super().body(content, expects, larger_budget)
        form = body["response_format"]
        if expects and form is self.answer_format:  # REQUEST_PARAMS may contain another one
            schema = _with_length(form["json_schema"]["schema"], expects)
            body["response_format"] = form | {"json_schema": form["json_schema"] | {"schema": schema}}
        return body


class LocalProvider(BatchProvider):
    """Batch ids are `local-<process>-<number of the request file>`."""

    kind = "local"
    is_free = True
    has_queue = False
    answers_here = True

    def __init__(self, config: Config, workspace: Workspace, clock: Clock = SYSTEM_CLOCK) -> None:
        self.base_url = config.local_base_url or "embedded"
        self._config, self._workspace, self._clock = config, workspace, clock

    def check_ready(self) -> None:
        """The package must be there before half a gigabyte of weights is fetched, which is done when they are used."""
        if not self._config.local_base_url:
            from pipeline.providers.embedded import require_package

            require_package()

    def prompt_style(self, process: str) -> PromptStyle:
        """An adapter is asked as it was trained: with its own prompt, about parts of a page. Others want examples."""
        adapter = self._adapter(process)
        if adapter is None:
            return PromptStyle(process, with_examples=True)
        return PromptStyle(adapter.card.prompt, page_tokens=adapter.card.page_tokens)

    def request_format(self, prompt: Prompt) -> LocalRequests:
        """The embedded model is named by the hashes of its files, so that two models never have the same name."""
        model, limits = self._config.local_model_for(prompt.process), AnswerLimits()
        params: dict[str, Any] = {"temperature": 0, "max_tokens": self._config.local_max_tokens}
        if self._config.local_base_url:
            added = self._config.params_for(model)
            if any(name in added for name in BUDGETS):  # one limit: servers refuse two
                del params["max_tokens"]
            params |= added
        else:
            from pipeline.providers.weights import find_weights

            model = find_weights(self._config, prompt.process).sha256
            adapter = self._adapter(prompt.process)
            if adapter:
                model = f"{model}+{adapter.sha256}"
                limits = AnswerLimits(adapter.card.max_items, adapter.card.max_text)
                params |= adapter.card.params
        return LocalRequests(prompt, model, self._config.batch_endpoint, params, limits)

    def model_name(self, process: str, model: str) -> str:
        """As in LOCAL_MODEL: the embedded model is identified by hashes, which say nothing to a person."""
        if self._config.local_base_url:
            return model
        name, adapter = Path(self._config.local_model_for(process)).name, self._adapter(process)
        return f"{name} with the adapter {adapter.path.name}" if adapter else name

    def _adapter(self, process: str) -> Adapter | None:
        if self._config.local_base_url:
            return None
        from pipeline.providers.adapters import find_adapter
        from pipeline.providers.weights import find_weights

        return find_adapter(self._config, process, find_weights(self._config, process).sha256)

    def read_row(self, row: Mapping[str, Any]) -> tuple[object, Outcome]:
        return row.get("custom_id"), outcome_of(row)

    def probe(self, body: dict[str, Any]) -> str | None:
        """Raises ProviderError if the server at LOCAL_BASE_URL refuses every request, not only one with this page."""
        if not self._config.local_base_url:
            return None
        from pipeline.providers.chat_server import without_page

        small = body | {name: 1 for name in BUDGETS if name in body}
        with self._completer("") as complete:
            try:
                refusal = self._refusal(*complete(small))
                if refusal and self._refusal(*complete(without_page(body))):
                    raise ProviderError(refusal)
            except RequestError as error:
                refusal = str(error)
        return refusal

    def _refusal(self, status: int, reply: dict[str, Any]) -> str | None:
        """Why a server has refused a request, and what to check. None if it has not, or only for now."""
        if status != 501 and (not 400 <= status < 500 or status in (408, 409, 429)):
            return None
        settings = "LOCAL_MODEL and REQUEST_PARAMS"
        if status in (404, 405):
            settings = "LOCAL_MODEL, and LOCAL_BASE_URL, which usually ends in /v1"
        said = json.dumps(reply.get("error", reply), ensure_ascii=False)[:300]
        return f"{self.base_url} refused the request: check {settings}. It replied: {storable(said)}"

    def upload(self, path: Path) -> str:
        return path.relative_to(self._workspace.root).as_posix()

    def create(self, file_id: str, metadata: dict[str, str]) -> BatchInfo:
        return self.find(file_id)

    def find(self, file_id: str) -> BatchInfo:
        return self.status(_batch_id(Path(file_id)))

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
        """End a batch that no command is answering. Raises ProviderError if one is."""
        requests, partial, output = self._files(batch_id)
        with _held(partial, f"{batch_id} is being answered on this machine: stop that run_batch.py with Ctrl-C."):
            info = self.status(batch_id)
            if info.ended:
                return info
            answered = _answered(partial)
            with partial.open("ab") as file:
                for custom_id in map(_custom_id, _lines(requests)):
                    if custom_id not in answered:
                        error = {
                            "code": "batch_cancelled",
                            "message": "the batch was cancelled before this was answered",
                        }
                        file.write(_line({"custom_id": custom_id, "response": None, "error": error}))
            partial.replace(output)
        return replace(self.status(batch_id), status="cancelled")

    def list(self) -> Iterator[BatchInfo]:
        for requests in sorted((self._workspace.root / "batches").glob("*/part-*.jsonl"), reverse=True):
            if any(requests.parent.glob(f"{_batch_id(requests)}.*")):
                yield self.status(_batch_id(requests))

    def size(self, file_id: str) -> int:
        raise UnknownBatchError(f"{file_id} exists only on this machine.")

    def delete(self, file_id: str) -> None:
        """Nothing is stored elsewhere."""

    def download(self, file_id: str, path: Path) -> None:
        """The answers are already where they are looked for."""

    def work(self, batch_id: str) -> None:
        """Answer what has no answer yet. Raises ProviderError if the model is missing or does not respond."""
        requests, partial, output = self._files(batch_id)
        if output.exists():
            return
        with _held(partial, f"{batch_id} is being answered by another command: wait until it ends."):
            self._answer(requests, partial)
            partial.replace(output)

    def _answer(self, requests: Path, partial: Path) -> None:
        answered = _answered(partial)
        waiting = [line for line in _lines(requests) if _custom_id(line) not in answered]
        if not waiting:
            partial.touch()
            return
        title = f"Answering {requests.parent.name} on this machine"
        with (
            self._completer(requests.parent.name) as complete,
            partial.open("ab") as file,
            tqdm(
                total=len(waiting) + len(answered), initial=len(answered), desc=title, unit=" requests", disable=None
            ) as bar,
        ):
            started, tokens = self._clock.monotonic(), 0
            for row in _rows(waiting, complete, self._config.local_concurrency):
                file.write(_line(row))
                file.flush()
                tokens += outcome_of(row).completion_tokens
                rate = tokens / max(self._clock.monotonic() - started, 1e-6)
                bar.set_postfix_str(f"{rate:.0f} tokens/s", refresh=False)
                bar.update()

    @contextmanager
    def _completer(self, process: str) -> Iterator[Complete]:
        if self._config.local_base_url:
            from pipeline.providers.chat_server import chat_completer

            key = self._config.local_api_key
            with chat_completer(
                self._config.local_base_url, key.get_secret_value() if key else None, self._clock
            ) as complete:
                yield complete
            return
        from pipeline.providers.embedded import EmbeddedModel
        from pipeline.providers.weights import fetch_weights

        adapter = self._adapter(process)
        yield EmbeddedModel(fetch_weights(self._config, process), adapter.path if adapter else None).complete

    def _files(self, batch_id: str) -> tuple[Path, Path, Path]:
        """(requests, result file that grows, complete result file)."""
        _, process, number = [*batch_id.split("-"), "", ""][:3]
        requests = self._workspace.request_file(process, int(number) if number.isdigit() else 0)
        if not requests.exists():
            raise ProviderError(f"{requests}, the request file of batch {batch_id}, is missing: restore it.")
        output = self._workspace.results(process, batch_id, "output")
        return requests, self._workspace.results(process, batch_id, "partial"), output


def _batch_id(requests: Path) -> str:
    """The id of the batch of a request file `…/<process>/part-<number>.jsonl`."""
    return f"local-{requests.parent.name}-{int(requests.stem.removeprefix('part-'))}"


def _rows(lines: list[bytes], complete: Complete, concurrency: int) -> Iterator[dict[str, Any]]:
    """Answer the requests, in their order, in the format of a result file.

    A request without a usable reply gets an error. Raises ProviderError if several in a row get none.
    """

    def row(line: bytes) -> tuple[dict[str, Any], RequestError | None]:
        request = json.loads(line)
        made = {"id": request["custom_id"], "custom_id": request["custom_id"], "response": None, "error": None}
        try:
            status, body = complete(request["body"])
            answered = made | {"response": {"status_code": status, "body": body}}
            _line(answered), outcome_of(answered)
            return answered, None
        except RecursionError:
            return made | {"error": {"code": "no_reply", "message": "the reply is nested too deeply"}}, None
        except RequestError as problem:
            return made | {"error": {"code": "no_reply", "message": str(problem)}}, problem

    def usable(rows: Iterable[tuple[dict[str, Any], RequestError | None]]) -> Iterator[dict[str, Any]]:
        failures = 0
        for made, problem in rows:
            failures = failures + 1 if problem else 0
            if problem and failures == MAX_FAILURES:
                raise problem
            yield made

    if concurrency == 1:
        yield from usable(map(row, lines))
        return
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            yield from usable(pool.map(row, lines))
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _held(partial: Path, otherwise: str) -> Iterator[None]:
    """The right to write a result file. Raises ProviderError with the text `otherwise` if another command has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(partial.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ProviderError(otherwise) from None
    try:
        yield
    finally:
        lock.release()
    partial.with_suffix(".lock").unlink(missing_ok=True)


def _line(row: Mapping[str, Any]) -> bytes:
    """A line of a result file."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _custom_id(line: bytes) -> str:
    custom_id: str = json.loads(line)["custom_id"]
    return custom_id


def _answered(partial: Path) -> set[str]:
    """The custom ids that have an answer. An incomplete last line, left by a crash, is removed."""
    if not partial.exists():
        return set()
    content = partial.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    if len(kept) < len(content):
        os.truncate(partial, len(kept))
    return set(map(_custom_id, kept.splitlines()))


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from file


def _with_length(schema: dict[str, Any], length: int) -> dict[str, Any]:
    """The schema with exactly `length` items in each list at its top level."""
    lists = {name: part for name, part in schema["properties"].items() if part.get("type") == "array"}
    fixed = {name: part | {"minItems": length, "maxItems": length} for name, part in lists.items()}
    return schema | {"properties": schema["properties"] | fixed}


def _bounded(node: Any, limits: AnswerLimits) -> Any:
    """The schema with a limit for every list and text that has none."""
    if isinstance(node, list):
        return [_bounded(item, limits) for item in node]
    if not isinstance(node, dict):
        return node
    bounds: dict[str, Any] = {}
    if node.get("type") == "array":
        bounds = {"maxItems": limits.max_items}
    elif "string" in node.get("type", ()) and "enum" not in node and "const" not in node:  # also ["string", "null"]
        bounds = {"maxLength": limits.max_text}
    return {key: _bounded(value, limits) for key, value in node.items()} | bounds
