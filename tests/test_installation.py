"""A wrong Python, missing packages, and commands that are run from another folder."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMANDS, Project
from server import Server
from test_cli_errors import one_sentence
from test_packaging import BASE, import_names

from pipeline.cli import installation
from pipeline.cli.installation import OLDEST, PACKAGES
from pipeline.config import ROOT

PAGE = "We use the Korvian Household Survey (KHS) here."


def old_pythons() -> list[Path]:
    """One Python of each old version that this machine has."""
    found = []
    for version in ("3.8", "3.9", "3.10"):
        on_path = [Path(path) for path in [shutil.which(f"python{version}")] if path]
        candidates = [*on_path, *sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))]
        code = "import sys; print(sys.version_info[:2])"  # a command may be there that only says which one to use
        works = (one for one in candidates if not subprocess.run([one, "-c", code], capture_output=True).returncode)
        found += list(works)[:1]
    return found


def outside(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that need not be that of the scripts."""
    environment = {**os.environ, **variables}
    environment.pop("PYTHONPATH", None)  # other tests set it, and then packages are found that are not installed
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The program without an environment beside it, in a folder whose name needs quotes."""
    folder = tmp_path / "the program"
    for path in (*ROOT.glob("*.py"), *(ROOT / "pipeline").rglob("*.py")):
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    return folder


def test_the_packages_are_those_of_the_requirements() -> None:
    assert set(PACKAGES) == import_names(BASE) - {"pytest"}  # pytest is only listed there


@pytest.mark.parametrize("script", COMMANDS)
def test_what_runs_before_the_check_can_be_parsed_by_old_pythons(script: str) -> None:
    code = (
        "import runpy, sys\n"
        "from pipeline.cli import installation\n"
        "installation.OLDEST = (99,)\n"
        f"try: runpy.run_path({script!r}, run_name='__main__')\n"
        "except SystemExit: print(*(module.__file__ for name, module in sys.modules.items() if 'pipeline' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = [ROOT / script, *map(Path, done.stdout.split())]
    assert any(path.name == "installation.py" for path in loaded)
    for path in loaded:
        tree = ast.parse(path.read_text(), str(path), feature_version=(3, 8))
        imported = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
        has_code = any(not isinstance(node, ast.Expr) for node in tree.body)
        assert "__future__" in imported or not has_code or path.parent.name == "pipeline", path


@pytest.mark.parametrize("python", old_pythons(), ids=lambda path: path.parent.parent.name)
@pytest.mark.parametrize("script", COMMANDS)
def test_an_old_python(script: str, python: Path, copied: Path) -> None:
    done = outside(python, copied / script, "--help", cwd=copied)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"needs Python {'.'.join(map(str, OLDEST))} or later, and this is Python 3." in one_sentence(done.stderr)
    assert "python3.11 -m venv .venv && .venv/bin/pip install -r requirements.txt" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", COMMANDS)
def test_missing_packages(script: str, copied: Path, tmp_path: Path) -> None:
    """-S hides the packages of this environment."""
    done = outside(sys.executable, "-S", copied / script, "--help", cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    error = one_sentence(done.stderr)
    assert "lacks packages of this program (openai, httpx2, pydantic and 12 more)" in error
    assert f"-m venv '{copied}/.venv' && '{copied}/.venv/bin/pip' install -r '{copied}/requirements.txt'" in error


def test_the_environment_beside_the_scripts_is_named(copied: Path) -> None:
    python = copied / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    done = outside(sys.executable, "-S", "run_batch.py", "--documents", "reports/*", "--check", cwd=copied)
    assert one_sentence(done.stderr).endswith(
        ": run `.venv/bin/python run_batch.py --documents 'reports/*' --check` instead."
    )


def test_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its folders and launcher have other names, and its PowerShell does not know `&&`."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"IS_WINDOWS": True, "ROOT": tmp_path, "OLDEST": (99,)}.items():
        monkeypatch.setattr(installation, name, value)
    with pytest.raises(SystemExit) as end:
        installation.check_installation()
    sentence = str(end.value).replace("\\", "/")
    assert (
        "run `py -3.11 -m venv .venv` and then `.venv/Scripts/pip install -r requirements.txt` and then `" in sentence
    )
    assert installation.shell_word("C:\\my papers") == '"C:\\my papers"'


@pytest.mark.parametrize(
    ("hidden", "settings", "line", "requirements"),
    [
        ("xllamacpp", {"PROVIDER": "local"}, "run_batch.py --process extraction", "requirements-local.txt"),
        ("pyarrow", {}, "export_mentions.py --format parquet", "requirements-export.txt"),
        ("xlsxwriter", {}, "export_mentions.py --format xlsx", "requirements-export.txt"),
        ("distributed", {"DASK_SCHEDULER": "tcp://a:1"}, "run_batch.py --check", "requirements-cluster.txt"),
    ],
)
def test_optional_packages(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    hidden: str,
    settings: dict[str, str],
    line: str,
    requirements: str,
) -> None:
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction --wait")
    project.configure(**settings)
    monkeypatch.setitem(sys.modules, hidden, None)
    error = one_sentence(project.run(line, expect=1))
    assert hidden in error and f"pip install -r {requirements}" in error


def test_a_package_that_cannot_be_imported(project: Project) -> None:
    """Such as an old version, without the functions that are used."""
    project.paper("a.pdf", PAGE)
    code = (
        "import sys, types, importlib.machinery as machinery, run_batch\n"
        "other = sys.modules['genai_prices'] = types.ModuleType('genai_prices')\n"
        "other.__spec__ = machinery.ModuleSpec('genai_prices', None)\n"
        "sys.exit(run_batch.main(sys.argv[1:]))"
    )
    config = project.folder / "config.yaml"
    line = ("--process", "extraction", "--dry-run", "--config", str(config))
    done = subprocess.run([sys.executable, "-c", code, *line], cwd=ROOT, capture_output=True, text=True, check=False)
    error = one_sentence(done.stderr)
    assert done.returncode == 1 and "genai_prices" in error and "pip install -r requirements.txt" in error


# A folder of one's own


def suggested(printed: str) -> list[str]:
    """The arguments of the command after `Next:`, as a shell reads them."""
    (line,) = re.findall(r"^Next: (.*?)(?:  \(.*)?$", printed, re.MULTILINE)
    return shlex.split(line)


def test_a_folder_of_ones_own(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Settings, secrets, papers and results are there; the commands are run elsewhere, and those advised work too."""
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    mine, elsewhere = tmp_path / "my papers", tmp_path / "elsewhere"
    (mine / "pdf").mkdir(parents=True)
    elsewhere.mkdir()
    shutil.copy(project.paper("a.pdf", PAGE), mine / "pdf")
    (mine / "config.yaml").write_text("INPUT_DIR: pdf\nOUTPUT_DIR: results\nPOLL_SECONDS: 0.01\n")
    (mine / ".env").write_text(f"OPENAI_API_KEY={server.key}\nOPENAI_BASE_URL={server.url}\n")
    server.polls_to_complete = 0
    command = [sys.executable, ROOT / "run_batch.py", "--process", "extraction", "--config", "../my papers/config.yaml"]
    ran = []
    for _ in range(7):
        done = outside(*command, cwd=elsewhere)
        assert done.returncode == 0, done.stderr
        ran.append(Path(command[1]).name)
        if ran[-1] == "export_mentions.py":
            break
        command = suggested(done.stdout)
        assert command[:2] == [sys.executable, str(ROOT / Path(command[1]).name)]
    assert ran == ["run_batch.py", "retrieve_results.py"] * 3 + ["export_mentions.py"]
    assert (mine / "results" / "export" / "report.html").exists()
    assert not list(elsewhere.iterdir())


def test_commands_in_errors_have_the_config(project: Project) -> None:
    project.paper("a.pdf", PAGE)
    config = project.folder / "config.yaml"
    done = outside(sys.executable, "retrieve_results.py", "--process", "judge", "--config", config, cwd=ROOT)
    assert f"{sys.executable} run_batch.py --config {config} --process judge" in one_sentence(done.stderr)
    done = outside(sys.executable, "batch_status.py", "--config", config, "--json", cwd=ROOT)
    assert json.loads(done.stdout)["next"] == f"{sys.executable} run_batch.py --config {config} --process all"


@pytest.mark.parametrize("wrong", ["", "nowhere/config.yaml", ".", "picture.png"])
@pytest.mark.parametrize("script", ["run_batch.py --check", "batch_status.py", "export_mentions.py"])
def test_a_config_that_is_none(project: Project, script: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project.folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    name, *options = script.split()
    config = str(project.folder / wrong) if wrong else ""
    assert COMMANDS[name]([*options, "--config", config]) == 1
    assert "config" in one_sentence(capsys.readouterr().err) or "picture.png" in wrong
