"""The dataset card, README.md: counts, provenance, and what was left out of the training data."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from pipeline.config import SPLITS
from pipeline.files import write_atomic
from pipeline.finetune import Format
from pipeline.finetune.examples import OVERHEAD, PIPELINE, Example
from pipeline.records import CLASS_FIELDS, SPECIFICITIES, Document
from pipeline.review.labels import FINISHED
from pipeline.text.tokens import count_tokens

BUCKET = 250  # tokens; width of a bar of the histogram
HISTOGRAM = "tokens.png"
UNLABELLED = "not labelled"
PERSON = "person:"  # in the label of a row, before the name of who labelled it
SIZES: tuple[tuple[int | None, str], ...] = (  # rows, and the name that the hub has for fewer
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
    (None, "n>10M"),
)  # fmt: skip


@dataclass
class DatasetCard:
    """The numbers of the card. `min_specificity`: vaguer mentions are not in the answers. `licence`: of the data.

    `languages`: of the pages. `rows`: by split and kind. `labels`: rows by split and who labelled them. `mentions`: for
    each class field, mentions by split and value. `documents`: by split. `tokens`: rows by split and lower end of their
    bucket. `models`: documents by stage, model and start of the prompt's hash. `without_final_labels`: documents of
    which the last stage has finished no page. `left_out`: pages by reason. `left_out_parts`: parts of long pages.
    `cost_usd`: of all answers whose price is known. `digest`: of all rows.
    """

    min_specificity: str = SPECIFICITIES[-1]
    licence: str | None = None
    languages: set[str] = field(default_factory=set)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    mentions: dict[str, Counter[tuple[str, str]]] = field(
        default_factory=lambda: {name: Counter() for name in CLASS_FIELDS if name != "relevance"}  # it is never taught
    )
    documents: Counter[str] = field(default_factory=Counter)
    tokens: Counter[tuple[str, int]] = field(default_factory=Counter)
    models: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    without_final_labels: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_parts: int = 0
    cost_usd: float = 0.0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _last: str = ""

    def add_document(self, document: Document | None) -> None:
        """Count a document. `document`: None if the last stage was never run."""
        # Running the last stage for some papers also writes a file for each of the others, with no page finished.
        if document is None or not set(FINISHED) & set(document.page_status.values()):
            self.without_final_labels += 1
        if document is None:
            return
        self.models.update({(one.process, one.model, one.prompt_sha256[:12]) for one in document.provenance})
        self.cost_usd += sum(usage.cost_usd or 0.0 for usage in document.usage.values())

    def add_row(self, split: str, example: Example, row: Mapping[str, Any]) -> None:
        """Count a row, `row` being its form in the file. The rows of a document must follow each other."""
        self.rows[split, example.kind] += 1
        self.digest.update(f"{split} {json.dumps(row)}".encode())
        if example.language:
            self.languages.add(example.language)
        self.labels[split, example.label] += 1
        self.documents[split] += example.source != self._last
        self._last = example.source
        tokens = OVERHEAD + sum(count_tokens(text) for text in _texts(row))
        self.tokens[split, tokens // BUCKET * BUCKET] += 1
        for passage in example.answer.data_mentions:
            for dataset in passage.datasets:
                for name, counts in self.mentions.items():
                    value = getattr(dataset, name) if name in dataset.model_fields_set else UNLABELLED
                    counts[split, value] += 1


def _texts(row: Mapping[str, Any]) -> list[str]:
    """The texts of a row, in whichever format it is."""
    if "messages" in row:
        return [message["content"] for message in row["messages"]]
    if "conversations" in row:
        return [turn["value"] for turn in row["conversations"]]
    return [row["instruction"], row["input"], row["output"]]


def write_card(card: DatasetCard, form: Format, folder: Path) -> bool:
    """Write README.md as dataset hubs show it, with a histogram if matplotlib is installed.

    Returns whether it has a histogram.
    """
    histogram = _histogram(card)
    if histogram:
        write_atomic(folder / HISTOGRAM, histogram)
    else:
        (folder / HISTOGRAM).unlink(missing_ok=True)  # of an earlier run, on other data
    write_atomic(folder / "README.md", _text(card, form, histogram is not None).encode())
    return histogram is not None


def _text(card: DatasetCard, form: Format, has_histogram: bool) -> str:
    splits = [
        (split, card.documents[split], card.rows[split, "positive"], card.rows[split, "negative"]) for split in SPLITS
    ]
    mentions = [f"### {name.capitalize()}\n\n{_by_split(counts, name)}" for name, counts in card.mentions.items()]
    parts = [
        front_matter(
            {split: card.rows[split, "positive"] + card.rows[split, "negative"] for split in SPLITS},
            card.languages,
            [label for _, label in card.labels],
            card.licence,
            card.digest.hexdigest(),
        ),
        "# Dataset mentions: training data\n",
        f"Each row is a page, or a part of a long page, in the format `{form}`. It consists of the system prompt\n"
        "(`system_prompt.md`), the text of the page, and the extraction answer. Line N of `SPLIT.sources.jsonl`\n"
        "has the document and page of line N of `SPLIT.jsonl`, who labelled it, and as `unlabelled` the fields that\n"
        "nobody has labelled in at least one of its mentions: the answer has a default there. Documents are assigned\n"
        "to splits by the hash of their PDF.\n",
        table(("split", "documents", "positive rows", "negative rows"), splits),
        "## Rows by labeller\n",
        "`pipeline`: labelled by models. `person:NAME`: NAME has labelled all mentions of the page; NAME is a person,\n"
        "or stands for imported gold labels. `pipeline+person:NAME`: NAME has labelled some mentions of the page.\n",
        _by_split(card.labels, "labelled by"),
        "## Mentions by class\n",
        *mentions,
        "## Tokens\n",
        f"![Number of rows by number of tokens]({HISTOGRAM})\n"
        if has_histogram
        else "There is no histogram of tokens, because matplotlib was not installed when this card was written.\n",
        "Tokens are counted with o200k_base. The tokenizers of other models give other counts.\n",
        "## Models\n",
        table(
            ("stage", "model", "prompt (SHA-256)", "documents"),
            [(*model, count) for model, count in sorted(card.models.items())],
        ),
        f"All answers for these documents cost ${card.cost_usd:.4f}. Answers with an unknown price are not included.\n",
        f"Documents without final labels: {card.without_final_labels}. All rows of these are `person:NAME`.\n",
        "## Left out\n",
        table(("pages", "reason"), [(count, reason) for reason, count in sorted(card.left_out.items())]),
        f"Parts without a mention, of long pages with mentions: {card.left_out_parts}.\n",
        *_about_vague_mentions(card.min_specificity),
    ]
    return "\n".join(parts)


def _about_vague_mentions(minimum: str) -> list[str]:
    if minimum == SPECIFICITIES[-1]:
        return []
    return [f"Mentions that are vaguer than `{minimum}` do not count (MIN_SPECIFICITY).\n"]


def front_matter(
    rows: Mapping[str, int],
    languages: Collection[str],
    labels: Collection[str],
    licence: str | None,
    rows_sha256: str = "",
) -> str:
    """The header in YAML that dataset hubs read (https://huggingface.co/docs/hub/datasets-cards).

    `rows`: by split; splits without rows are left out, because loading an empty file fails. `languages`: ISO 639-1.
    `labels`: who labelled the rows. `rows_sha256`: hash of the rows.
    """
    by_people = any(PERSON in label for label in labels)
    by_models = any(label.startswith(PIPELINE) for label in labels)
    creators = [name for name, known in (("expert-generated", by_people), ("machine-generated", by_models)) if known]
    total = sum(rows.values())
    header: dict[str, Any] = {"license": licence} if licence else {}
    header |= {"language": sorted(languages), "annotations_creators": creators, "task_categories": ["text-generation"]}
    header["size_categories"] = [next(name for most, name in SIZES if most is None or total < most)]
    files = [
        {"split": "validation" if split == "valid" else split, "path": f"{split}.jsonl"}
        for split in SPLITS
        if rows[split]
    ]
    if files:
        header["configs"] = [{"config_name": "default", "data_files": files}]
        if rows_sha256:
            # The library datasets caches what it loaded, and takes new rows in the same folder for the old ones if
            # nothing differs in this header.
            header["configs"][0]["description"] = f"rows {rows_sha256[:16]}"
    return f"---\n{yaml.safe_dump({key: value for key, value in header.items() if value}, sort_keys=False)}---\n"


def _by_split(counts: Counter[tuple[str, str]], name: str) -> str:
    values = sorted({value for _, value in counts})
    return table((name, *SPLITS), [(value, *(counts[split, value] for split in SPLITS)) for value in values])


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table. Names of models and annotators cannot break it or add markup."""
    if not rows:
        return "None.\n"
    escaped = [
        [re.sub(r"[|<>`\[\]*\n\r]", "_", value) if isinstance(value, str) else value for value in row] for row in rows
    ]
    return tabulate(escaped, headers=headers, tablefmt="github", disable_numparse=True) + "\n"


def _histogram(card: DatasetCard) -> bytes | None:
    """PNG: number of rows by number of tokens, splits stacked. None if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    buckets = sorted({bucket for _, bucket in card.tokens}) or [0]
    below = [0] * len(buckets)
    for split, colour in zip(SPLITS, ("#2a6f97", "#e09f3e", "#9e2a2b"), strict=True):
        heights = [card.tokens[split, bucket] for bucket in buckets]
        axes.bar([bucket + BUCKET / 2 for bucket in buckets], heights, BUCKET * 0.9, below, color=colour, label=split)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set_xlabel("tokens per row")
    axes.set_ylabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()
