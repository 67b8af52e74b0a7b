"""README.md and docs/: the commands work, and every file, option, setting and link that they name exists."""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pymupdf
import pytest
import yaml
from conftest import COMMANDS, Project
from server import Server

from pipeline.config import ROOT, SECRETS, environment_keys
from pipeline.network import CERTIFICATE_VARIABLES, PROXY_VARIABLES
from pipeline.processes import PROCESSES
from pipeline.providers import PROVIDER_CLASSES
from pipeline.records import Dataset, Document, MentionPage, OutcomeKind, Passage

README = (ROOT / "README.md").read_text()
ARCHITECTURE, BATCHES, CONFIGURATION, FAQ, OUTPUT = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("architecture", "batches", "configuration", "faq", "output")
)
LONGEST_README = 900  # words
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


def test_the_readme_is_short() -> None:
    assert len(README.split()) < LONGEST_README


def test_commands_of_the_readme_run_in_order(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", PAGE)
    for command in commands_in(code_block("<!-- commands -->")):
        project.run(shlex.join(command))
    assert project.document("reasoning", "a")["page_status"] == {"1": "answered"}
    for written in ("export/report.html", "review/review.html", "finetune/train.jsonl"):
        assert (project.output / written).exists(), written


def test_the_stages_can_be_run_one_by_one(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", PAGE)
    for command in commands_in(code_block("<!-- stages -->", BATCHES)):
        project.run(shlex.join(command), expect=4 if "batch_status.py" in command else 0)  # 4: answers are ready
    assert project.document("reasoning", "a")["page_status"] == {"1": "answered"}


def commands_in(block: str) -> Iterator[list[str]]:
    """The commands of this program in a block of shell code: script and arguments."""
    for line in block.splitlines():
        if "python " not in line:
            continue
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for is_operator, command in itertools.groupby(words, lambda word: word in ("||", "&&", "|")):
            found = list(command)
            starts = [
                at
                for at, pair in enumerate(itertools.pairwise(found), 1)
                if pair[0] == "python" and pair[1] in COMMANDS
            ]
            if not is_operator and starts:
                yield found[starts[0] :]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_can_be_parsed(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command in a code block and between backticks has the options of its script."""
    text, fence = document.read_text(), re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    blocks = "".join(block for language, block in fence.findall(text) if language in ("", "sh", "bash"))
    spans = re.findall(r"`((?:[A-Z_]+=\S+ )?python \w+\.py[^`…]*)`", fence.sub("", text))
    for script, *arguments in commands_in("\n".join([blocks, *spans])):
        module = importlib.import_module(script.removesuffix(".py"))
        with monkeypatch.context() as patch:
            patch.setattr(module, "guarded", lambda *_: 0)  # what runs after the arguments are parsed
            try:
                assert module.main(arguments) == 0
            except SystemExit:
                pytest.fail(f"cannot be parsed: {script} {shlex.join(arguments)}")


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)\s#]+\.md)", page.read_text())
        left += [(page.parent / target).resolve() for target in targets if "://" not in target]
    assert set((ROOT / "docs").glob("*.md")) <= reached


def test_the_mention_in_the_readme_is_real() -> None:
    """It is a mention of a sample paper, and its offsets are right."""
    shown = json.loads(code_block("<!-- mention -->"))
    mention = Dataset.model_validate(shown)
    assert shown.keys() <= Dataset.model_fields.keys()
    papers = sorted((ROOT / "examples").rglob("papers/*.pdf"))
    texts = [page.get_text().strip("\n") for paper in papers for page in pymupdf.open(paper)]
    assert any(
        text[mention.start : mention.end] == mention.raw_name
        and text[mention.sent_start : mention.sent_end] == mention.sent
        for text in texts
    )


def test_python_code_of_the_batches_page_runs(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    code = code_block("From a notebook in this folder:", BATCHES) + "\nprint(list_batches(client)[0]['id'], ids[0])"
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


def test_files_that_are_named_exist() -> None:
    for script in re.findall(r"python ((?:\w+/)*\w+\.py)", ALL):
        assert (ROOT / script).is_file(), script
    for line in code_block("## Files", ARCHITECTURE).splitlines():
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


def test_file_tree_is_complete() -> None:
    """Every script and every package is listed."""
    tree = code_block("## Files", ARCHITECTURE)
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
    assert all(f"`{kind}`" in CONFIGURATION for kind in PROVIDER_CLASSES)


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


def settings_table() -> dict[str, list[str]]:
    """The rows of the tables in docs/configuration.md, by setting. Each setting has one row."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", CONFIGURATION, re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows}), "a setting is described twice"
    return {name: row.split(" | ") for name, row in rows}


def test_every_setting_is_described_once_with_its_default() -> None:
    described, shipped = settings_table(), yaml.safe_load((ROOT / "config.yaml").read_text())
    assert described.keys() == environment_keys()
    for key, (default, *_) in described.items():
        if key in SECRETS:
            assert len(described[key]) == 2  # a secret has no default
        elif key == "REQUEST_PARAMS":
            block = code_block("<!-- request parameters -->", CONFIGURATION)
            assert yaml.safe_load(block)[key] == shipped[key]
        else:
            assert len(described[key]) == 3, key
            expected = None if default == "–" else yaml.safe_load(default.strip("`"))
            assert expected == shipped[key], key


def test_secrets_are_in_the_example_of_the_env_file() -> None:
    example = (ROOT / ".env.example").read_text()
    assert all(re.search(rf"^(# )?{key}=", example, re.MULTILINE) for key in SECRETS)


def test_fields_of_a_document_are_described() -> None:
    for record in (Document, MentionPage, Passage, Dataset):
        for field in record.model_fields.keys() - {"page"}:
            assert f"`{field}`" in OUTPUT, f"{record.__name__}.{field}"


@cache
def messages() -> list[str]:
    """The texts in the source code; … stands for what is filled in."""
    found = []
    for path in [*(ROOT / "pipeline").rglob("*.py"), *ROOT.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_messages_quoted_in_the_faq_are_those_of_the_program() -> None:
    quoted = re.findall(r"^> (.*)$", FAQ, re.MULTILINE) + re.findall(r"^\| `(it .*?)` \|", FAQ, re.MULTILINE)
    assert len(quoted) > 15
    for message in quoted:
        pattern = ".*".join(map(re.escape, message.split("…")))
        assert any(re.search(pattern, text, re.DOTALL) for text in messages()), message


def test_contents_of_the_faq_are_complete() -> None:
    listed = re.findall(r"^- \[(.*)\]\(#", FAQ, re.MULTILINE)
    assert listed == re.findall(r"^## (.*)$", FAQ, re.MULTILINE)


def test_folders_can_be_moved(project: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/faq.md says: batches in progress are collected, and nothing is asked again."""
    project.paper("reports/a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    other = project.folder / "another computer"
    shutil.move(project.output, other / "results")
    shutil.move(project.input, other / "papers")
    monkeypatch.setenv("OUTPUT_DIR", str(other / "results"))
    monkeypatch.setenv("INPUT_DIR", str(other / "papers"))
    project.run("retrieve_results.py --process extraction --wait")
    assert "nothing to send (1 answered" in project.run("run_batch.py --process extraction")
    assert len(server.batches) == 1
    assert (other / "results" / "extraction" / "reports" / "a.json").exists()


def test_page_statuses_and_outcomes_are_described() -> None:
    for status in ("answered", "nothing_to_ask", "pending", "not_sent", "empty_text", "unreadable"):
        assert f"`{status}`" in OUTPUT
    for outcome in get_args(OutcomeKind):
        assert f"`{outcome}`" in BATCHES
