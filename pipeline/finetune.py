"""Final labels -> training data: what a page says, and the extraction answer that it should get."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from tqdm import tqdm

from pipeline.config import Config, Split
from pipeline.documents.discover import load_text, manifest_entries
from pipeline.documents.grounding import PageIndex
from pipeline.errors import StageOrderError
from pipeline.merge import load_document
from pipeline.records import Dataset, Document, Page
from pipeline.stages import STAGES
from pipeline.stages.base import read_prompt
from pipeline.stages.extraction import ExtractedDataset, ExtractedMention, ExtractionAnswer
from pipeline.stages.pieces import whole
from pipeline.workspace import Workspace, replacing, write_atomic

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
PROMPT = "extraction_finetuned"


@dataclass
class Made:
    """Counts: rows by (split, positive or negative), pages left out by reason, documents by split."""

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)


def generate(config: Config, workspace: Workspace) -> Made:
    """Write train, valid and test as OpenAI chat `messages` JSONL, and a README beside them.

    Raises StageOrderError where no document has been through the reasoning stage.
    """
    made = Made()
    system = read_prompt(config, PROMPT)
    with ExitStack() as stack:
        files = {split: stack.enter_context(replacing(workspace.finetune / f"{split}.jsonl")) for split in SPLITS}
        for entry in tqdm(list(manifest_entries(workspace)), desc="Collecting labels", leave=False, disable=None):
            document = None if entry.problem else load_document(workspace, "reasoning", entry.source)
            if document is None:
                continue
            split = split_of(entry.sha256 or "", config.split, config.split_seed)
            made.documents[split] += 1
            for kind, row in _rows(document, load_text(workspace, entry.source).pages, system, made.left_out):
                made.rows[split, kind] += 1
                files[split].write(json.dumps(row).encode("ascii") + b"\n")
        if not made.documents:
            raise StageOrderError(
                "There are no final labels yet: run  python run_batch.py --process reasoning  "
                "and  python retrieve_results.py --process reasoning  first."
            )
    write_atomic(workspace.finetune / "README.md", _card(made).encode())
    return made


def split_of(sha256: str, shares: Mapping[Split, float], seed: int) -> Split:
    """The split of a document, from the hash of its PDF: neither its name nor its neighbours can move it."""
    place = int(hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()[:13], 16) / 16**13
    place *= sum(shares.get(split, 0.0) for split in SPLITS)
    for split in SPLITS:
        place -= shares.get(split, 0.0)
        if place < 0:
            return split
    return SPLITS[0]


def _rows(
    document: Document, pages: list[Page], system: str, left_out: Counter[str]
) -> Iterator[tuple[str, dict[str, object]]]:
    names = _names(document)
    for page in pages:
        kind, why = _kind(document, page, names)
        if kind is None:
            left_out[why] += 1
        else:
            yield kind, _row(page, _target(document, page), system)


def _kind(document: Document, page: Page, names: set[str]) -> tuple[str | None, str]:
    """(`positive` or `negative`, "") or (None, why the page is left out)."""
    status = document.page_status.get(str(page.page), "not_sent")
    if status not in ("answered", "nothing_to_ask"):
        return None, status
    known = document.page(page.page)
    datasets = known.datasets() if known else []
    if any(dataset.valid is None for dataset in datasets):
        return None, "a mention without a verdict"
    valid = [dataset for dataset in datasets if dataset.valid]
    if any(not _located(dataset) for dataset in valid):
        return None, "a valid mention that could not be located"
    if valid:
        return "positive", ""
    index = PageIndex(page.text)
    if any(index.locate(name) for name in names):
        return None, "no mention found, but a name found elsewhere in the document"
    return "negative", ""


def _names(document: Document) -> set[str]:
    """Every name and acronym of a dataset that was found valid in the document."""
    valid = [dataset for page in document.pages for dataset in page.datasets() if dataset.valid]
    return {name for dataset in valid for name in (dataset.raw_name, dataset.harmonized_name, dataset.acronym) if name}


def _located(dataset: Dataset) -> bool:
    return dataset.start is not None and dataset.sent_start is not None


def _target(document: Document, page: Page) -> ExtractionAnswer:
    """The answer that the extraction should have given, in the page's own words."""
    known = document.page(page.page)
    sentences: dict[tuple[int, str], list[ExtractedDataset]] = {}
    for dataset in known.datasets() if known else []:
        if dataset.valid and dataset.sent and dataset.sent_start is not None:
            fields = {name: getattr(dataset, name) for name in ExtractedDataset.model_fields}
            sentences.setdefault((dataset.sent_start, dataset.sent), []).append(ExtractedDataset(**fields))
    mentions = [
        ExtractedMention(mentioned_in=sent, datasets=found)
        for (_, sent), found in sorted(sentences.items(), key=lambda item: item[0])
    ]
    return ExtractionAnswer(dataset_used=bool(mentions), data_mentions=mentions)


def _row(page: Page, target: ExtractionAnswer, system: str) -> dict[str, object]:
    question = STAGES["extraction"].content(whole(page))
    answer = target.model_dump_json()
    messages = [("system", system), ("user", question), ("assistant", answer)]
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def _card(made: Made) -> str:
    lines = [
        "# Fine-tuning data",
        "",
        "One row a page: a short system prompt, the page, and the extraction answer.",
        "",
    ]
    lines += ["| split | documents | positive pages | negative pages |", "|---|---|---|---|"]
    lines += [
        f"| {split} | {made.documents[split]} | {made.rows[split, 'positive']} | {made.rows[split, 'negative']} |"
        for split in SPLITS
    ]
    lines += ["", "Pages left out:", ""]
    lines += [f"- {count} × {why}" for why, count in sorted(made.left_out.items())] or ["- none"]
    return "\n".join(lines) + "\n"
