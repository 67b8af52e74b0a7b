"""What the machine does to a command: a full disk, another locale, an output that cannot be written or shown."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from test_pipeline import CENSUS, HOUSEHOLDS

import run_batch

ROOT = Path(run_batch.__file__).parent
EXPORTS = [f"export_mentions.py --format {form}" for form in ("csv", "jsonl", "parquet", "xlsx", "html")]


def started(project: Project, line: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own. `environment`: variables that are added."""
    script, *arguments = line.split()
    environment = {**os.environ, **options.pop("environment", {})}
    command = [sys.executable, str(ROOT / script), *arguments, "--config", str(project.folder / "config.yaml")]
    return subprocess.run(
        command, env=environment, check=False, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    )


def check_sentence(done: subprocess.CompletedProcess[bytes], *names: Path) -> None:
    """The command failed with one sentence that names one of the files."""
    errors = done.stderr.decode()
    assert done.returncode == 1 and errors.count("error: Cannot ") == 1, errors
    assert "Traceback" not in errors and "ignored" not in errors, errors
    assert any(str(name) in errors for name in names) and "free disk space" in errors, errors


@pytest.fixture
def finished(project: Project) -> Project:
    project.paper("a.pdf", HOUSEHOLDS, CENSUS)
    project.run("run_batch.py --process all")
    return project


@pytest.mark.parametrize("size", [0, 100, 1000])
@pytest.mark.parametrize("line", [*EXPORTS, "review_labels.py --html", "generate_finetune_data.py", "batch_status.py"])
def test_a_full_disk_is_named(finished: Project, tmp_path: Path, line: str, size: int) -> None:
    """No file can become larger than `size` bytes, which is noticed where a full disk is noticed."""
    limit = (size, size)
    done = started(finished, line, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    if done.returncode:
        check_sentence(done, finished.output, Path(os.environ.get("TMPDIR", "/tmp")))
    else:
        assert size >= 100 and not list(finished.output.rglob(".new-*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("line", ["run_batch.py --check", "batch_status.py", EXPORTS[0]])
def test_an_output_that_cannot_be_written(finished: Project, line: str) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = started(finished, line, stdout=full)
    assert done.returncode == 1 and b"error: Cannot write the output of this command" in done.stderr, done.stderr
    assert b"No space left on device" in done.stderr and b"ignored" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "", "LC_CTYPE": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_names_of_papers_are_read_in_every_locale(project: Project, environment: dict[str, str]) -> None:
    project.paper("naïve/日本 “x”.pdf", HOUSEHOLDS)
    done = started(project, "run_batch.py --check", environment=environment)
    assert done.returncode == 0 and "naïve/日本 “x”" in done.stdout.decode(), done
    assert (project.output / "text" / "naïve" / "日本 “x”.json").exists()
    done = started(project, "run_batch.py --process extraction --dry-run", environment=environment)
    assert done.returncode == 0, done


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_the_terminal_cannot_show_is_an_escape(project: Project, encoding: str) -> None:
    project.paper("naïve 日本.pdf", HOUSEHOLDS)
    done = started(project, "run_batch.py --check", environment={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0 and b"ve \\u65e5\\u672c" in done.stdout, done
    missing = started(
        project, "run_batch.py --process judge --documents é“*", environment={"PYTHONIOENCODING": encoding}
    )
    assert missing.returncode == 1 and b"No document matches" in missing.stderr and b"Traceback" not in missing.stderr
