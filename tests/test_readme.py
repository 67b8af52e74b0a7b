"""README.md and docs/: the commands work, and every file, option, setting and link that they name exists."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from conftest import COMMANDS, Project
from server import Server

from pipeline.config import ROOT, SECRETS, environment_keys
from pipeline.network import CERTIFICATE_VARIABLES, PROXY_VARIABLES
from pipeline.processes import PROCESSES
from pipeline.providers import PROVIDER_CLASSES
from pipeline.records import OutcomeKind

README = (ROOT / "README.md").read_text()
BATCHES = (ROOT / "docs" / "batches.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "papers" / "README.md"]
ALL = "\n".join(path.read_text() for path in DOCUMENTS)
PAGE = "We use the Korvian Household Survey (KHS) here."
# Files that the program writes. docs/architecture.md names them, but they are not in the repository.
OUTPUT_FILES = {
    "manifest.jsonl",
    "ledger.sqlite",
    "text/reports/a.json",
    "reasoning/reports/a.json",
    "labels.jsonl",
    "finetune/train.jsonl",
    "train.sources.jsonl",
}


def code_block(marker: str, text: str = README) -> str:
    """The code block that follows `marker`."""
    found = re.search(rf"{re.escape(marker)}\s*```\w*\n(.*?)```", text, re.DOTALL)
    assert found, marker
    return found[1]


def without_numbers(printed: str) -> str:
    return re.sub(r"\d[\d.,]*", "N", printed)


def heading_anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_commands_of_the_readme_run_in_order(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", PAGE)
    for line in code_block("<!-- commands -->").splitlines():
        project.run(line.removeprefix("python "), expect=4 if "batch_status" in line else 0)  # 4: answers are ready
    assert project.document("reasoning", "a")["page_status"] == {"1": "answered"}
    assert (project.output / "finetune" / "train.jsonl").exists()


def test_python_code_of_the_readme_runs(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    code = code_block("From a notebook in this folder:") + "\nprint(list_batches(client)[0]['id'], ids[0])"
    environment = os.environ | {"OUTPUT_DIR": str(project.output)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed, recorded = done.stdout.split()
    assert listed == recorded


def test_python_code_of_the_architecture_runs(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process all")
    code = code_block("Reading results needs none of the upper packages:", ARCHITECTURE)
    environment = os.environ | {"OUTPUT_DIR": str(project.output)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a 1 ") and "Korvian Household Survey" in done.stdout


def test_quoted_dry_run_has_the_wording_of_the_program(project: Project) -> None:
    """Only the numbers differ. Two papers are needed, because the quotation has plural forms."""
    project.paper("a.pdf", PAGE)
    project.paper("b.pdf", "We use the Orvale Census of 2014.")
    quoted = code_block("```sh\npython run_batch.py --process extraction --dry-run\n```", BATCHES)
    printed = project.run("run_batch.py --process extraction --dry-run").splitlines(keepends=True)
    own_settings = [line for line in printed if line.startswith("Settings that override config.yaml")]
    assert without_numbers("".join(printed[len(own_settings) :])) == without_numbers(quoted)


def test_files_of_the_readme_exist() -> None:
    for script in re.findall(r"python ((?:\w+/)*\w+\.py)", ALL):
        assert (ROOT / script).is_file(), script
    for line in code_block("## Files").splitlines():
        folder = ROOT / "pipeline" if line.startswith(" ") else ROOT
        names = line.strip().partition("  ")[0].split()
        assert names and all((folder / name).exists() for name in names), line
    for name in re.findall(r"`((?:examples|prompts|docs|benchmarks|tests)/[\w./-]+)`", ALL):
        assert (ROOT / name).exists() or (ROOT / "pipeline" / name).exists(), name
    for name in re.findall(r"requirements[\w-]*\.txt", ALL):
        assert (ROOT / name).is_file(), name


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"(?:^|`|\()make ([\w-]+)", ALL, re.MULTILINE)
    assert {"demo", "test", "test-slow"} <= set(targets)
    assert all(f"\n{target}:" in makefile for target in targets)


def test_file_tree_of_the_readme_is_complete() -> None:
    """Every script and every package is listed."""
    tree = code_block("## Files")
    for script in COMMANDS:
        assert re.search(rf"^{re.escape(script)}  ", tree, re.MULTILINE), script
    for package in (ROOT / "pipeline").glob("*/__init__.py"):
        assert f"{package.parent.name}/" in tree, package.parent.name


def test_paths_of_the_architecture_exist() -> None:
    """A path starts at the repository, at pipeline/, or at a path before it on the same line."""
    checked = 0
    for line in ARCHITECTURE.splitlines():
        folders = [ROOT, ROOT / "pipeline"]
        for name in re.findall(r"[\w./<>-]+\.(?:py|md|json|jsonl|sqlite)\b|(?<=`)[\w/]+/(?=`)", line):
            is_output = name in OUTPUT_FILES or name.startswith("batches/<stage>/part-")
            if is_output or "<" in name:
                continue
            found = next((folder / name for folder in folders if (folder / name).exists()), None)
            assert found, f"{name} in: {line}"
            folders.append(found if found.is_dir() else found.parent)
            checked += 1
    assert checked > 30


def test_packages_of_the_architecture_are_complete() -> None:
    """The table lists every package and module of pipeline/, and the pipeline has every stage and provider module."""
    listed = {name.rstrip("/") for name in re.findall(r"`(\w+/|\w+\.py)`", ARCHITECTURE)}
    modules = {path.name for path in (ROOT / "pipeline").glob("*.py")} - {"__init__.py"}
    packages = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert modules | packages <= listed, (modules | packages) - listed
    assert all(f"`{process}`" in ARCHITECTURE and f"`{process}`" in README for process in PROCESSES)
    assert all(f"`{kind}`" in README for kind in PROVIDER_CLASSES)


@pytest.mark.parametrize("script", COMMANDS)
def test_options_are_described_and_described_options_exist(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        COMMANDS[script](["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert all(option in ALL for option in options - {"--config", "--help"})
    typed = re.findall(rf"(?:python |`){script}((?: [^\s`#|]+)*)", ALL)
    assert {option for line in typed for option in re.findall(r"--[a-z-]+", line)} <= options


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_existing_files_and_headings(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            file = document.parent / name if name else document
            assert file.is_file(), target
            assert not anchor or anchor in heading_anchors(file), target


def test_settings_that_are_named_exist() -> None:
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", ALL))
    of_the_system = {*map(str.upper, PROXY_VARIABLES), *CERTIFICATE_VARIABLES, "NO_PROXY", "TESSDATA_PREFIX"}
    assert named and named <= environment_keys() | of_the_system, named - environment_keys()


def test_every_setting_has_a_comment() -> None:
    """In config.yaml, a comment stands above each key."""
    lines = (ROOT / "config.yaml").read_text().splitlines()
    keys = {match[1]: above for above, line in itertools.pairwise(lines) if (match := re.match(r"(\w+):", line))}
    assert all(above.startswith("# ") for above in keys.values()), keys
    assert keys.keys() == environment_keys() - set(SECRETS)


def test_page_statuses_and_outcomes_are_described() -> None:
    for status in ("answered", "nothing_to_ask", "pending", "not_sent", "empty_text", "unreadable"):
        assert f"`{status}`" in README
    for outcome in get_args(OutcomeKind):
        assert f"`{outcome}`" in BATCHES
