"""A user's mistake gets one sentence that says what is wrong and what to do, and a non-zero exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import InterruptedClock, Project
from server import Reply, Server

import run_batch

ROOT = Path(run_batch.__file__).parent
PAGE = "We use the Korvian Household Survey (KHS) here."


def one_sentence(printed: str) -> str:
    """The error that was printed. It is a single line; progress and notices may be printed besides."""
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, printed
    return errors[0]


def test_missing_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    project.paper("a.pdf", PAGE)
    error = one_sentence(project.run("run_batch.py --process extraction", expect=1))
    assert f"put it in {project.folder / '.env'} (copy" in error and "PROVIDER: local" in error


def test_a_wrong_key_is_reported_before_anything_is_uploaded(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-marker-of-this-test")
    project.paper("a.pdf", PAGE)
    printed = project.run("run_batch.py --process extraction", expect=1)
    assert "refused the key" in one_sentence(printed)
    assert "sk-marker" not in printed
    assert not server.files
    # With the right key the same command continues.
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    assert "sent 1 request in 1 batch" in project.run("run_batch.py --process extraction")


def test_a_retired_model_is_reported_before_anything_is_uploaded(project: Project, server: Server) -> None:
    server.models.discard("gpt-4o-mini")
    project.paper("a.pdf", PAGE)
    error = one_sentence(project.run("run_batch.py --process extraction", expect=1))
    assert "MODEL in config.yaml" in error and "gpt-4o-mini" in error
    assert not server.files


def test_a_refused_parameter_is_a_warning_before_anything_is_uploaded(project: Project, server: Server) -> None:
    """Only the batch decides: some servers refuse in a single request what they take in a batch."""
    project.configure(MODEL="gpt-5-mini", REQUEST_PARAMS={"*": {"max_tokens": 100}})
    project.paper("a.pdf", PAGE)
    printed = project.run("run_batch.py --process extraction --wait", expect=3)
    (warning,) = [line for line in printed.splitlines() if line.startswith("warning: ")]
    assert "max_tokens" in warning and "REQUEST_PARAMS" in warning and "the batch may be" in warning
    assert len(server.batches) == 1
    assert "1 request was refused" in printed and "(after fixing the setting)" in printed


def test_unreachable_server(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    project.paper("a.pdf", PAGE)
    assert "Cannot reach http://127.0.0.1:9/v1" in one_sentence(
        project.run("run_batch.py --process extraction", expect=1)
    )


def test_no_pdfs(project: Project) -> None:
    (project.input / "notes.txt").write_text("not a paper")
    assert "There are no PDFs in" in one_sentence(project.run("run_batch.py --process extraction", expect=1))


def test_no_input_folder(project: Project) -> None:
    project.configure(INPUT_DIR="elsewhere")
    assert "There is no folder" in one_sentence(project.run("run_batch.py --process extraction", expect=1))


def test_two_papers_with_the_same_id(project: Project) -> None:
    project.paper("a.pdf", PAGE)
    project.paper("a.PDF", PAGE)
    error = one_sentence(project.run("run_batch.py --process extraction", expect=1))
    assert "a.pdf" in error and "a.PDF" in error and "rename" in error


def test_no_document_matches(project: Project) -> None:
    project.paper("a.pdf", PAGE)
    error = one_sentence(project.run("run_batch.py --process extraction --documents b*", expect=1))
    assert "No document matches 'b*'" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *((f"--pages {wrong}", "is not a page or a range of pages") for wrong in ("5-1", "0", "x", "1-")),
        *((f"--limit {wrong}", "is not a whole number from 1") for wrong in ("0", "-1", "many")),
        ("input/rcc-143.pdf", "(to choose papers use --documents 'rcc-143')"),
        ("/my/input/2020/a.pdf b.pdf", "(to choose papers use --documents '2020/a')"),
        ("papers/a.PDF", "(to choose papers use --documents 'a')"),
    ],
)
def test_invalid_selections(project: Project, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    with pytest.raises(SystemExit) as end:
        project.command(f"run_batch.py --process extraction {arguments}")
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_judge_before_extraction(project: Project) -> None:
    project.paper("a.pdf", PAGE)
    error = one_sentence(project.run("run_batch.py --process judge", expect=1))
    assert "run_batch.py --process extraction" in error


def test_judge_before_the_extraction_is_retrieved(project: Project) -> None:
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    error = one_sentence(project.run("run_batch.py --process judge", expect=1))
    assert "retrieve_results.py --process extraction" in error


@pytest.mark.parametrize("process", ["extraction", "judge", "reasoning"])
def test_retrieve_before_run(project: Project, process: str) -> None:
    error = one_sentence(project.run(f"retrieve_results.py --process {process}", expect=1))
    assert f"run_batch.py --process {process}" in error


def test_training_data_before_reasoning(project: Project) -> None:
    assert "run_batch.py" in one_sentence(project.run("generate_finetune_data.py", expect=1))
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction --wait")
    error = one_sentence(project.run("generate_finetune_data.py", expect=1))
    assert "run_batch.py --process all" in error
    assert not (project.output / "finetune").exists() or not any((project.output / "finetune").iterdir())


def test_a_batch_unknown_to_another_key_is_not_asked_again(project: Project, server: Server) -> None:
    project.paper("a.pdf", PAGE)
    project.run("run_batch.py --process extraction")
    server.batches.clear()
    assert "another project" in project.run("retrieve_results.py --process extraction", expect=3)
    assert "nothing to send (0 answered, 1 in progress" in project.run("run_batch.py --process extraction")


def test_empty_prompt(project: Project) -> None:
    (project.folder / "mine.md").write_text(" \n")
    project.configure(PROMPTS={"extraction": "mine.md"})
    project.paper("a.pdf", PAGE)
    assert "mine.md is empty" in one_sentence(project.run("run_batch.py --process extraction", expect=1))


def test_the_lock_names_its_holder(project: Project) -> None:
    from pipeline.workspace import Workspace

    project.paper("a.pdf", PAGE)
    workspace = Workspace(project.output)
    workspace.prepare()
    with workspace.lock("retrieve_results.py --process judge"):
        error = one_sentence(project.run("run_batch.py --process extraction", expect=1))
    assert "retrieve_results.py --process judge" in error


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("MODLE: gpt-4o-mini\n", "did you mean MODEL?"),
        ("model: gpt-4o-mini\n", "did you mean MODEL?"),
        ("MODEL: [a: b\n", "not valid YAML (line"),
        ("just words\n", "KEY: value"),
        ("MAX_ATTEMPTS: many\n", "MAX_ATTEMPTS"),
        ("PROVIDER: azure\n", "PROVIDER"),
        ("OPENAI_API_KEY: sk-1\n", "move it to .env"),
        ("MODEL: {extraktion: gpt-4o-mini}\n", "MODEL"),
    ],
)
def test_broken_settings(project: Project, yaml: str, expected: str) -> None:
    (project.folder / "config.yaml").write_text(yaml)
    error = one_sentence(project.run("run_batch.py --process extraction", expect=1))
    assert expected in error and "sk-1" not in error


def test_missing_config(project: Project) -> None:
    (project.folder / "config.yaml").unlink()
    assert "does not exist" in one_sentence(project.run("run_batch.py --process extraction", expect=1))


def test_an_invalid_value_from_the_environment_names_its_source(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_ATTEMPTS", "lots")
    assert "environment" in one_sentence(project.run("run_batch.py --process extraction", expect=1))


def test_output_folder_that_cannot_be_written(project: Project) -> None:
    (project.folder / "taken").write_text("a file")
    project.configure(OUTPUT_DIR="taken/output")
    project.paper("a.pdf", PAGE)
    assert "Cannot write" in one_sentence(project.run("run_batch.py --process extraction", expect=1))


@pytest.mark.parametrize("script", ["run_batch.py", "retrieve_results.py"])
def test_unknown_process(script: str) -> None:
    done = subprocess.run(
        [sys.executable, script, "--process", "extract"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "invalid choice: 'extract'" in done.stderr and "Traceback" not in done.stderr


def test_read_only_output_as_another_user(project: Project, tmp_path: Path) -> None:
    """Root may write everywhere, so this needs another user."""
    if os.geteuid() == 0:
        pytest.skip("running as root")
    project.output.mkdir()
    project.output.chmod(0o500)
    project.paper("a.pdf", PAGE)
    assert "Cannot write" in one_sentence(project.run("run_batch.py --process extraction", expect=1))


def test_interrupted_while_asking_again(project: Project, server: Server) -> None:
    project.paper("a.pdf", PAGE)
    busy = {"error": {"message": "busy", "type": "x", "param": None, "code": None}}
    server.before_request = lambda request: Reply(429, busy) if request.path == "/v1/files" else None
    project.clock = InterruptedClock()
    assert "Leave out --again" not in project.run("run_batch.py --process extraction", expect=130)
    assert "Leave out --again" in project.run("run_batch.py --process extraction --again", expect=130)


def test_a_paper_named_like_a_command_is_listed_by_its_name(project: Project) -> None:
    project.paper("python run_batch.py.pdf", "We use the Korvian Household Survey.")
    project.paper("requirements.txt.pdf", "We use the Korvian Farm Census.")
    lines = project.run("run_batch.py --check").splitlines()
    assert [line[:19].rstrip() for line in lines if line.startswith(("python", "require"))] == [
        "python run_batch.py", "requirements.txt",
    ]  # fmt: skip
