"""What to tell the user if there is nothing to train on, or nothing in one of the splits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import Split
from pipeline.errors import StageOrderError
from pipeline.words import counted

SHOWN = 10  # documents whose split is listed
SHOWN_REASONS = 5


@dataclass
class SplitDocuments:
    """Which split the documents with labels belong to. `first`: the first of them, by id."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, Split] = field(default_factory=dict)

    def add(self, source: str, split: Split) -> None:
        self.counts[split] += 1
        if len(self.first) < SHOWN:
            self.first[source] = split

    def why_train_is_empty(self) -> str:
        """The reason, where the documents went, and how to change that."""
        total = self.counts.total()
        if number := self.counts["train"]:
            reason = f"{counted(number, 'document')} went to train, but none of their pages can be used (see left out)"
        else:
            reason = f"none of {counted(total, 'document')} went to train"
        places = ", ".join(f"{source}: {split}" for source, split in sorted(self.first.items()))
        more = f", and {total - len(self.first):,} more" if total > len(self.first) else ""
        return (
            f"train has no rows: {reason}. The documents with labels are in the splits {places}{more}. The split "
            "depends on the hash of the PDF: label more papers, or change SPLIT (for example to {train: 1}) or "
            "SPLIT_SEED in config.yaml, and run this again."
        )


def nothing_to_write(folder: Path, left_out: Counter[str], only_reviewed: bool) -> StageOrderError:
    """The error of a run without a single row. It must not replace the files of an earlier run by empty ones."""
    reasons = [f"{counted(count, 'page')}: {reason}" for reason, count in left_out.most_common(SHOWN_REASONS)]
    if len(left_out) > SHOWN_REASONS:
        reasons.append(f"{len(left_out) - SHOWN_REASONS:,} more reasons")
    advice = (
        "mark pages as complete (`python review_labels.py --html`), import the labels (`python review_labels.py "
        "--import FILE`), or leave out --only-reviewed"
        if only_reviewed
        else "see the reasons; more pages can be labelled with `python review_labels.py --html --all-pages`"
    )
    return StageOrderError(
        f"No page can be used for training, so nothing was written to {folder} ({'; '.join(reasons) or 'no page'}): "
        f"{advice}."
    )


def check_train_is_kept(train: Path, has_rows: bool, documents: SplitDocuments) -> None:
    """Raises StageOrderError if a train.jsonl with rows would be replaced by an empty one."""
    if not has_rows and train.exists() and train.stat().st_size:
        raise StageOrderError(
            f"Nothing was written, because {train} has rows and would lose all of them: "
            f"{documents.why_train_is_empty()} To write the splits anyway, delete {train} first."
        )
