"""Measure how long, how complex and how well documented the functions of a source tree are.

    python tools/style.py pipeline *.py
    python tools/style.py --list pipeline *.py

The paths are Python files, or folders that are searched for them.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

COMPLEX = 10  # cyclomatic complexity above which a function is counted as complex
SHORT = 6  # lines up to which a private helper that is used once is counted

BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case,
)  # fmt: skip

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """A function or method. `lines` counts from its `def` to its last line, its docstring included.

    `uses` is how often its own file names it.
    """

    path: Path
    name: str
    line: int
    lines: int
    typed: bool
    documented: bool
    complexity: int
    uses: int

    @property
    def is_one_use_helper(self) -> bool:
        """Whether it is private, short and used once, so that it could be part of its only caller."""
        private = self.name.startswith("_") and not self.name.startswith("__")
        return private and self.lines <= SHORT and self.uses == 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.name}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the length and the complexity of functions.")
    parser.add_argument("paths", nargs="+", type=Path, help="Python files and folders")
    parser.add_argument("--list", action="store_true", help="also list the complex functions and the one-use helpers")
    arguments = parser.parse_args(argv)

    files = list(python_files(arguments.paths))
    sources = [file.read_text(encoding="utf-8") for file in files]
    functions = [one for file, source in zip(files, sources, strict=True) for one in functions_of(file, source)]
    if not functions:
        parser.error("there are no functions in these paths")
    complex_functions = sorted((one for one in functions if one.complexity > COMPLEX), key=lambda one: -one.complexity)
    helpers = [one for one in functions if one.is_one_use_helper]

    lengths = [one.lines for one in functions]
    rows = {
        "files / lines": f"{len(files)} / {sum(len(source.splitlines()) for source in sources):,}",
        "functions": f"{len(functions)}",
        "function length, median / p90": f"{statistics.median(lengths):g} / {percentile_90(lengths)}",
        "fully typed / with docstring": f"{share(one.typed for one in functions)} / "
        f"{share(one.documented for one in functions)}",
        "comment lines": f"{comment_share(sources):.1%}",
        "mean complexity": f"{statistics.mean(one.complexity for one in functions):.1f}",
        f"functions with complexity over {COMPLEX}": f"{len(complex_functions)}",
        f"private helpers of <= {SHORT} lines used once": f"{len(helpers)}",
    }
    for label, value in rows.items():
        print(f"{label:<40} {value}")
    if arguments.list:
        print(f"\nFunctions with complexity over {COMPLEX}:")
        for one in complex_functions:
            print(f"  {one.complexity:>3}  {one}")
        print(f"\nPrivate helpers of <= {SHORT} lines used once:")
        for one in helpers:
            print(f"  {one.lines:>3}  {one}")
    return 0


def python_files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def functions_of(path: Path, source: str) -> Iterator[Function]:
    """Every function of a file, nested ones and methods included."""
    tree = ast.parse(source)
    names = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    names.update(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            yield Function(
                path=path,
                name=node.name,
                line=node.lineno,
                lines=(node.end_lineno or node.lineno) - node.lineno + 1,
                typed=is_typed(node),
                documented=ast.get_docstring(node) is not None,
                complexity=complexity(node),
                uses=names[node.name],
            )


def is_typed(function: FunctionNode) -> bool:
    """Whether the result and all parameters but self and cls have annotations."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    named = [one for one in parameters if one is not None and one.arg not in ("self", "cls")]
    return function.returns is not None and all(one.annotation is not None for one in named)


def complexity(function: FunctionNode) -> int:
    """Cyclomatic complexity: 1 + branches, loops, handlers, comprehensions with their conditions, `and` and `or`.

    Differs from radon only in functions with `assert`, which is not counted here.
    """
    nodes = list(ast.walk(function))
    return (
        1
        + sum(isinstance(node, BRANCHES) for node in nodes)
        + sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
        + sum(len(node.ifs) for node in nodes if isinstance(node, ast.comprehension))
    )


def comment_share(sources: Iterable[str]) -> float:
    """Lines that hold nothing but a comment, as a share of all lines that are not blank."""
    comments = lines = 0
    for source in sources:
        lines += sum(bool(line.strip()) for line in source.splitlines())
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments += sum(token.type == tokenize.COMMENT and token.line.lstrip().startswith("#") for token in tokens)
    return comments / lines


def percentile_90(values: list[int]) -> int:
    return sorted(values)[int(0.9 * len(values))]


def share(flags: Iterable[bool]) -> str:
    return f"{statistics.mean(flags):.0%}"


if __name__ == "__main__":
    sys.exit(main())
