"""Which modules may import which. See the list of layers in LAYERS."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from source_imports import Import, imports_of, parse, sources

from pipeline.config import ROOT

# From the highest to the lowest. Imports go downwards. Modules in the same layer may import each other, but not in
# a circle.
LAYERS = (
    {"cli"},
    {"workflow"},
    {"finetune", "review", "evaluation", "training", "export"},
    {"batches"},
    {"stages"},
    {"providers"},
    {"pdf"},
    {"ledger"},
    {"text", "prefilter"},
    {"store", "selection"},
    {"workspace", "files", "user_files", "config"},
    {"records", "errors", "processes", "clock", "notice", "words", "encoding", "env_file", "network", "pages"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
# Imports between different packages of one layer.
SAME_LAYER = {
    ("pipeline.finetune", "pipeline.review.labels"),
    ("pipeline.evaluation", "pipeline.review.labels"),
    ("pipeline.export", "pipeline.review.labels"),
    ("pipeline.evaluation", "pipeline.review.label_studio"),
}


@cache
def modules() -> dict[str, Path]:
    """The modules of the package, by name."""
    found = {}
    for path in sources("pipeline"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def target(one: Import) -> str:
    """The module that an import loads: for `from pipeline.batches import plan` it is pipeline.batches.plan."""
    submodule = f"{one.module}.{one.name}"
    return submodule if submodule in modules() else one.module


def internal_imports() -> list[tuple[str, str, Import]]:
    """(importing module, imported module, statement) for all imports within the package, but for its __init__.

    `pipeline/__init__.py` offers a few names of lower modules to users, and is no layer.
    """
    return [
        (module, target(one), one)
        for module, path in modules().items()
        if module != "pipeline"
        for one in imports_of(path)
        if one.package == "pipeline"
    ]


def part(module: str) -> str:
    """The package or single module below `pipeline` that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def test_every_module_is_in_a_layer() -> None:
    assert {part(module) for module in modules()} - {"pipeline"} <= RANK.keys()


def test_imports_go_downwards() -> None:
    upwards = [str(one) for module, other, one in internal_imports() if RANK[part(module)] > RANK.get(part(other), -1)]
    assert not upwards, "\n".join(upwards)


def test_packages_of_one_layer_are_independent() -> None:
    """Single modules of one layer may import each other; of the packages, only the pairs in SAME_LAYER may."""
    packages = {part(module) for module in modules() if module.count(".") > 1}
    between = [
        str(one)
        for module, other, one in internal_imports()
        if part(module) != part(other) and {part(module), part(other)} <= packages
        if RANK[part(module)] == RANK[part(other)] and (module.rpartition(".")[0], other) not in SAME_LAYER
    ]
    assert not between, "\n".join(between)


def test_no_circular_imports() -> None:
    graph: dict[str, set[str]] = {module: set() for module in modules()}
    for module, other, _ in internal_imports():
        assert other in graph, f"{module} imports {other}, which does not exist"
        graph[module].add(other)
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "circular import: " + " -> ".join((*path[path.index(module) :], module))
        if module not in finished:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("pymupdf", "pipeline/pdf/"),
        ("fitz", "pipeline/pdf/"),
        ("openai", ("pipeline/providers/openai.py", "pipeline/providers/openai_replies.py")),
        (
            "httpx2",
            (
                "pipeline/providers/openai.py",
                "pipeline/providers/openai_replies.py",
                "pipeline/providers/chat_server.py",
                "pipeline/export/openalex.py",
            ),
        ),
    ],
)
def test_packages_that_few_places_import(package: str, allowed: str | tuple[str, ...]) -> None:
    importing = [one for path in sources("pipeline", ".") for one in imports_of(path) if one.package == package]
    assert importing or package == "fitz"
    outside = [str(one) for one in importing if not one.path.relative_to(ROOT).as_posix().startswith(allowed)]
    assert not outside, "\n".join(outside)


def test_providers_know_nothing_of_stages_and_datasets() -> None:
    wrong = [
        str(one)
        for module, other, one in internal_imports()
        if part(module) == "providers"
        if part(other) == "stages"
        or any(word in (one.name or "") for word in ("Dataset", "Mention", "Passage", "Document"))
    ]
    assert not wrong, "\n".join(wrong)


def test_only_providers_compare_with_the_name_of_a_provider() -> None:
    """Other code asks for properties of the provider, such as `is_free`."""
    compared = []
    for path in sources("pipeline", "."):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Compare | ast.match_case):
                values = [constant.value for constant in constants(node)]
                if "local" in values:
                    compared.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    outside = [one for one in compared if not one.startswith("pipeline/providers/")]
    assert not outside, "\n".join(outside)


def constants(node: ast.Compare | ast.match_case) -> list[ast.Constant]:
    """The constants that a comparison or a case compares with, without those in the body of the case."""
    compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else [node.pattern]
    return [inner for outer in compared for inner in ast.walk(outer) if isinstance(inner, ast.Constant)]


def loaded_modules(code: str, *arguments: str) -> set[str]:
    """The modules that are loaded in a new process after it ran `code`."""
    program = f"{code}\nimport sys\nprint('LOADED', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED ")[2].split())


def test_results_are_read_without_pdfs_and_providers(tmp_path: Path) -> None:
    dataset = {"raw_name": "Korvian Household Survey"}
    passage = {"mentioned_in": "…", "start": 0, "end": 1, "page": 1, "dataset_used": True, "datasets": [dataset]}
    page = {"page": 1, "dataset_used": True, "data_mentions": [passage]}
    (tmp_path / "config.yaml").write_text("OUTPUT_DIR: out")
    (tmp_path / "out" / "reasoning").mkdir(parents=True)
    (tmp_path / "out" / "manifest.jsonl").write_text(json.dumps({"source": "a", "file": "a.pdf", "n_pages": 1}))
    document = {"source": "a", "process": "reasoning", "pages": [page]}
    (tmp_path / "out" / "reasoning" / "a.json").write_text(json.dumps(document))

    code = """
import sys
from pipeline import Workspace, iter_mentions, load_config, load_document
workspace = Workspace(load_config(sys.argv[1]).output_dir)
(mention,) = iter_mentions(workspace)
assert (mention.source, mention.page, mention.dataset.raw_name) == ("a", 1, "Korvian Household Survey")
assert load_document(workspace, "reasoning", "a").pages[0].datasets() == [mention.dataset]
"""
    loaded = loaded_modules(code, str(tmp_path / "config.yaml"))
    assert "pipeline.store" in loaded
    assert not loaded & {"pymupdf", "openai", "pipeline.pdf", "pipeline.providers", "pipeline.batches"}


@pytest.mark.parametrize("script", [path.name for path in sources(".")])
def test_help_is_quick(script: str) -> None:
    code = f"""
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code
"""
    assert not loaded_modules(code) & {"pydantic", "yaml", "pymupdf", "openai"}
