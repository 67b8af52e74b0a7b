"""The import statements of source files, for test_architecture.py and test_packaging.py."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import ROOT

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Import:
    """One imported module. For `from module import name`, `name` is set.

    `deferred`: it is in a function or under `if TYPE_CHECKING`, so loading the file does not run it.
    """

    path: Path
    line: int
    module: str
    name: str | None
    deferred: bool

    @property
    def package(self) -> str:
        """The first part of the module name."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        what = f"from {self.module} import {self.name}" if self.name else f"import {self.module}"
        return f"{self.path.relative_to(ROOT)}:{self.line}: {what}"


def sources(*folders: str) -> list[Path]:
    """The Python files and notebooks of folders of the project; "." means the scripts in its root."""
    found = []
    for folder in folders:
        pattern = "*" if folder == "." else "**/*"
        found += [path for path in (ROOT / folder).glob(pattern) if path.suffix in (".py", ".ipynb")]
    return sorted(found)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file, or of all code cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
        text = "\n".join("".join(cell["source"]) for cell in cells)
    return ast.parse(text)


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, also those in functions and under `if TYPE_CHECKING`."""
    tree = parse(path)
    deferring = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS) or is_type_checking(node)]
    deferred_nodes = {id(inner) for outer in deferring for inner in ast.walk(outer)}
    for node in ast.walk(tree):
        deferred = id(node) in deferred_nodes
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name, None, deferred)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield Import(path, node.lineno, node.module, alias.name, deferred)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def third_party(paths: list[Path]) -> list[Import]:
    """The imports of packages that are neither in the standard library nor part of the project."""
    own = {"pipeline"} | {path.stem for path in sources(".", "tests", "benchmarks", "examples", "tools", "training")}
    found = (one for path in paths for one in imports_of(path))
    return [one for one in found if one.package not in own | sys.stdlib_module_names]
