"""Walks the final labels and writes train, valid and test, and the card that says what is in them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from tqdm import tqdm

from pipeline.config import SPLITS, Config, Split
from pipeline.documents.discover import load_text, manifest_entries
from pipeline.errors import StageOrderError
from pipeline.finetune.card import Card, write_card
from pipeline.finetune.choice import Choice
from pipeline.finetune.duplicates import HeldOut
from pipeline.finetune.examples import Example, Judge, Judged, examples
from pipeline.finetune.formats import Format, provenance, row
from pipeline.labels import PageLabel, load_labels
from pipeline.merge import load_document
from pipeline.records import Document
from pipeline.stages.base import read_prompt
from pipeline.workspace import ReplacedFile, Workspace, replacing, write_atomic

PROMPT = "extraction_finetuned"


@dataclass
class Made:
    """Counts: rows by (split, positive or negative), pages left out by reason, documents by split."""

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)


def generate(config: Config, workspace: Workspace, form: Format = "openai", only_reviewed: bool = False) -> Made:
    """Write train, valid and test, and beside them the system prompt, where each row comes from, and a card.

    Raises StageOrderError where no document has been through the reasoning stage, LabelError.
    """
    work = _Work(config, workspace, form, only_reviewed)
    work.write()
    return work.made


class _Work:
    """Two walks over the held-out splits, then two over train: what there is to choose from, then what was chosen."""

    def __init__(self, config: Config, workspace: Workspace, form: Format, only_reviewed: bool) -> None:
        self.made = Made()
        self._config, self._workspace, self._form, self._only_reviewed = config, workspace, form, only_reviewed
        self._system = read_prompt(config, PROMPT)
        self._labels: dict[tuple[str, int], PageLabel] = load_labels(workspace)
        self._held_out, self._card = HeldOut(), Card()

    def write(self) -> None:
        """Raises StageOrderError."""
        folder = self._workspace.finetune
        with ExitStack() as stack:
            names = [f"{split}{kind}" for split in SPLITS for kind in ("", ".sources")]
            files = {name: stack.enter_context(replacing(folder / f"{name}.jsonl")) for name in names}
            for splits in (SPLITS[1:], SPLITS[:1]):  # train last: it must not repeat what the others hold
                with closing(Choice(self._config.negatives_per_positive)) as choice:
                    self._look(splits, choice)
                    for split, example in self._chosen(splits, choice):
                        self._write(split, example, files)
            if not self.made.documents:
                raise StageOrderError(
                    "There are no final labels yet: run  python run_batch.py --process reasoning  "
                    "and  python retrieve_results.py --process reasoning  first."
                )
        write_atomic(folder / "system_prompt.md", self._system.encode() + b"\n")
        write_card(self._card, self.made.left_out, self._form, folder)

    def _look(self, splits: Sequence[Split], choice: Choice) -> None:
        """Count the positives, and rank what could be a negative."""
        for split, sha256, document in self._documents(splits, "Looking at labels"):
            self.made.documents[split] += 1
            self._card.add_document(document)
            for judged in self._judged(split, document, self.made.left_out):
                if judged.kind == "positive":
                    choice.positive(split)
                else:
                    choice.negative(split, judged.hardness, document.source, sha256, judged.page.page)
        self._leave_out("a page without a dataset, over NEGATIVES_PER_POSITIVE", choice.decide())

    def _chosen(self, splits: Sequence[Split], choice: Choice) -> Iterator[tuple[Split, Example]]:
        most = self._config.max_seq_tokens
        for split, _, document in self._documents(splits, f"Writing {' and '.join(splits)}"):
            for judged in self._judged(split, document, Counter()):
                if judged.kind == "positive" or choice.takes(document.source, judged.page.page):
                    made, parts = examples(document.source, judged, self._system, most)
                    self._leave_out("a part, without a mention, of a long page that has some", parts)
                    yield from ((split, example) for example in made)

    def _write(self, split: Split, example: Example, files: Mapping[str, ReplacedFile]) -> None:
        if split != "train":
            self._held_out.add(example.text)
        made = row(example, self._system, self._form)
        files[split].write(json.dumps(made).encode("ascii") + b"\n")
        files[f"{split}.sources"].write(json.dumps(provenance(example)).encode("ascii") + b"\n")
        self.made.rows[split, example.kind] += 1
        self._card.add(split, example, made)

    def _documents(self, splits: Sequence[Split], what: str) -> Iterator[tuple[Split, str, Document]]:
        entries = manifest_entries(self._workspace)
        for entry in tqdm(entries, desc=what, unit=" papers", leave=False, disable=None):
            sha256 = entry.sha256 or ""
            split = split_of(sha256, self._config.split, self._config.split_seed)
            if split in splits and not entry.problem:
                document = load_document(self._workspace, "reasoning", entry.source)
                if document:
                    yield split, sha256, document

    def _judged(self, split: Split, document: Document, left_out: Counter[str]) -> Iterator[Judged]:
        text = load_text(self._workspace, document.source)
        if document.text_sha256 != text.digest():
            left_out["the paper has changed since: run  retrieve_results.py --process reasoning"] += text.n_pages
            return
        judge = Judge(document, text, self._labels, self._only_reviewed)
        for page in text.pages:
            judged = judge.judge(page)
            if isinstance(judged, str):
                left_out[judged] += 1
            elif split == "train" and self._held_out.nearly_has(page.text):
                left_out["nearly the same as a page of valid or test"] += 1
            else:
                yield judged

    def _leave_out(self, why: str, pages: int) -> None:
        if pages:
            self.made.left_out[why] += pages


def split_of(sha256: str, shares: Mapping[Split, float], seed: int) -> Split:
    """The split of a document, from the hash of its PDF: neither its name nor its neighbours can move it."""
    place = int(hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()[:13], 16) / 16**13
    place *= sum(shares.get(split, 0.0) for split in SPLITS)
    for split in SPLITS:
        place -= shares.get(split, 0.0)
        if place < 0:
            return split
    return SPLITS[0]
