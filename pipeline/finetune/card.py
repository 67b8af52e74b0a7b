"""The card beside the training data: what is in it, where it comes from, and what was left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pipeline.batches.cost import count_tokens
from pipeline.config import SPLITS
from pipeline.finetune.examples import OVERHEAD, Example
from pipeline.finetune.formats import Format
from pipeline.records import Document
from pipeline.workspace import write_atomic

BUCKET = 250  # tokens
PICTURE = "tokens.png"


@dataclass
class Card:
    """What the card counts: rows and mentions by split, tokens of rows, models and their cost."""

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    mentions: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    documents: Counter[str] = field(default_factory=Counter)
    tokens: Counter[tuple[str, int]] = field(default_factory=Counter)
    models: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    cost: float = 0.0
    _last: str = ""

    def add_document(self, document: Document) -> None:
        self.models.update({(one.process, one.model, one.prompt_sha256[:12]) for one in document.provenance})
        self.cost += sum(usage.cost_usd or 0.0 for usage in document.usage.values())

    def add(self, split: str, example: Example, made: Mapping[str, Any]) -> None:
        self.rows[split, example.kind] += 1
        self.labels[split, example.label] += 1
        self.documents[split] += example.source != self._last  # rows come document by document
        self._last = example.source
        tokens = OVERHEAD + sum(count_tokens(text) for text in _texts(made))
        self.tokens[split, tokens // BUCKET * BUCKET] += 1
        for mention in example.answer.data_mentions:
            for dataset in mention.datasets:
                for name in ("specificity", "context"):
                    self.mentions.setdefault(name, Counter())[split, getattr(dataset, name)] += 1


def _texts(made: Mapping[str, Any]) -> list[str]:
    if "messages" in made:
        return [message["content"] for message in made["messages"]]
    if "conversations" in made:
        return [turn["value"] for turn in made["conversations"]]
    return [made["instruction"], made["input"], made["output"]]


def write_card(card: Card, left_out: Mapping[str, int], form: Format, folder: Path) -> None:
    """README.md, as dataset hubs show it, and the histogram that it refers to."""
    write_atomic(folder / PICTURE, _histogram(card))
    write_atomic(folder / "README.md", _text(card, left_out, form).encode())


def _text(card: Card, left_out: Mapping[str, int], form: Format) -> str:
    rows = [
        [split, card.documents[split], card.rows[split, "positive"], card.rows[split, "negative"]] for split in SPLITS
    ]
    parts = [
        _header(),
        "# Dataset mentions: training data\n",
        f"One row a page, or a part of a long page, in the format `{form}`: the system prompt (`system_prompt.md`),\n"
        "the page, and the extraction answer. `*.sources.jsonl` tells line by line which page a row comes from, and\n"
        "who says that it is right. Documents are split by the hash of their PDF.\n",
        _table(("split", "documents", "positive", "negative"), rows),
        "## Who labelled it\n",
        _by_split(card.labels, "label"),
        "## Mentions\n",
        *(_by_split(counts, name) for name, counts in sorted(card.mentions.items())),
        f"## Tokens\n\n![Rows by tokens]({PICTURE})\n",
        "Counted with o200k_base; another model's tokenizer counts otherwise.\n",
        "## Where it comes from\n",
        _table(
            ("stage", "model", "prompt", "documents"), [[*made, count] for made, count in sorted(card.models.items())]
        ),
        f"The answers to these documents' pages cost ${card.cost:.4f}, as far as prices are known.\n",
        "## Left out\n",
        _table(("pages", "why"), [[count, why] for why, count in sorted(left_out.items())]),
    ]
    return "\n".join(parts)


def _header() -> str:
    """What hubs read: the files of each split."""
    files = [{"split": split if split != "valid" else "validation", "path": f"{split}.jsonl"} for split in SPLITS]
    listed = "\n".join(f"  - split: {file['split']}\n    path: {file['path']}" for file in files)
    return f"---\ntask_categories:\n- text-generation\nconfigs:\n- config_name: default\n  data_files:\n{listed}\n---\n"


def _by_split(counts: Counter[tuple[str, str]], name: str) -> str:
    values = sorted({value for _, value in counts})
    return _table((name, *SPLITS), [[value, *(counts[split, value] for split in SPLITS)] for value in values])


def _table(headers: tuple[str, ...], rows: list[list[Any]]) -> str:
    if not rows:
        return "None.\n"
    escaped = [[_cell(value) for value in row] for row in rows]
    return tabulate(escaped, headers=headers, tablefmt="github", disable_numparse=True) + "\n"


def _cell(value: Any) -> Any:
    """A name of a file or a person, kept from breaking the table or being taken for markup."""
    return re.sub(r"[|<>`\[\]*\n\r]", "_", value) if isinstance(value, str) else value


def _histogram(card: Card) -> bytes:
    """PNG: rows by tokens, the splits on top of each other."""
    from io import BytesIO

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    buckets = sorted({bucket for _, bucket in card.tokens}) or [0]
    below = [0] * len(buckets)
    for split, colour in zip(SPLITS, ("#2a6f97", "#e09f3e", "#9e2a2b"), strict=True):
        heights = [card.tokens[split, bucket] for bucket in buckets]
        axes.bar([bucket + BUCKET / 2 for bucket in buckets], heights, BUCKET * 0.9, below, color=colour, label=split)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set_xlabel("tokens of a row")
    axes.set_ylabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()
