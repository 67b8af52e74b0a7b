"""Writing train.jsonl, valid.jsonl and test.jsonl from final and human labels, with a dataset card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from tqdm import tqdm

from pipeline.config import SPLITS, Config, Split
from pipeline.errors import StageOrderError
from pipeline.files import ReplacedFile, replacing, write_atomic
from pipeline.finetune import Format
from pipeline.finetune.dataset_card import DatasetCard, write_card
from pipeline.finetune.duplicates import HeldOut
from pipeline.finetune.examples import Example, PageFilter, PageRules, TrainingPage, examples
from pipeline.finetune.formats import row, sources_row
from pipeline.finetune.negatives import NegativeSampler
from pipeline.finetune.shortage import SplitDocuments, check_train_is_kept, nothing_to_write
from pipeline.finetune.splits import split_of
from pipeline.processes import FINAL
from pipeline.records import Document, ManifestEntry
from pipeline.review.labels import load_labels
from pipeline.stages.prompts import read_prompt
from pipeline.store import load_document, load_text, manifest_entries
from pipeline.workspace import Workspace

PROMPT = "extraction_finetuned"


@dataclass(frozen=True)
class Generated:
    """What was written. `documents`: those with final or human labels. `has_histogram`: whether the card has one.

    `card.left_out`: pages that were left out, by reason.
    """

    card: DatasetCard
    documents: SplitDocuments
    has_histogram: bool


def generate(config: Config, workspace: Workspace, form: Format = "openai", only_reviewed: bool = False) -> Generated:
    """Write the three splits and, beside them, the system prompt, the provenance of each row, and a dataset card.

    Documents without final labels are used if people have labelled pages of them: then only the completed pages.
    `only_reviewed`: use only pages that a person has completed. Raises StageOrderError if no document has labels of
    either kind, no page can be used, or train would lose all its rows; then no file is changed. Raises InputError,
    LabelError, WorkspaceError.
    """
    generator = _Generator(config, workspace, form, only_reviewed)
    generator.write_splits()
    write_atomic(workspace.finetune / "system_prompt.md", generator.system.encode() + b"\n")
    has_histogram = write_card(generator.card, form, workspace.finetune)
    return Generated(generator.card, generator.documents, has_histogram)


class _Generator:
    """Reads the documents twice for each group of splits: first to sample the negatives, then to write the rows.

    The memory that is needed does not grow with the number of documents, except for the sketch of valid and test.
    """

    def __init__(self, config: Config, workspace: Workspace, form: Format, only_reviewed: bool) -> None:
        self._config, self._workspace, self._form = config, workspace, form
        self._rules = PageRules(only_reviewed, config.min_specificity)
        self._labels, self._held_out = load_labels(workspace), HeldOut()
        self._labelled_sources = {source for source, _ in self._labels}
        self.system, self.card, self.documents = (
            read_prompt(config, PROMPT),
            DatasetCard(config.min_specificity, config.dataset_license),
            SplitDocuments(),
        )

    def write_splits(self) -> None:
        """Write all rows. Raises StageOrderError if there are none, or none for train; then it changes no file."""
        with ExitStack() as stack:
            names = [f"{split}{kind}" for split in SPLITS for kind in ("", ".sources")]
            paths = {name: self._workspace.finetune / f"{name}.jsonl" for name in names}
            files = {name: stack.enter_context(replacing(path)) for name, path in paths.items()}
            # Train comes last, because it must not contain pages of the other splits.
            for splits in (SPLITS[1:], SPLITS[:1]):
                with closing(NegativeSampler(self._config.negatives_per_positive)) as sampler:
                    self._sample(splits, sampler)
                    for split, example in self._examples(splits, sampler):
                        self._write(split, example, files)
            if not self.documents.counts:
                raise StageOrderError(
                    "No paper has final labels or human labels yet: run all stages with `python run_batch.py "
                    "--process all`, or label pages without a key (write them with `python review_labels.py --html "
                    "--all-pages`, import the labels with `python review_labels.py --import FILE`)."
                )
            if not self.card.rows:
                raise nothing_to_write(self._workspace.finetune, self.card.left_out, self._rules.only_reviewed)
            has_train = any(split == "train" for split, _ in self.card.rows)
            check_train_is_kept(paths["train"], has_train, self.documents)

    def _sample(self, splits: Sequence[Split], sampler: NegativeSampler) -> None:
        """Count the positive pages of these splits and sample their negatives."""
        for split, entry, document in self._split_documents(splits, "Selecting pages"):
            self.documents.add(entry.source, split)
            self.card.add_document(document)
            for page in self._training_pages(split, entry.source, document, self.card.left_out):
                if page.kind == "positive":
                    sampler.add_positive(split)
                else:
                    sampler.add_negative(split, page.hardness, entry.source, entry.sha256 or "", page.page.page)
        if too_many := sampler.sample():
            self.card.left_out["more negatives than NEGATIVES_PER_POSITIVE allows"] += too_many

    def _examples(self, splits: Sequence[Split], sampler: NegativeSampler) -> Iterator[tuple[Split, Example]]:
        for split, entry, document in self._split_documents(splits, f"Writing {' and '.join(splits)}"):
            # The reasons were counted by `_sample`.
            for page in self._training_pages(split, entry.source, document, Counter()):
                if page.kind == "positive" or sampler.is_chosen(entry.source, page.page.page):
                    rows, left_out = examples(entry.source, page, self.system, self._config.max_seq_tokens)
                    self.card.left_out_parts += left_out
                    yield from ((split, example) for example in rows)

    def _write(self, split: Split, example: Example, files: Mapping[str, ReplacedFile]) -> None:
        if split != "train":
            self._held_out.add(example.text)
        made = row(example, self.system, self._form)
        files[split].write(json.dumps(made).encode("ascii") + b"\n")
        files[f"{split}.sources"].write(json.dumps(sources_row(example)).encode("ascii") + b"\n")
        self.card.add_row(split, example, made)

    def _split_documents(
        self, splits: Sequence[Split], title: str
    ) -> Iterator[tuple[Split, ManifestEntry, Document | None]]:
        """The documents of these splits that have final labels, or None instead of them but labels of people."""
        entries = manifest_entries(self._workspace)
        for entry in tqdm(entries, desc=title, unit=" papers", leave=False, disable=None):
            split = split_of(entry.sha256 or "", self._config.split, self._config.split_seed)
            if split in splits and not entry.problem:
                document = load_document(self._workspace, FINAL, entry.source)
                if document or entry.source in self._labelled_sources:
                    yield split, entry, document

    def _training_pages(
        self, split: Split, source: str, document: Document | None, left_out: Counter[str]
    ) -> Iterator[TrainingPage]:
        """The pages of a document that can be used. Counts the others in `left_out`, by reason."""
        text = load_text(self._workspace, source)
        if document is None:  # of its pages, only those that a person has completed can be used
            document = Document(source=source, process=FINAL, text_sha256=text.digest())
        if document.text_sha256 != text.digest():
            reason = f"the paper has changed since it was processed: run `python retrieve_results.py --process {FINAL}`"
            left_out[reason] += text.n_pages
            return
        page_filter = PageFilter(document, text, self._labels, self._rules)
        for page in text.pages:
            checked = page_filter.check(page)
            if isinstance(checked, str):
                left_out[checked] += 1
            elif split == "train" and self._held_out.has_near_duplicate(page.text):
                left_out["near-duplicate of a page in valid or test"] += 1
            else:
                yield checked
