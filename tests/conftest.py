"""A project of its own for every test: a folder with config.yaml and input/, and the commands run in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pymupdf
import pytest
import yaml
from server import Server

import batch_status
import generate_finetune_data
import retrieve_results
import review_labels
import run_batch
from pipeline.config import environment_keys

SHARED = Path(__file__).resolve().parents[2] / "shared"
COMMANDS = {
    "run_batch.py": run_batch.main,
    "retrieve_results.py": retrieve_results.main,
    "batch_status.py": batch_status.main,
    "generate_finetune_data.py": generate_finetune_data.main,
    "review_labels.py": review_labels.main,
}


def make_pdf(path: Path, pages: list[str]) -> Path:
    """A PDF with one text box a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as document:
        for text in pages:
            page = document.new_page()
            left_over = page.insert_textbox(pymupdf.Rect(50, 50, 550, 800), text, fontsize=10, fontname="helv")
            assert left_over >= 0, "the text does not fit the page"
        document.save(path, no_new_id=True)
    return path


class Project:
    """What a user has: a config.yaml, an input folder, an output folder, and commands."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.input = folder / "input"
        self.output = folder / "extraction_outputs"
        self._capsys = capsys
        self.input.mkdir(parents=True, exist_ok=True)
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Write config.yaml: the shipped one with these settings changed."""
        shipped = yaml.safe_load((Path(run_batch.__file__).parent / "config.yaml").read_text())
        changed = {**shipped, "POLL_SECONDS": 0.01, **settings}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(changed))

    def paper(self, name: str, *pages: str) -> Path:
        return make_pdf(self.input / name, list(pages))

    def run(self, command: str, expect: int = 0) -> str:
        """Run e.g. `run_batch.py --process judge`; returns what it printed, standard error last."""
        script, *arguments = command.split()
        self._capsys.readouterr()
        status = COMMANDS[script]([*arguments, "--config", str(self.folder / "config.yaml")])
        printed = self._capsys.readouterr()
        assert status == expect, f"{command} ended with {status}:\n{printed.out}{printed.err}"
        assert "Traceback" not in printed.err
        return printed.out + printed.err

    def all_stages(self) -> None:
        for process in ("extraction", "judge", "reasoning"):
            self.run(f"run_batch.py --process {process}")
            self.run(f"retrieve_results.py --process {process} --wait")

    def document(self, process: str, source: str) -> dict[str, Any]:
        return json.loads((self.output / process / f"{source}.json").read_text())

    def files(self) -> dict[str, bytes]:
        """Every file under the output folder but the ledger's, by its path."""
        files = (path for path in self.output.rglob("*") if path.is_file() and not path.name.startswith("ledger"))
        return {path.relative_to(self.output).as_posix(): path.read_bytes() for path in sorted(files)}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in environment_keys():
        monkeypatch.delenv(key, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
        assert running.violations == []


@pytest.fixture(scope="session")
def connections() -> Iterator[openai.DefaultHttpxClient]:
    """Shared, because making one reads every certificate of the machine."""
    with openai.DefaultHttpxClient() as made:
        yield made


@pytest.fixture
def client(server: Server, connections: openai.DefaultHttpxClient) -> openai.OpenAI:
    """The official client, without retries."""
    return openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0, http_client=connections)


@pytest.fixture
def project(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    """A project that talks to `server`."""
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    return Project(tmp_path, capsys)


@pytest.fixture
def shared() -> Path:
    """Real papers and answers; not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("real papers are not here")
    return SHARED / "data"
