"""LoRA adapters for the embedded model: which stage uses one, and how it is asked then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Project

from pipeline.batches.requests import RequestBuilder
from pipeline.config import Config, load_config
from pipeline.errors import ConfigError
from pipeline.files import sha256_of
from pipeline.providers.adapters import SHIPPED, AdapterCard, find_adapter
from pipeline.providers.local import LocalProvider
from pipeline.providers.weights import find_weights
from pipeline.stages import get_stage
from pipeline.stages.prompts import read_prompt
from pipeline.workspace import Workspace


def config_with(folder: Path, **settings: object) -> Config:
    lines = [f"{key}: {json.dumps(value)}" for key, value in {"PROVIDER": "local", **settings}.items()]
    (folder / "config.yaml").write_text("\n".join(lines) + "\n")
    return load_config(folder / "config.yaml")


def own_adapter(folder: Path, **card: Any) -> Config:
    """A configuration with a base model and an adapter of the user's own."""
    (folder / "base.gguf").write_bytes(b"GGUF base")
    (folder / "mine.gguf").write_bytes(b"GGUF adapter")
    values = {"process": "extraction", "base": "base.gguf", "base_sha256": sha256_of(folder / "base.gguf"), **card}
    (folder / "mine.json").write_text(json.dumps(values))
    return config_with(folder, LOCAL_MODEL="base.gguf", LOCAL_ADAPTER="mine.gguf")


def requests_of(config: Config, process: str) -> RequestBuilder:
    provider = LocalProvider(config, Workspace(config.output_dir))
    return RequestBuilder.make(get_stage(process), provider, config)


def test_the_shipped_adapter_fits_the_default_model_of_the_extraction(tmp_path: Path) -> None:
    config = config_with(tmp_path)
    base = find_weights(config, "extraction").sha256
    adapter = find_adapter(config, "extraction", base)
    assert adapter is not None and adapter.path.parent == SHIPPED and adapter.card.base_sha256 == base
    assert adapter.path.stat().st_size <= 40_000_000 and adapter.path.read_bytes()[:4] == b"GGUF"
    assert find_adapter(config, "extraction", "0" * 64) is None


def test_an_adapter_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    config = own_adapter(tmp_path, page_tokens=321, max_items=15, max_text=999)
    requests = requests_of(config, "extraction")
    assert requests.system == read_prompt(config, "extraction_finetuned")
    assert requests.recipe.max_page_tokens == 321
    assert requests.recipe.model == f"{sha256_of(tmp_path / 'base.gguf')}+{sha256_of(tmp_path / 'mine.gguf')}"
    schema = json.dumps(requests.recipe.params) + json.dumps(requests.format.answer_format)
    assert '"maxItems": 15' in schema and '"maxLength": 999' in schema
    judge = requests_of(config, "judge")
    assert judge.recipe.model == sha256_of(tmp_path / "base.gguf")
    assert judge.recipe.max_page_tokens == config.max_page_tokens and "Examples" in judge.system


def test_a_smaller_limit_of_the_settings_is_kept(tmp_path: Path) -> None:
    own_adapter(tmp_path, page_tokens=321)
    config = config_with(tmp_path, LOCAL_MODEL="base.gguf", LOCAL_ADAPTER="mine.gguf", MAX_PAGE_TOKENS=200)
    assert requests_of(config, "extraction").recipe.max_page_tokens == 200


def test_a_server_of_ones_own_gets_no_adapter(tmp_path: Path) -> None:
    config = config_with(tmp_path, LOCAL_BASE_URL="http://localhost:1/v1", LOCAL_MODEL="mine", LOCAL_ADAPTER="x.gguf")
    requests = requests_of(config, "extraction")
    assert requests.recipe.model == "mine" and "Examples" in requests.system


def test_none_switches_the_adapter_off(tmp_path: Path) -> None:
    config = config_with(tmp_path, LOCAL_ADAPTER="none")
    assert find_adapter(config, "extraction", find_weights(config, "extraction").sha256) is None


def test_an_adapter_for_another_base_is_refused(tmp_path: Path) -> None:
    config = own_adapter(tmp_path, base_sha256="0" * 64, base="other-model")
    with pytest.raises(ConfigError, match=r"another base model: set 'extraction: other-model' under LOCAL_MODEL"):
        requests_of(config, "extraction")


@pytest.mark.parametrize("missing", ["mine.gguf", "mine.json"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    config = own_adapter(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match=rf"cannot read .*{missing}.*train_adapter.py"):
        requests_of(config, "extraction")


@pytest.mark.parametrize("content", ["", "{}", "no json", '{"process": 1}'])
def test_an_invalid_card_is_reported(tmp_path: Path, content: str) -> None:
    config = own_adapter(tmp_path)
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(ConfigError, match=r"mine.json does not describe an adapter"):
        requests_of(config, "extraction")


def test_the_card_of_an_adapter_keeps_unknown_keys_out_of_the_way() -> None:
    """A newer train_adapter.py may write more."""
    values = {"process": "extraction", "base": "b", "base_sha256": "0", "more": 1}
    assert AdapterCard.model_validate(values).page_tokens is None


def test_an_unknown_adapter_is_reported_without_a_traceback(project: Project) -> None:
    project.configure(PROVIDER="local", LOCAL_ADAPTER="nowhere.gguf")
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    printed = project.run("run_batch.py --process extraction --dry-run", expect=1)
    assert "LOCAL_ADAPTER: cannot read" in printed and "nowhere.gguf" in printed
