"""Writing training rows for a judge: train.jsonl, valid.jsonl and test.jsonl, with a README.md."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from pipeline.config import SPLITS, Config, Split
from pipeline.errors import StageOrderError
from pipeline.files import replacing, write_atomic
from pipeline.finetune import Format
from pipeline.finetune.dataset_card import front_matter, table
from pipeline.finetune.duplicates import HeldOut
from pipeline.finetune.examples import PageRules
from pipeline.finetune.formats import formatted
from pipeline.finetune.judge_rows import JudgeRow, judge_rows
from pipeline.finetune.shortage import SplitDocuments, check_train_is_kept, nothing_to_write
from pipeline.finetune.splits import split_of
from pipeline.processes import FINAL, FIRST
from pipeline.review.labels import load_labels
from pipeline.stages.prompts import read_prompt
from pipeline.store import load_document, load_text, manifest_entries
from pipeline.workspace import Workspace

PROMPT = "judge_finetuned"


@dataclass
class JudgeGenerated:
    """What was written to `folder`: `rows` by split, `verdicts` by split and value, `left_out`: pages by reason.

    `languages`: of the pages. `labels`: who labelled them. `documents`: those that the extraction has answered.
    `digest`: of all rows.
    """

    folder: Path
    rows: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, bool]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    languages: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    documents: SplitDocuments = field(default_factory=SplitDocuments)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)


def generate_judge(config: Config, workspace: Workspace, form: Format, only_reviewed: bool) -> JudgeGenerated:
    """Write the rows of all pages on which the extraction found something and whose labels are known.

    Raises StageOrderError if there is no such page, or train would lose all its rows, InputError, LabelError,
    WorkspaceError.
    """
    made, system = JudgeGenerated(workspace.finetune / "judge"), read_prompt(config, PROMPT)
    rules, held_out = PageRules(only_reviewed), HeldOut()
    with ExitStack() as stack:
        names = [f"{split}{kind}.jsonl" for split in SPLITS for kind in ("", ".sources")]
        files = {name: stack.enter_context(replacing(made.folder / name)) for name in names}
        # Train comes last, because it must not contain pages of the other splits.
        for splits in (SPLITS[1:], SPLITS[:1]):
            for split, row in _rows(config, workspace, rules, splits, made):
                if split != "train":
                    held_out.add(row.page.text)
                elif held_out.has_near_duplicate(row.page.text):
                    made.left_out["near-duplicate of a page in valid or test"] += 1
                    continue
                provenance = {"source": row.source, "page": row.page.page, "part": 0, "label": row.label}
                line = formatted(system, row.question, row.answer.model_dump_json(), form, provenance)
                files[f"{split}.jsonl"].write(json.dumps(line).encode("ascii") + b"\n")
                source = {**provenance, "unlabelled": row.unlabelled}
                files[f"{split}.sources.jsonl"].write(json.dumps(source).encode("ascii") + b"\n")
                made.rows[split] += 1
                made.digest.update(f"{split} {json.dumps(line)}".encode())
                made.labels.add(row.label)
                made.languages.update(filter(None, [row.page.language]))
                made.verdicts.update((split, verdict.valid) for verdict in row.answer.verdicts)
        if not made.rows and made.documents.counts and made.left_out:
            raise nothing_to_write(made.folder, made.left_out, only_reviewed)
        if not made.rows:
            raise StageOrderError(
                "There is no page with mentions and a label: run `python run_batch.py --process extraction`, then "
                "label its pages (`python review_labels.py --html`) or run the later stages."
            )
        check_train_is_kept(made.folder / "train.jsonl", bool(made.rows["train"]), made.documents)
    write_atomic(made.folder / "system_prompt.md", system.encode() + b"\n")
    write_atomic(made.folder / "README.md", _card(made, form, config.dataset_license).encode())
    return made


def _rows(
    config: Config, workspace: Workspace, rules: PageRules, splits: Sequence[Split], made: JudgeGenerated
) -> Iterator[tuple[Split, JudgeRow]]:
    labels = load_labels(workspace)
    entries = manifest_entries(workspace)
    for entry in tqdm(entries, desc=f"Writing {' and '.join(splits)}", unit=" papers", leave=False, disable=None):
        split = split_of(entry.sha256 or "", config.split, config.split_seed)
        if split not in splits or entry.problem:
            continue
        text = load_text(workspace, entry.source)
        documents = {process: load_document(workspace, process, entry.source) for process in (FIRST, FINAL)}
        current = {name: one for name, one in documents.items() if one and one.text_sha256 == text.digest()}
        if FIRST not in current:
            made.left_out["the extraction has no answer about this text"] += text.n_pages
            continue
        made.documents.add(entry.source, split)
        for row in judge_rows(text, current, labels, rules):
            if isinstance(row, str):
                made.left_out[row] += 1
            else:
                yield split, row


def _card(made: JudgeGenerated, form: Format, licence: str | None) -> str:
    splits = [(one, made.rows[one], made.verdicts[one, True], made.verdicts[one, False]) for one in SPLITS]
    return "\n".join([
        front_matter(made.rows, made.languages, made.labels, licence, made.digest.hexdigest()),
        "# Verdicts on dataset mentions: training data\n",
        f"Each row is a page with the mentions that the extraction found on it, in the format `{form}`, and a\n"
        "verdict on each of them. A mention is valid if the final label has a valid mention in the same place.\n"
        "Line N of `SPLIT.sources.jsonl` has the document and page of line N of `SPLIT.jsonl`, and who labelled\n"
        "it. `unlabelled` has `reason` where nobody gave a reason for at least one verdict: it is empty there.\n",
        table(("split", "rows", "valid mentions", "invalid mentions"), splits),
        "## Left out\n",
        table(("pages", "reason"), [(count, reason) for reason, count in sorted(made.left_out.items())]),
    ])  # fmt: skip
