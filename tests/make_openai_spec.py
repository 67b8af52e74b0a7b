"""Extract from the official OpenAI specification what `server.py` checks requests against.

    python tests/make_openai_spec.py openai-batch-spec.yaml          # writes tests/openai_spec.json

Kept are the paths of files, batches and chat completions, all schemas that they refer to, and the two row types of
batch files. Prose and examples are dropped: they are most of the bytes and change most often.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ORIGIN = "Derived from the official OpenAI OpenAPI specification, MIT licensed"
PATHS = ("/files", "/batches", "/chat/completions")
ROWS = ("BatchRequestInput", "BatchRequestOutput")  # no path refers to them: they are lines of files
MEDIA = ("application/json", "multipart/form-data")
PROSE = {"description", "example", "examples", "summary", "title", "tags", "operationId", "externalDocs"}
NAMED = {"properties", "schemas", "responses"}  # their keys are names, so a property called "title" is kept
REF = "#/components/schemas/"


def facts(node: Any, names: bool = False) -> Any:
    """`node` without prose, and with OpenAPI's `nullable` as JSON Schema. `names`: its keys are names."""
    if isinstance(node, list):
        return [facts(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: facts(value, not names and key in NAMED) for key, value in node.items() if names or _is_fact(key)}
    if not names and kept.pop("nullable", False) is True:
        return {"anyOf": [kept, {"type": "null"}]}
    return kept


def _is_fact(key: str) -> bool:
    return key not in PROSE and not key.startswith("x-")


def refs(node: Any) -> Iterator[str]:
    """The names of the schemas that `node` refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(REF)
        for value in node.values():
            yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


def operation(found: dict[str, Any]) -> dict[str, Any]:
    """One operation: its parameters, its request body and its JSON responses."""
    kept: dict[str, Any] = {key: found[key] for key in ("parameters", "requestBody") if key in found}
    kept["responses"] = {
        status: {"content": {media: response["content"][media] for media in MEDIA if media in response["content"]}}
        for status, response in found["responses"].items()
        if "content" in response
    }
    return kept


def extract(spec: dict[str, Any]) -> dict[str, Any]:
    """The part of the specification that is kept, in a stable order."""
    paths = {
        path: {method: facts(operation(found)) for method, found in methods.items()}
        for path, methods in spec["paths"].items()
        if path.startswith(PATHS)
    }
    schemas: dict[str, Any] = {}
    wanted = [*ROWS, *refs(paths)]
    while wanted:
        name = wanted.pop()
        if name not in schemas:
            schemas[name] = facts(spec["components"]["schemas"][name])
            wanted += refs(schemas[name])
    info = spec["info"]
    origin = f"{ORIGIN}. {info['title']}. {info.get('x-source', '')}"
    head = {"x-origin": " ".join(origin.split()), "openapi": spec["openapi"]}
    return {**head, "paths": paths, "components": {"schemas": dict(sorted(schemas.items()))}}


def main(argv: list[str] | None = None) -> int:
    """Write the extract beside this file, or to `--out`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path, help="the OpenAPI document, YAML")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("openai_spec.json"))
    options = parser.parse_args(argv)
    spec = yaml.safe_load(options.spec.read_text(encoding="utf-8"))
    options.out.write_text(json.dumps(extract(spec), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
