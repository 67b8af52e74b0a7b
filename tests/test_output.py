"""What commands print: for people, for scripts (--json), only problems (--quiet), on a terminal; and their help."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMANDS, Project, on_a_terminal
from server import Server
from test_cli_errors import one_sentence
from test_next_steps import all_failed, extraction_in_part
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING

from pipeline.cli.arguments import examples
from pipeline.cli.found import found_sentence
from pipeline.config import ROOT
from pipeline.workflow.findings import Findings, StageFindings

BATCHES = (ROOT / "docs" / "batches.md").read_text()
COMMON = {"status", "error", "problems", "warnings", "next"}
WITHOUT_JSON = ("review_labels.py", "train_adapter.py")


def report_of(project: Project, line: str, expect: int = 0) -> dict[str, Any]:
    """The one line of standard output with --json. docs/batches.md describes each of its keys."""
    first, *_ = project.run(f"{line} --json", expect).splitlines()
    report = json.loads(first)
    assert report["status"] == expect and report.keys() >= COMMON
    assert [key for key in report if f"`{key}`" not in BATCHES] == []
    return report


# --json


def test_json_of_all_stages(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", HOUSEHOLDS, CENSUS, NOTHING)
    checked = report_of(project, "run_batch.py --check")
    assert (checked["documents"], checked["unreadable"], checked["pages"]) == (1, 0, {"text": 3})

    planned = report_of(project, "run_batch.py --process extraction --dry-run")["stages"]["extraction"]["planned"]
    assert (planned["model"], planned["requests"], planned["pages"]) == ("gpt-4o-mini", 3, 3)
    assert 0 < planned["cost_usd"][0] < planned["cost_usd"][1] and planned["input_tokens"] > 100

    submitted = report_of(project, "run_batch.py --process extraction")
    assert submitted["stages"]["extraction"]["sent"] == {"requests": 3, "batches": 1}
    config = project.folder / "config.yaml"
    assert submitted["next"] in (f"python retrieve_results.py{given} --process extraction" for given in ("", config))

    status = report_of(project, "batch_status.py", expect=4)
    (batch,) = status["batches"]
    assert (batch["process"], batch["requests"], batch["next"], status["ready"]) == ("extraction", 3, "retrieve", 1)

    stage = report_of(project, "retrieve_results.py --process all")["stages"]["extraction"]
    assert stage["collected"]["outcomes"] == {"ok": 3} and stage["page_status"] == {"answered": 3}
    assert stage["found"]["pages"] == 2 and stage["found"]["datasets"] > 0

    everything = report_of(project, "run_batch.py --process all")
    assert list(everything["stages"]) == ["extraction", "judge", "reasoning"]
    assert everything["usage"]["reasoning"]["cost_usd"] > 0

    exported = report_of(project, "export_mentions.py --format csv")
    assert exported["mentions"] > 0 and all(Path(file).exists() for file in exported["files"])
    splits = report_of(project, "generate_finetune_data.py")["splits"]
    assert sum(split["positive_rows"] for split in splits.values()) == 2


def test_json_of_an_evaluation(project: Project) -> None:
    pytest.importorskip("scipy")
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process extraction --wait")
    gold = project.folder / "gold.jsonl"
    gold.write_text(json.dumps({"doc_id": "a", "page": 1, "text": HOUSEHOLDS, "mentions": []}) + "\n")
    report = report_of(project, f"evaluate.py --gold {gold}")
    assert report["evaluation"] == json.loads((Path(report["folder"]) / "evaluation.json").read_text())


def test_json_of_errors_and_problems(project: Project, server: Server) -> None:
    assert "There are no PDFs" in report_of(project, "run_batch.py --check", expect=1)["error"]
    (project.input / "scan.pdf").write_bytes(b"not a PDF")
    report = report_of(project, "run_batch.py --check", expect=3)
    assert report["unreadable"] == 1 and "scan.pdf" in report["problems"][0]
    all_failed(project, server)
    report = report_of(project, "retrieve_results.py --process all", expect=3)
    assert len(report["problems"]) == 2 and "--again failed" in report["next"]


def test_json_has_no_second_report(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        project.command("batch_status.py --watch --json")
    assert "leave out --watch" in capsys.readouterr().err


# --quiet


def test_quiet(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", HOUSEHOLDS)
    for line in ("run_batch.py --check", "run_batch.py --process extraction", "retrieve_results.py --process all"):
        assert project.run(f"{line} --quiet") == ""
    assert project.run("run_batch.py --process all --quiet") == ""
    for line in ("batch_status.py", "export_mentions.py", "generate_finetune_data.py", "review_labels.py --html"):
        assert project.run(f"{line} --quiet") == ""


def test_quiet_prints_problems(project: Project, server: Server) -> None:
    all_failed(project, server)
    (project.input / "scan.pdf").write_bytes(b"not a PDF")
    printed = project.run("run_batch.py --process extraction --wait --quiet", expect=3)
    assert printed and all(line.startswith("problem: ") for line in printed.splitlines())
    assert "scan.pdf" in project.run("run_batch.py --check --quiet", expect=3)
    assert one_sentence(project.run("run_batch.py --process judge --quiet", expect=1))


def test_a_problem_is_said_once(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", HOUSEHOLDS)
    (project.input / "scan.pdf").write_bytes(b"not a PDF")
    assert project.run("run_batch.py --process all", expect=3).count("problem: scan.pdf") == 1


# A terminal


def test_colours_and_bars_are_for_terminals(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    config = ("--config", str(project.folder / "config.yaml"))
    wrong = (str(ROOT / "retrieve_results.py"), "--process", "judge", *config)
    assert "\033[31merror:\033[0m No judge" in on_a_terminal(project.folder, *wrong)
    assert "\033[" not in on_a_terminal(project.folder, *wrong, NO_COLOR="1")
    assert "\033[" not in on_a_terminal(project.folder, *wrong, TERM="dumb")
    check = (str(ROOT / "run_batch.py"), "--check", *config)
    assert "Reading papers" in on_a_terminal(project.folder, *check)
    assert on_a_terminal(project.folder, *check, "--quiet") == ""
    done = subprocess.run([sys.executable, *check], capture_output=True, text=True, check=True)
    assert done.stderr == "" and "\033[" not in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", [["--check"], ["--check", "--json"], ["--process", "judge", "--json"]])
def test_an_output_that_cannot_be_written(project: Project, options: list[str], unbuffered: str) -> None:
    """A full disk, or a reader that has ended, which is no error."""
    project.paper("a.pdf", HOUSEHOLDS)
    command = [sys.executable, "run_batch.py", *options, "--config", str(project.folder / "config.yaml")]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert "error: Cannot write the output of this command" in done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "Exception" not in done.stderr


# Retrieving all stages


def test_retrieving_all_stages(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    extraction_in_part(project, server)
    project.run("run_batch.py --process judge --again")
    printed = project.run("retrieve_results.py --process all")
    assert "extraction: collected 1 batch" in printed and "judge: collected 1 batch" in printed
    assert printed.index("extraction: ") < printed.index("judge: ") and printed.count("Next: ") == 1
    assert "Next: python run_batch.py --process reasoning" in printed
    printed = project.run("retrieve_results.py --process all")
    assert "Nothing to collect.\nextraction: 3 pages of 2 documents: 3 answered\n" in printed
    assert "\njudge: 3 pages of 2 documents: " in printed and printed.count("cost so far") == 1


def test_all_stages_again(project: Project, server: Server) -> None:
    """What did not happen is not printed, and the cost is printed once."""
    project.paper("a.pdf", HOUSEHOLDS)
    for _ in range(2):
        printed = project.run("run_batch.py --process all")
        assert printed.count("cost so far: ") == 1 and "still running" not in printed
        assert printed.index("cost so far: ") > printed.index("reasoning: found")
    assert "collected" not in printed and "no new answers" not in printed
    assert "\nNext: python export_mentions.py --format html\nor:   python generate_finetune_data.py\n" in printed
    next_step = report_of(project, "run_batch.py --process all")["next"]
    assert next_step.endswith(" --format html") and "generate" not in next_step


def test_what_was_found_is_worded_clearly() -> None:
    total = Findings(pages=4, mentions=9, rejected=3, removed=3, restored=1, uncertain=2)
    found = StageFindings(total)
    assert found_sentence("reasoning", found, 9) == (
        "reasoning: found 9 mentions without a name on 4 of 9 pages; 3 rejected, 2 with a note; 4 verdicts of judge "
        "overruled: 3 from valid to rejected, 1 from rejected to valid"
    )
    nothing = StageFindings(Findings(rejected=1))
    assert found_sentence("extraction", nothing, 9) == "extraction: found no mentions"
    assert found_sentence("judge", nothing, 9) == "judge: found no mentions; 1 rejected, 0 with a note"
    assert found_sentence("reasoning", nothing, 9).endswith(
        "; 1 rejected, 0 with a note; 0 verdicts of judge overruled"
    )


def test_nothing_was_submitted(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    assert "No batches have been submitted: run `python run_batch.py --process all` first." in one_sentence(
        project.run("retrieve_results.py --process all", expect=1)
    )
    assert "Next: python run_batch.py --process all  (" in project.run("batch_status.py")


# Help and arguments


@pytest.mark.parametrize("script", COMMANDS)
def test_the_help_has_examples_that_can_be_parsed(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(script.removesuffix(".py"))
    lines = examples(module.__doc__)
    assert len(lines) >= 2
    for line in lines:
        python, name, *arguments = shlex.split(line)
        assert (python, name) == ("python", script)
        module._parser().parse_args(arguments)
    with pytest.raises(SystemExit):
        COMMANDS[script](["--help"])
    printed = capsys.readouterr().out
    assert printed.endswith("examples:\n" + "".join(f"  {line}\n" for line in lines))
    assert ("--json" in printed) is (script not in WITHOUT_JSON) and "--quiet" in printed


@pytest.mark.parametrize(
    "line",
    [
        "run_batch.py",
        "run_batch.py --check --limit 3",
        "run_batch.py --check --again",
        "run_batch.py --process extraction --again reports/*",
        "run_batch.py --process extraction --limit many",
        "review_labels.py --html --limit 0",
        "retrieve_results.py --process all --results out.jsonl",
        "evaluate.py",
    ],
)
def test_invalid_command_lines(project: Project, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        project.command(line)
    *usage, error = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and usage[0].startswith("usage: ") and ": error: " in error


def test_arguments_that_select_nothing(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process extraction --wait")
    for command in (
        "run_batch.py --process extraction",
        "run_batch.py --process extraction --again",
        "run_batch.py --process judge",
        "export_mentions.py",
        "export_mentions.py --format html",
        "review_labels.py --html",
        "review_labels.py --export label-studio",
    ):
        assert "No document matches 'x*'" in one_sentence(project.run(f"{command} --documents x*", expect=1))


@pytest.mark.parametrize("shares", [{"train": 0.8, "valid": 0.8}, {"train": 80, "valid": 10, "test": 10}, {}])
def test_shares_that_do_not_add_up(project: Project, shares: dict[str, float]) -> None:
    project.configure(SPLIT=shares)
    error = one_sentence(project.run("generate_finetune_data.py", expect=1))
    assert "of SPLIT (from config.yaml) is invalid: the shares add up to" in error and "must add up to 1" in error
