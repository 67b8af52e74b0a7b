"""A project of its own for every test: a folder with config.yaml and input/, and the commands run in it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pymupdf
import pytest
import yaml
from hypothesis import settings
from server import Server

import batch_status
import evaluate
import export_mentions
import generate_finetune_data
import retrieve_results
import review_labels
import run_batch
import train_adapter
from pipeline.clock import Clock
from pipeline.config import environment_keys

# Speed is measured in benchmarks/, never as a timed test.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

SHARED = Path(__file__).resolve().parents[2] / "shared"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
COMMANDS = {
    "run_batch.py": run_batch.main,
    "retrieve_results.py": retrieve_results.main,
    "batch_status.py": batch_status.main,
    "generate_finetune_data.py": generate_finetune_data.main,
    "review_labels.py": review_labels.main,
    "evaluate.py": evaluate.main,
    "export_mentions.py": export_mentions.main,
    "train_adapter.py": train_adapter.main,
}
WITH_CLOCK = ("run_batch.py", "retrieve_results.py", "batch_status.py", "export_mentions.py")


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


# Tests about queues and prices must not depend on the wording of the shipped prompts.
FROZEN_PROMPTS = {path.stem: str(path) for path in (Path(__file__).parent / "prompts").glob("*.md")}


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {seconds} seconds")
        time.sleep(0.01)


def on_a_terminal(folder: Path, *command: str, **variables: str) -> str:
    """What a command prints if standard output and standard error are a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **variables}
    with subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, stdout=theirs, stderr=theirs):
        os.close(theirs)
        printed = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # Linux: the other end was closed
                break
            if not block:
                break
            printed += block
    os.close(ours)
    return printed.decode()


class FastClock(Clock):
    """Sleeping takes no time, but the clock moves on."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []  # seconds
        self.slept = 0.0

    def time(self) -> float:
        return super().time() + self.slept

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.slept += seconds
        super().sleep(0.001)  # other threads and processes go on


class InterruptedClock(FastClock):
    """The user presses Ctrl-C while the program waits."""

    def sleep(self, seconds: float) -> None:
        raise KeyboardInterrupt


class Project:
    """What a user has: a config.yaml, an input folder, an output folder, and commands."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.input = folder / "input"
        self.output = folder / "extraction_outputs"
        self._capsys = capsys
        self.clock = FastClock()
        self.input.mkdir(parents=True, exist_ok=True)
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Write config.yaml: the shipped one with frozen prompts and these settings changed."""
        shipped = yaml.safe_load((Path(run_batch.__file__).parent / "config.yaml").read_text())
        prompts = {**FROZEN_PROMPTS, **settings.pop("PROMPTS", {})}
        changed = {**shipped, "POLL_SECONDS": 0.01, "PROMPTS": prompts, **settings}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(changed))

    def paper(self, name: str, *pages: str) -> Path:
        return make_pdf(self.input / name, list(pages))

    def command(self, line: str) -> tuple[int, str]:
        """Run e.g. `run_batch.py --process judge`; returns the exit status and the output, standard error last.

        Commands in the output have the --config of the project, like this one; here it is left out.
        """
        script, *arguments = line.split()
        self._capsys.readouterr()
        clock = {"clock": self.clock} if script in WITH_CLOCK else {}
        config = str(self.folder / "config.yaml")
        status = COMMANDS[script]([*arguments, "--config", config], **clock)
        printed = self._capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, (printed.out + printed.err).replace(f".py --config {config}", ".py")

    def run(self, line: str, expect: int = 0) -> str:
        """Run a command that ends with the status `expect`; returns its output, standard error last."""
        status, printed = self.command(line)
        assert status == expect, f"{line} ended with {status}:\n{printed}"
        return printed

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


@pytest.fixture(scope="session")
def no_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("no-certificates")


@pytest.fixture(autouse=True)
def fast_clients(request: pytest.FixtureRequest, no_certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the certificates of the machine takes longer than most commands, and only slow tests need them."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setenv("SSL_CERT_DIR", str(no_certificates))


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


@pytest.fixture
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def has_open(pid: int, file: Path) -> bool:
    try:
        return any(link.readlink() == file for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # the process has ended, or a file was closed in the meantime
