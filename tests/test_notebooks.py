"""The notebooks in examples/ run: the batch notebook completely, the training notebook without a GPU."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from conftest import Project
from server import Server
from test_finetune import many_papers

from pipeline.config import ROOT
from pipeline.providers.adapters import AdapterCard

EXAMPLES = ROOT / "examples"
BATCHES = "batch-processing-example.ipynb"
TRAINING = "finetune-unsloth.ipynb"

pytestmark = pytest.mark.filterwarnings("ignore")  # the notebook packages cause some


def execute(name: str, environment: dict[str, str], only: str | None = None) -> Any:
    """Run a notebook, or only its cells with one tag, and return it with its output."""
    book = nbformat.read(EXAMPLES / name, as_version=4)
    if only:
        book.cells = [cell for cell in book.cells if only in cell.metadata.get("tags", [])]
    client = nbclient.NotebookClient(
        book, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(EXAMPLES)}}
    )
    return client.execute(env={**os.environ, **environment})


def printed(cells: list[Any]) -> str:
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def test_the_batch_notebook_prints_what_it_shows() -> None:
    shown = nbformat.read(EXAMPLES / BATCHES, as_version=4).cells
    executed = execute(BATCHES, {}).cells
    compared = 0
    for before, after in zip(shown, executed, strict=True):
        if "iter_mentions(" in before.source:
            assert printed([before]) == printed([after]) != ""
            compared += 1
    assert compared == 3
    assert "Traceback" not in printed(executed) and "error:" not in printed(executed)
    assert "4 pages of 3 documents: 4 answered" in printed(executed)
    assert "OUTPUT_DIR" not in printed(executed)  # its helper leaves out the line about changed settings


def test_the_training_notebook_reads_the_data(project: Project, server: Server) -> None:
    many_papers(project)
    project.run("generate_finetune_data.py")
    book = execute(TRAINING, {"FINETUNE_DIR": str(project.output / "finetune")}, only="data")
    train = (project.output / "finetune" / "train.jsonl").read_text().count("\n")
    assert f"train: {train} rows, {train} with mentions" in printed(book.cells)


@pytest.mark.slow
def test_the_training_notebook_on_the_cpu(project: Project, server: Server, tmp_path: Path) -> None:
    """It trains, tests and saves a tiny model with random weights. Such a model does not learn much."""
    pytest.importorskip("trl")
    many_papers(project)
    project.run("generate_finetune_data.py")
    data = project.output / "finetune"
    tiny_model(data, tmp_path / "tiny")
    environment = {
        "FINETUNE_DIR": str(data), "BASE_MODEL": str(tmp_path / "tiny"), "ADAPTER_DIR": str(tmp_path / "adapter"),
        "EPOCHS": "12", "LEARNING_RATE": "0.01", "ACCUMULATE": "1", "NEW_TOKENS": "400", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    output = printed(execute(TRAINING, environment).cells)
    print(output)
    assert "plain TRL and PEFT on CPU" in output and re.search(r"epoch 12: F1 \d", output)
    made = tmp_path / "adapter"
    assert (made / "lora" / "adapter_model.safetensors").exists()
    assert (made / "adapter.gguf").read_bytes()[:4] == b"GGUF"
    assert AdapterCard.model_validate_json((made / "adapter.json").read_text()).process == "extraction"


def tiny_model(data: Path, folder: Path) -> None:
    """Save a model with random weights and a tokenizer trained on the training data."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    rows = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<end>", "<role>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator((message["content"] for row in rows for message in row["messages"]), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    wrapped.chat_template = (
        "{% for message in messages %}<role>{{ message.role }}\n{{ message.content }}<end>{% endfor %}"
        "{% if add_generation_prompt %}<role>assistant\n{% endif %}"
    )
    wrapped.save_pretrained(folder)
    shape = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=len(wrapped), max_position_embeddings=4096, tie_word_embeddings=False,
        pad_token_id=wrapped.pad_token_id, eos_token_id=wrapped.eos_token_id, bos_token_id=None, **shape,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
