"""Train the lexical prefilter, evaluate it on held-out documents, and write pipeline/prefilter/lexical.json.

    pip install -r requirements.txt -r requirements-training.txt
    python training/train_prefilter.py
    python training/train_prefilter.py --pdfs FOLDER    # only: which share of the pages of these papers is skipped

Every score that is reported is of a document that was left out: of the training, and of the choice of the threshold.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.pdf.page_kinds import PageClassifier  # noqa: E402
from pipeline.prefilter.features import FEATURES, features  # noqa: E402
from pipeline.prefilter.lexical import WEIGHTS_FILE, LexicalClassifier  # noqa: E402
from pipeline.records import Page  # noqa: E402

GOLD, SILVER = "rcc_pages.jsonl", "plos_pages.jsonl"
SILVER_WEIGHT = 0.3  # of a silver page in training, if a gold page has 1
REGULARISATION = 0.003  # C of the logistic regression: strong, because there are few positive pages
RECALL = 0.98  # of the positive pages that were held out within the training data
# Largest share of the gold pages that the threshold may skip. The aim is 40 %. A higher threshold would still keep all
# marked pages; it is not used, because pages without a mark may name datasets too.
SKIPPED = 0.5
SHOWN_THRESHOLDS = (0.26, 0.3, 0.35, 0.4, 0.5)
SAMPLES = 10_000  # of the bootstrap
SEED = 1
# A page without a mark that has these may name a dataset that nobody marked. It is not used as a negative.
AMBIGUOUS = [FEATURES.index("names"), FEATURES.index("acronyms_of_data")]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Pages:
    """Pages, one per row: the document, whether it is gold, whether a dataset is marked, and the features."""

    documents: NDArray[np.str_]
    gold: Bools
    marked: Bools
    counts: Floats

    def of(self, chosen: Bools) -> Pages:
        return Pages(self.documents[chosen], self.gold[chosen], self.marked[chosen], self.counts[chosen])

    @property
    def names(self) -> list[str]:
        """The documents, sorted."""
        return sorted(set(self.documents.tolist()))


@dataclass(frozen=True)
class Model:
    """A linear classifier: one weight per feature."""

    weights: Floats
    bias: float

    def logits(self, pages: Pages) -> Floats:
        return np.asarray(pages.counts @ self.weights + self.bias)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train and evaluate the lexical prefilter.")
    parser.add_argument("--data", type=Path, default=ROOT / "training" / "data", help="folder with the training data")
    parser.add_argument("--output", type=Path, default=WEIGHTS_FILE, help="file for the weights")
    parser.add_argument("--pdfs", type=Path, metavar="FOLDER", help="report the share of skipped pages of these papers")
    options = parser.parse_args(argv)
    if options.pdfs:
        report_papers(options.pdfs, LexicalClassifier(options.output))
        return 0
    pages = load_pages(options.data)
    evaluation = evaluate(pages)
    print_thresholds(pages)
    model, threshold = train(pages)
    content = {
        "weights": {name: round(float(weight), 6) for name, weight in zip(FEATURES, model.weights, strict=True)},
        "bias": round(model.bias, 6),
        "threshold": round(probability(threshold), 4),
        "evaluation": evaluation,
    }
    options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")
    return 0


def load_pages(folder: Path) -> Pages:
    """All pages that SKIP_PAGES would send."""
    rows = [(name == GOLD, *row) for name in (GOLD, SILVER) for row in asked_pages(folder / name)]
    gold, documents, marked, counts = zip(*rows, strict=True)
    return Pages(np.array(documents), np.array(gold), np.array(marked), np.array(counts))


def asked_pages(path: Path) -> Iterator[tuple[str, bool, list[float]]]:
    """(document, whether a dataset is marked, features) of each page with text that is no list."""
    documents = defaultdict[str, list[dict[str, Any]]](list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        documents[row["doc_id"]].append(row)
    for document, rows in documents.items():
        rows = [row for row in sorted(rows, key=lambda row: int(row["page"])) if row["text"].strip()]
        classifier = PageClassifier()
        for row, counts in zip(rows, features([row["text"] for row in rows]), strict=True):
            if classifier.kind(row["text"]) is None:
                yield document, bool(row["mentions"]), counts


def fit(pages: Pages) -> Model:
    """Train on these pages. Features are standardised, and the factors are then made part of the weights."""
    ambiguous = (pages.counts[:, AMBIGUOUS] > 0).any(axis=1)
    used = pages.of(pages.marked | ~ambiguous)
    mean, deviation = used.counts.mean(axis=0), used.counts.std(axis=0) + 1e-9
    regression = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=2000)
    weight = np.where(used.gold, 1.0, SILVER_WEIGHT)
    regression.fit((used.counts - mean) / deviation, used.marked, sample_weight=weight)
    weights = regression.coef_[0] / deviation
    return Model(weights, float(regression.intercept_[0] - weights @ mean))


def held_out_logits(pages: Pages) -> Floats:
    """The logit of each gold page, from a model that was trained without its document."""
    logits = np.full(len(pages.documents), np.nan)
    for document in pages.of(pages.gold).names:
        held_out = pages.documents == document
        logits[held_out] = fit(pages.of(~held_out)).logits(pages.of(held_out))
    return logits[pages.gold]


def train(pages: Pages) -> tuple[Model, float]:
    """The model, and its threshold: the highest with enough recall that does not skip more than SKIPPED pages."""
    logits, marked = held_out_logits(pages), pages.marked[pages.gold]
    positive = np.sort(logits[marked])
    enough_recall = positive[int((1 - RECALL) * len(positive))]
    return fit(pages), float(min(enough_recall, np.quantile(logits, SKIPPED)))


def kept_pages(pages: Pages, documents: Iterable[str]) -> Bools:
    """Whether each page of these documents is kept by a prefilter that was trained without its document."""
    kept = np.zeros(len(pages.documents), dtype=bool)
    for document in documents:
        held_out = pages.documents == document
        model, threshold = train(pages.of(~held_out))
        kept[held_out] = model.logits(pages.of(held_out)) >= threshold
    return kept


def evaluate(pages: Pages) -> dict[str, Any]:
    """Print recall and the share of skipped pages for gold and silver documents, with 95 % intervals. Returns both."""
    found = {}
    for name, chosen in (("gold", pages.gold), ("silver", ~pages.gold)):
        part = pages.of(chosen)
        kept = kept_pages(pages, part.names)[chosen]
        marked, lost, skipped = int(part.marked.sum()), int((part.marked & ~kept).sum()), int((~kept).sum())
        recall, share = bootstrap(part, part.marked & kept, part.marked), bootstrap(part, ~kept, np.ones_like(kept))
        counts = {"documents": len(part.names), "pages": len(kept), "marked": marked, "lost": lost, "skipped": skipped}
        found[name] = {**counts, "recall": recall, "share_skipped": share}
        print(
            f"{name}: {len(part.names)} documents, {len(kept)} pages, {marked} with marked datasets\n"
            f"  recall   {shown(recall)}, {marked - lost} of {marked} marked pages are kept\n"
            f"  skipped  {shown(share)}, {skipped} of {len(kept)} pages"
        )
        if not lost:  # all samples are alike, so the bootstrap has nothing to say
            print(f"  If the pages were independent, a recall below {0.025 ** (1 / marked):.3f} would be improbable.")
    return found


def print_thresholds(pages: Pages) -> None:
    """Recall and skipped gold pages by PREFILTER_THRESHOLD, each page with a model that has not seen its document."""
    values, marked = 1 / (1 + np.exp(-held_out_logits(pages))), pages.marked[pages.gold]
    print("PREFILTER_THRESHOLD  recall  skipped  (gold, held-out documents)")
    for threshold in SHOWN_THRESHOLDS:
        kept = values >= threshold
        print(f"{threshold:<19.2f}  {kept[marked].mean():<6.3f}  {1 - kept.mean():.3f}")


def probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def bootstrap(pages: Pages, part: Bools, whole: Bools) -> list[float]:
    """[share, low, high]: the share of `part` in `whole`, and its 95 % interval over samples of documents."""
    generator, names = np.random.default_rng(SEED), pages.names
    place = np.searchsorted(names, pages.documents)
    in_part, in_whole = (np.bincount(place[one], minlength=len(names)) for one in (part, whole))
    drawn = generator.integers(0, len(names), (SAMPLES, len(names)))
    totals = in_whole[drawn].sum(axis=1)
    shares = in_part[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    return [round(float(value), 4) for value in (part.sum() / whole.sum(), low, high)]


def shown(estimate: Sequence[float]) -> str:
    value, low, high = estimate
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def report_papers(folder: Path, classifier: LexicalClassifier) -> None:
    """Print for each PDF how many of the pages that would be asked are skipped."""
    from pipeline.pdf.extract import OpenPaper
    from pipeline.text.language import decide_languages

    totals = [0, 0]
    for path in sorted(folder.glob("*.pdf")):
        with OpenPaper(path) as paper:
            pages: list[Page] = list(paper.pages())
        decide_languages(pages)
        readable = [page for page in pages if page.text.strip()]
        values = classifier.probabilities(readable)
        asked = [value for page, value in zip(readable, values, strict=True) if page.kind is None]
        skipped = sum(value < classifier.threshold for value in asked)
        totals = [totals[0] + skipped, totals[1] + len(asked)]
        print(f"{path.stem:<40} {skipped:>4} of {len(asked):>4} pages skipped")
    print(f"{'all':<40} {totals[0]:>4} of {totals[1]:>4} pages skipped ({totals[0] / max(totals[1], 1):.1%})")


if __name__ == "__main__":
    sys.exit(main())
