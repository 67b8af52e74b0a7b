"""Where settings come from, and which one counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Project

from pipeline.config import ROOT, Config, environment_keys, load_config


def test_environment_beats_dotenv_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("MAX_ATTEMPTS: 2\nMODEL: from-file\nPOLL_SECONDS: 5\n")
    (tmp_path / ".env").write_text("MODEL=from-dotenv\nPOLL_SECONDS=6\nOPENAI_API_KEY=sk-x\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("POLL_SECONDS", "7")
    monkeypatch.setenv("OUTPUT_DIR", "")  # empty is unset
    config = load_config(tmp_path / "config.yaml")
    assert (config.max_attempts, config.model, config.poll_seconds) == (2, "from-dotenv", 7.0)
    assert config.openai_api_key and config.openai_api_key.get_secret_value() == "sk-x"
    assert config.overridden == {"MODEL": ".env", "OPENAI_API_KEY": ".env", "POLL_SECONDS": "environment"}
    assert config.output_dir == tmp_path / "extraction_outputs"
    assert "sk-x" not in repr(config)


def test_mappings_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("")
    monkeypatch.setenv("MODEL", "{extraction: a, judge: b, reasoning: c}")
    config = load_config(tmp_path / "config.yaml")
    assert [config.model_for(process) for process in ("extraction", "judge", "reasoning")] == ["a", "b", "c"]


def test_the_shipped_file_has_every_key_and_says_what_is_default() -> None:
    shipped, default = load_config(), Config()
    text = (ROOT / "config.yaml").read_text()
    told_elsewhere = {"OPENAI_API_KEY", "PDF_PASSWORDS"}
    assert [key for key in sorted(environment_keys() - told_elsewhere) if f"\n{key}:" not in text] == []
    for name in Config.model_fields:
        if name not in ("request_params", "folder", "overridden", "input_dir", "output_dir"):
            assert getattr(shipped, name) == getattr(default, name), name


@pytest.mark.parametrize(
    ("model", "parameter"),
    [("gpt-4o-mini", "temperature"), ("gpt-4.1-mini", "temperature"), ("gpt-5.4-mini", "reasoning_effort"),
     ("gpt-6-luna", "reasoning_effort"), ("o4-mini", "reasoning_effort")],
)  # fmt: skip
def test_parameters_follow_the_model(model: str, parameter: str) -> None:
    params = load_config().params_for(model)
    assert parameter in params and "max_completion_tokens" in params


def test_what_comes_from_outside_is_printed_without_its_value(project: Project) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    printed = project.run("run_batch.py --process extraction")
    assert "OPENAI_BASE_URL (environment)" in printed
    assert "sk-test" not in printed
