"""The key appears in no file, no output and no message, whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import server_faults
from conftest import Project
from server import Reply, Request, Server
from test_pipeline import HOUSEHOLDS

MARKER = "sk-marker-4c9b02e7d1"


@pytest.fixture
def secret(project: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> Project:
    server.key = MARKER
    monkeypatch.delenv("OPENAI_API_KEY")
    (project.folder / ".env").write_text(f"OPENAI_API_KEY={MARKER}\n")
    project.paper("a.pdf", HOUSEHOLDS)
    return project


def files_with_key(folder: Path) -> list[Path]:
    """The files under `folder` that contain the key, except the one that the user wrote it to."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".env")
    return [path for path in files if MARKER.encode() in path.read_bytes()]


def test_after_a_full_run(secret: Project) -> None:
    printed = "".join(
        secret.command(line)[1]
        for line in (
            "run_batch.py --process all --dry-run", "run_batch.py --process all", "batch_status.py",
            "batch_status.py --clean-remote", "generate_finetune_data.py",
        )
    )  # fmt: skip
    assert "Next: python export_mentions.py" in printed and MARKER not in printed
    assert files_with_key(secret.folder) == []


def echo(status: int) -> Callable[[Server], None]:
    """A server that repeats the key in its error, as some do."""

    def install(server: Server) -> None:
        def refuse(request: Request) -> Reply:
            said = f"Incorrect API key provided: {request.headers['authorization']}"
            return Reply(status, {"error": {"message": said, "type": "x", "param": None, "code": None}})

        server.before_request = refuse

    return install


def no_batches(server: Server) -> None:
    def refuse(request: Request) -> Reply | None:
        said = {"error": {"message": f"no {request.headers['authorization']}", "type": "x", "param": "p", "code": "c"}}
        return Reply(400, said) if request.path == "/v1/batches" else None

    server.before_request = refuse


ERRORS: dict[str, Callable[[Server], None]] = {
    **{f"status {status}": echo(status) for status in (400, 401, 403, 404, 409, 422, 429, 500, 503)},
    "no batches": no_batches,
    **{
        name: server_faults.FAULTS[name]
        for name in ("validation_failure", "another_key", "completed_without_output_file")
    },
}


@pytest.mark.parametrize("name", ERRORS)
def test_after_an_error(secret: Project, server: Server, name: str) -> None:
    ERRORS[name](server)
    lines = ("run_batch.py --process extraction", "retrieve_results.py --process extraction --wait", "batch_status.py")
    printed = "".join(secret.command(line)[1] for line in lines)
    assert MARKER not in printed
    assert files_with_key(secret.folder) == []


def test_in_a_wrong_setting(secret: Project) -> None:
    config = secret.folder / "config.yaml"
    config.write_text(config.read_text() + f"OPENAI_API_KEY: {MARKER}\n")
    status, printed = secret.command("run_batch.py --process extraction")
    assert status == 1 and "move it to .env" in printed and MARKER not in printed


@pytest.mark.parametrize("key", ["OPENAI_BASE_URL", "LOCAL_BASE_URL"])
def test_a_password_in_a_url_is_refused(secret: Project, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """Base URLs are stored with the answers."""
    monkeypatch.setenv(key, "http://user:sk-other-9d1f@127.0.0.1:9/v1")
    status, printed = secret.command("run_batch.py --process extraction")
    assert status == 1 and f"{key} (from environment)" in printed and "sk-other" not in printed
    assert not secret.output.exists()
