"""Sources of settings, and which of them takes precedence."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
from conftest import Project
from server import Server

from pipeline import load_config
from pipeline.config import ROOT, SECRETS, Config, environment_keys


def test_environment_overrides_dotenv_overrides_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("MAX_ATTEMPTS: 2\nMODEL: from-file\nPOLL_SECONDS: 5\n")
    (tmp_path / ".env").write_text("MODEL=from-dotenv\nPOLL_SECONDS=6\nOPENAI_API_KEY=sk-x\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("POLL_SECONDS", "7")
    monkeypatch.setenv("OUTPUT_DIR", "")  # empty is unset
    config = load_config(tmp_path / "config.yaml")
    assert (config.max_attempts, config.model, config.poll_seconds) == (2, "from-dotenv", 7.0)
    assert config.openai_api_key == config["OPENAI_API_KEY"] == "sk-x"
    assert config.overridden == {"MODEL": ".env", "OPENAI_API_KEY": ".env", "POLL_SECONDS": "environment"}
    assert config.output_dir == tmp_path / "extraction_outputs"


def test_key_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    config = load_config(tmp_path / "config.yaml")
    assert config.openai_api_key == "sk-x"
    for shown in (repr(config), str(config), str(config.model_dump()), config.model_dump_json()):
        assert "sk-x" not in shown
    with pytest.raises(KeyError):
        config["NO_SUCH_KEY"]


def test_settings_work_with_the_official_client(
    project: Project, server: Server, connections: openai.DefaultHttpxClient
) -> None:
    """As a notebook uses them. The server refuses every other key."""
    config = load_config(project.folder / "config.yaml")
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    project.run("run_batch.py --process extraction")
    for key in (config["OPENAI_API_KEY"], config.openai_api_key):
        client = openai.OpenAI(api_key=key, http_client=connections)
        assert [batch.id for batch in client.batches.list()] == list(server.batches)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(api_key="sk-other", http_client=connections).batches.list()


def test_mappings_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("")
    monkeypatch.setenv("MODEL", "{extraction: a, judge: b, reasoning: c}")
    config = load_config(tmp_path / "config.yaml")
    assert [config.model_for(process) for process in ("extraction", "judge", "reasoning")] == ["a", "b", "c"]


def test_shipped_file_lists_every_key_with_its_default() -> None:
    shipped, default = load_config(), Config()
    text = (ROOT / "config.yaml").read_text()
    assert [key for key in sorted(environment_keys() - set(SECRETS)) if f"\n{key}:" not in text] == []
    for name in Config.model_fields:
        if name not in ("request_params", "folder", "overridden", "input_dir", "output_dir"):
            assert getattr(shipped, name) == getattr(default, name), name


@pytest.mark.parametrize(
    ("model", "parameter"),
    [("gpt-4o-mini", "temperature"), ("gpt-4.1-mini", "temperature"), ("gpt-5.4-mini", "reasoning_effort"),
     ("gpt-6-luna", "reasoning_effort"), ("o4-mini", "reasoning_effort")],
)  # fmt: skip
def test_request_parameters_depend_on_the_model(model: str, parameter: str) -> None:
    params = load_config().params_for(model)
    assert parameter in params and "max_completion_tokens" in params


def test_overridden_settings_are_named_without_their_values(project: Project) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    printed = project.run("run_batch.py --process extraction")
    assert "OPENAI_BASE_URL (environment)" in printed
    assert "sk-test" not in printed
