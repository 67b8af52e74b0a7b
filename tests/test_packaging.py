"""The requirements files name what the code imports, and the package builds from them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from source_imports import Import, sources, third_party

from pipeline.config import ROOT

# Packages whose import name is not their own name.
IMPORT_NAMES = {
    "pyyaml": "yaml", "python-dotenv": "dotenv", "pymupdf-lite": "pymupdf", "dask": "distributed",
    "scikit-learn": "sklearn",
}  # fmt: skip
# Packages that no file imports, and what they are for.
NOT_IMPORTED = {
    "accelerate": "transformers.Trainer needs it",
    "ipykernel": "runs the notebooks",
    "llmock": "a command that tests/test_providers.py starts",
    "mypy": "a command of make check",
    "pytest-xdist": "an option of pytest in make test",
    "ruff": "a command of make check",
    "setuptools": "builds the package below",
}
# Packages that come with another one whose versions must agree with them.
COMES_WITH = {
    "IPython": "ipykernel",
    "tokenizers": "transformers",
    "safetensors": "transformers",
    "unsloth": "installed as its own instructions say, on a GPU",
}

BASE = "requirements.txt"
EXTRAS = {
    name: f"requirements-{name}.txt"
    for name in ("plots", "cluster", "local", "training", "evaluation", "prefilter", "export")
}
# Those that the commands use; the others are for notebooks and training scripts.
COMMAND_EXTRAS = ("plots", "cluster", "local", "evaluation", "prefilter", "export")
DEV = "requirements-dev.txt"


def requirements(file: str) -> dict[str, set[str]]:
    """The packages of a requirements file, by normalized name, with their version limits."""
    found = {}
    for line in (ROOT / file).read_text().splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement and not requirement.startswith("-r"):
            name, limits = split_requirement(requirement)
            found[name] = limits
    return found


def split_requirement(requirement: str) -> tuple[str, set[str]]:
    matched = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?\s*(.*)", requirement)
    assert matched, requirement
    return re.sub(r"[-_.]+", "-", matched[1]).lower(), {limit.strip() for limit in matched[2].split(",") if limit}


def import_names(*files: str) -> set[str]:
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for file in files for name in requirements(file)}


def listed(imports: list[Import]) -> str:
    return "\n".join(map(str, imports))


def test_the_commands_need_only_the_base_requirements() -> None:
    """Everything that is imported when a module is loaded is in requirements.txt. Extras are imported on first use.

    train_adapter.py checks that the packages of pipeline/training are there before it loads that folder.
    """
    base, optional = import_names(BASE), import_names(*(EXTRAS[name] for name in COMMAND_EXTRAS))
    missing = [
        one
        for one in third_party(sources("pipeline", "."))
        if one.package not in base
        and not (one.deferred and one.package in optional)
        and one.path.parent.name != "training"
    ]
    assert not missing, listed(missing)


def test_everything_else_is_declared_too() -> None:
    known = import_names(BASE, DEV, *EXTRAS.values()) | COMES_WITH.keys()
    imports = third_party(sources("tests", "benchmarks", "examples", "tools", "training", "pipeline/training"))
    missing = [one for one in imports if one.package not in known]
    assert not missing, listed(missing)


@pytest.mark.parametrize(
    ("file", "folders"),
    [
        (BASE, ["pipeline", "."]),
        *((EXTRAS[name], ["pipeline", "."]) for name in COMMAND_EXTRAS),
        (EXTRAS["training"], ["examples", "training", "pipeline/training"]),
        (DEV, ["tests", "benchmarks", "examples", "tools"]),
    ],
)
def test_every_declared_package_is_used(file: str, folders: list[str]) -> None:
    imported = {one.package for one in third_party(sources(*folders))}
    # pytest.importorskip("name") imports too, and so does what looks a package up.
    texts = (path.read_text() for path in sources(*folders))
    imported |= {name for text in texts for name in re.findall(r'(?:importorskip|find_spec)\("(\w+)', text)}
    unused = {
        name
        for name in requirements(file).keys() - NOT_IMPORTED.keys()
        if IMPORT_NAMES.get(name, name.replace("-", "_")) not in imported
        if not name.startswith("types-")  # stubs for mypy
    }
    # The project's specification lists pytest among the base requirements.
    assert unused == ({"pytest"} if file == BASE else set())


def test_every_extra_can_be_installed_alone() -> None:
    """setuptools reads plain requirement lines only; requirements-dev.txt is not an extra, and includes the others."""
    for file in (BASE, *EXTRAS.values()):
        assert "-r " not in "".join(line for line in (ROOT / file).read_text().splitlines() if line[:1] != "#"), file
    included = re.findall(r"^-r (\S+)$", (ROOT / DEV).read_text(), re.MULTILINE)
    assert included == [BASE, EXTRAS["cluster"], EXTRAS["plots"], EXTRAS["evaluation"], EXTRAS["export"]]


def test_documented_installations_include_the_base_requirements() -> None:
    """The extras do not include requirements.txt, so a command that installs only an extra is not enough."""
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.ipynb")]
    commands = [
        command for path in documents for command in re.findall(r"pip install (-r [^`#\n\\]+)", path.read_text())
    ]
    assert commands
    incomplete = [command for command in commands if BASE not in command.split() and DEV not in command.split()]
    assert not incomplete


def test_one_python_version_is_the_oldest_everywhere() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    oldest = settings["project"]["requires-python"].removeprefix(">=")
    assert settings["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert f"versions=({oldest})" in (ROOT / ".ci" / "run").read_text()
    assert f"Python {oldest} or later" in (ROOT / BASE).read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from a copy of its sources, because building writes into their folder."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("requirements*.txt"), ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE"):
        shutil.copy(path, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--wheel-dir", folder / "dist", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").iterdir()
    return built


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_package_declares_what_the_files_say(wheel: Path) -> None:
    declared: dict[str, dict[str, set[str]]] = {file: {} for file in (BASE, *EXTRAS.values())}
    for line in metadata(wheel).get_all("Requires-Dist", []):
        requirement, _, marker = line.partition(";")
        extra = re.search(r'extra == "(\w+)"', marker)
        name, limits = split_requirement(requirement.strip())
        declared[EXTRAS[extra[1]] if extra else BASE][name] = limits
    assert declared == {file: requirements(file) for file in declared}


def test_the_package_holds_every_file_of_the_library(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packaged = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "installed")
    files = (path for path in (ROOT / "pipeline").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert packaged == {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".md"}

    code = "import pipeline, pipeline.store; print(pipeline.__file__); from pipeline import iter_mentions, load_config"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path / "installed"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)
