"""Build the training rows of a judge: mentions, names that are none, and how they should be judged.

    python training/judge_corpus.py build/judge-others --only others
    python training/judge_corpus.py build/judge-fold-0 --only rcc --hold-out 0 --predictions build/output

A row is a short part of a page with numbered candidates. Valid ones are the marked mentions. Invalid ones are acronyms
and capitalised names that nobody marked, and what the extraction adapter found wrongly on documents that it was not
trained on (`--predictions`: the output folder of crossvalidate.py).
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus import (
    Window,
    fields_of,
    fold_documents,
    read_pages,
    read_rows,
    renamed,
    synthetic,
    tdmsci,
    windows,
    without_names,
)
from synthetic import FIELDS, Mention, Writer

from pipeline.config import ROOT
from pipeline.export.mentions import final_documents
from pipeline.records import DATASET_FIELDS, Dataset, Page
from pipeline.selection import Selection
from pipeline.stages.judge import Judge, Judgement, Verdict
from pipeline.text.chunks import whole_page
from pipeline.text.grounding import PageIndex, Span
from pipeline.text.names import key
from pipeline.workspace import Workspace

PROMPT = ROOT / "prompts" / "judge_finetuned.md"
WINDOW_TOKENS = 100
MOST_DECOYS = 2  # in a window
ROWS_OF_OTHERS = 1300
COPIES_OF_PREDICTIONS = 2
UNKNOWN = ["context", "specificity"]  # of real mentions, nobody has labelled these
_NAME = re.compile(
    r"\b(?:[A-Z][\w’'-]+(?:\s+(?:of|the|for|and|in|on|&)\s+(?=[A-Z])|\s+(?=[A-Z]))){1,6}[A-Z][\w’'-]+(?:\s\([A-Z][\w-]{1,9}\))?"
    r"|\b[A-Z][A-Za-z-]*[A-Z][A-Za-z0-9-]*\b"
)
# Names with these words may be datasets that nobody marked.
_DATA_NAME = re.compile(
    r"\b(?:data\w*|surveys?|census|panel|regist\w+|cohort|study|statistics|accounts|archive|index)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Candidate:
    """A name in a window, as the extraction would report it, and whether it is a mention."""

    mention: Mention
    valid: bool


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the training rows of a judge.")
    parser.add_argument("output", type=Path, help="folder for train.jsonl")
    parser.add_argument("--folds", type=int, default=3, help="number of groups of gold documents (default: 3)")
    parser.add_argument("--hold-out", type=int, help="the group of gold documents that is left out (default: none)")
    parser.add_argument("--only", choices=("rcc", "others"), required=True, help="the gold documents, or all but these")
    parser.add_argument(
        "--predictions", type=Path, help="output folder with extraction answers about the gold documents"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rng = random.Random(options.seed)
    gold = read_pages("rcc_pages.jsonl", "rcc")
    writer = Writer(without_names(read_rows("dataset_aliases.jsonl"), gold), options.seed)
    if options.only == "others":
        rows = list(other_rows(writer, rng))
        rng.shuffle(rows)
        rows = rows[:ROWS_OF_OTHERS]
    else:
        left_out = fold_documents(gold, options.folds)[options.hold_out] if options.hold_out is not None else []
        pages = [page for page in gold if page.document not in left_out]
        rows = [*gold_rows(pages, writer, rng)]
        if options.predictions:
            rows += predicted_rows(pages, options.predictions)
        rng.shuffle(rows)
    write(rows, options.output)
    verdicts = [one.valid for _, candidates in rows for one in candidates]
    print(f"{len(rows)} rows, {sum(verdicts)} valid and {len(verdicts) - sum(verdicts)} invalid candidates")
    return 0


def other_rows(writer: Writer, rng: random.Random) -> Iterator[tuple[Window, list[Candidate]]]:
    """Rows of everything but the gold documents."""
    silver, sentences = windows(read_pages("plos_pages.jsonl", "plos"), WINDOW_TOKENS), tdmsci(rng)
    plain = [*silver.negative, *sentences.negative]
    for window in [*sentences.positive, *silver.positive, *rng.sample(plain, 500)]:
        yield from with_candidates(window, own_names(window), rng)
        if window.mentions and rng.random() < 0.7:
            yield from with_candidates(renamed(window, writer, rng), own_names(window), rng)
    without_data = [one for one in plain if not _DATA_NAME.search(one.text)]
    for window in synthetic(writer, without_data, rng):
        yield from with_candidates(window, set(), rng)


def gold_rows(pages: Sequence[Window], writer: Writer, rng: random.Random) -> Iterator[tuple[Window, list[Candidate]]]:
    """Rows of the gold documents. A name that is marked anywhere in a document is no decoy on its other pages."""
    names: dict[str, set[str]] = {}
    for page in pages:
        names.setdefault(page.document, set()).update(own_names(page))
    cut = windows(pages, WINDOW_TOKENS)
    for window in cut.positive:
        yield from with_candidates(window, names[window.document], rng)
        yield from with_candidates(renamed(window, writer, rng), names[window.document], rng)
    for window in rng.sample(cut.negative, min(len(cut.negative), 2 * len(cut.positive))):
        yield from with_candidates(window, names[window.document], rng)


def own_names(window: Window) -> set[str]:
    """The keys of the marked names, and of the acronyms in their parentheses."""
    marked = [" ".join(window.text[one.start : one.end].split()) for one in window.mentions]
    return {key(name) for name in marked} | {key(a) for name in marked for a in re.findall(r"\(([A-Z][\w-]+)\)", name)}


def with_candidates(window: Window, known: set[str], rng: random.Random) -> Iterator[tuple[Window, list[Candidate]]]:
    """The window with its mentions and some decoys, if it has any of them."""
    found = [Candidate(one, True) for one in window.mentions] + decoys(window, known, rng)
    if found:
        yield window, sorted(found, key=lambda one: one.mention.start)


def decoys(window: Window, known: set[str], rng: random.Random) -> list[Candidate]:
    """Names in the window that are no mention. `known`: names of datasets in the document."""
    found = []
    for match in _NAME.finditer(window.text):
        name = " ".join(match[0].split())
        marked = any(one.start < match.end() and match.start() < one.end for one in window.mentions)
        similar = any(one in key(name) or key(name) in one for one in known)
        # In sentences of our own making all mentions are marked.
        uncertain = window.source != "synthetic" and _DATA_NAME.search(name)
        if len(name) >= 3 and not (marked or similar or uncertain):
            found.append(Candidate(Mention(match.start(), match.end(), fields_of(name)), False))
    return rng.sample(found, min(len(found), MOST_DECOYS))


def predicted_rows(pages: Sequence[Window], output: Path) -> list[tuple[Window, list[Candidate]]]:
    """What the extraction found on these pages: valid where it overlaps a marked mention."""
    gold = {page.document for page in pages}
    rows = []
    for document in final_documents(Workspace(output), "extraction", {}, Selection()):
        name = document.source.rpartition("/")[2]
        if name not in gold:
            continue
        marked = {
            " ".join(page.text[one.start : one.end].split())
            for page in pages
            for one in page.mentions
            if page.document == name
        }
        by_page: dict[int, list[Candidate]] = {}
        texts = {one.page.page: one.page.text for one in document.mentions}
        for found in document.mentions:
            one = found.dataset
            if one.start is not None and one.end is not None:
                said = " ".join(one.raw_name.split())
                valid = any(said in other or other in said for other in marked)
                mention = Mention(one.start, one.end, {field: getattr(one, field) for field in FIELDS})
                by_page.setdefault(found.page.page, []).append(Candidate(mention, valid))
        for number, candidates in by_page.items():
            page = Window("predicted", name, texts[number], tuple(one.mention for one in candidates))
            valid_at = {(one.mention.start, one.mention.end): one.valid for one in candidates}
            for window in windows([page], WINDOW_TOKENS).positive:
                start = page.text.index(window.text)
                judged = [Candidate(one, valid_at[one.start + start, one.end + start]) for one in window.mentions]
                rows += [(window, judged)] * COPIES_OF_PREDICTIONS
    return rows


def question(window: Window, candidates: Sequence[Candidate]) -> str:
    """What the stage asks about these candidates."""
    index = PageIndex(window.text, "en")
    datasets = []
    for one in candidates:
        sentence = index.sentence(Span(one.mention.start, one.mention.end, "exact"))
        name = " ".join(window.text[one.mention.start : one.mention.end].split())
        # Decoys have no other fields than a name shows, so valid mentions must not have others either.
        fields = one.mention.fields if window.source == "predicted" else fields_of(name)
        values: dict[str, Any] = {field: fields.get(field) for field in DATASET_FIELDS}
        datasets.append(Dataset(raw_name=name, sent=window.text[sentence.start : sentence.end], **values))
    return Judge().content(whole_page(Page(page=1, text=window.text)).about(datasets, range(len(datasets))))


def answer(candidates: Sequence[Candidate]) -> Judgement:
    """The verdicts. The base is too small for a reason, so it is taught to give none."""
    return Judgement(
        verdicts=[
            Verdict(
                number=number,
                reason="",
                valid=one.valid,
                note=None,
                context=one.mention.fields.get("context") or "background",
                specificity=one.mention.fields.get("specificity") or "properly_named",
                corrections=[],
            )
            for number, one in enumerate(candidates, start=1)
        ]
    )


def write(rows: Sequence[tuple[Window, list[Candidate]]], folder: Path) -> None:
    """Write the rows as chat messages, and where they come from. Quality is measured by cross-validation."""
    folder.mkdir(parents=True, exist_ok=True)
    system = PROMPT.read_text(encoding="utf-8").strip()
    for name in ("train", "valid", "test"):
        with (
            (folder / f"{name}.jsonl").open("w", encoding="ascii") as file,
            (folder / f"{name}.sources.jsonl").open("w", encoding="ascii") as sources,
        ):
            for window, candidates in rows if name == "train" else ():
                said = answer(candidates).model_dump_json()
                turns = (("system", system), ("user", question(window, candidates)), ("assistant", said))
                messages = [{"role": role, "content": content} for role, content in turns]
                file.write(json.dumps({"messages": messages}) + "\n")
                unlabelled = [] if window.source == "synthetic" else UNKNOWN
                row = {"source": window.document, "label": window.source, "unlabelled": unlabelled}
                sources.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
