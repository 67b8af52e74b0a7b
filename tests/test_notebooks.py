"""The notebooks run as they stand: the one on batches whole, the one on training up to where a GPU would help."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from conftest import Project
from server import Server
from test_finetune import many_papers

from pipeline.config import ROOT

EXAMPLES = ROOT / "examples"


def execute(name: str, environment: dict[str, str], only: str | None = None) -> Any:
    """Run a notebook, or its cells with one tag, and return it."""
    book = nbformat.read(EXAMPLES / name, as_version=4)
    if only:
        book.cells = [cell for cell in book.cells if only in cell.metadata.get("tags", [])]
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        where = {"metadata": {"path": str(EXAMPLES)}}
        return nbclient.NotebookClient(book, timeout=900, kernel_name="python3", resources=where).execute()
    finally:
        os.environ.clear()
        os.environ.update(before)


def printed(book: Any) -> str:
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.filterwarnings("ignore")  # of the notebook machinery
def test_the_batch_example_prints_what_it_shows() -> None:
    shown = nbformat.read(EXAMPLES / "batch-processing-example.ipynb", as_version=4)
    again = execute("batch-processing-example.ipynb", {})
    for one, other in zip(shown.cells, again.cells, strict=True):
        if one.cell_type == "code" and "mentions(" in one.source:
            assert printed_of(one) == printed_of(other)
    assert "Traceback" not in printed(again) and "error:" not in printed(again)
    assert "5 pages = 5 answered" in printed(again)


def printed_of(cell: Any) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


@pytest.mark.filterwarnings("ignore")
def test_the_data_of_the_training_notebook(project: Project, server: Server) -> None:
    many_papers(project)
    project.run("generate_finetune_data.py")
    book = execute("finetune-unsloth.ipynb", {"FINETUNE_DIR": str(project.output / "finetune")}, only="data")
    train = (project.output / "finetune" / "train.jsonl").read_text().count("\n")
    assert f"train: {train} rows, {train} with mentions" in printed(book)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_training_notebook_on_the_cpu(project: Project, server: Server, tmp_path: Path) -> None:
    """That it trains, is tested and is kept, with a tiny model of random weights; not that such a model learns much."""
    pytest.importorskip("trl")
    many_papers(project)
    project.run("generate_finetune_data.py")
    data = project.output / "finetune"
    tiny_model(data, tmp_path / "tiny")
    environment = {
        "FINETUNE_DIR": str(data), "BASE_MODEL": str(tmp_path / "tiny"), "ADAPTER_DIR": str(tmp_path / "adapter"),
        "EPOCHS": "12", "LEARNING_RATE": "0.01", "ACCUMULATE": "1", "NEW_TOKENS": "400", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    told = printed(execute("finetune-unsloth.ipynb", environment))
    print(told)
    assert "plain TRL and PEFT on CPU" in told and "answers have the form" in told
    assert (tmp_path / "adapter" / "lora" / "adapter_model.safetensors").exists()
    assert (tmp_path / "adapter" / "merged" / "config.json").exists()


def tiny_model(data: Path, folder: Path) -> None:
    """Random weights, and a tokenizer made of the training data."""
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
