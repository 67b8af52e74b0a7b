"""Build the training rows of the shipped adapter from the data in training/data and from sentences of our own making.

    python training/corpus.py build/all
    python training/corpus.py build/fold-0 --hold-out 0 --folds 4 --only rcc

A row is a window of a page and the answer that extraction should give. Beside each file of rows lies a
`.sources.jsonl`, whose `unlabelled` names the fields that nobody has labelled in that row. Training leaves them out.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from synthetic import FIELDS, KnownDataset, Mention, Sentence, Writer

from pipeline.records import Page
from pipeline.stages.blocks import page_block
from pipeline.text.chunks import cut, whole_page
from pipeline.text.grounding import PageIndex, Span
from pipeline.text.sentences import sentence_spans

DATA = Path(__file__).resolve().parent / "data"
PROMPT = Path(__file__).resolve().parent.parent / "prompts" / "extraction_finetuned.md"
WINDOW_TOKENS = 220
UNKNOWN = ("harmonized_name", "producer", "data_type", "context")  # what the markers of names did not mark
COPIES = {"rcc": 3, "plos": 3, "tdmsci": 1}  # of each window with mentions, each with other names after the first
NEGATIVES_PER_POSITIVE = 1.3
SYNTHETIC = 1500
_DATA_WORDS = re.compile(
    r"\b(?:data|surveys?|census|regist\w+|cohort|database|records|panel|statistics|sample)\b", re.I
)
_ACRONYM = re.compile(r"[A-Z][A-Za-z-]*[A-Z][A-Za-z0-9-]*\d?$")


@dataclass(frozen=True)
class Window:
    """A part of a page. `unlabelled`: fields of its mentions that nobody has labelled."""

    source: str
    document: str
    text: str
    mentions: tuple[Mention, ...] = ()
    unlabelled: tuple[str, ...] = ()


@dataclass
class Corpus:
    """All windows, by kind."""

    positive: list[Window] = field(default_factory=list)
    negative: list[Window] = field(default_factory=list)

    def add(self, window: Window) -> None:
        (self.positive if window.mentions else self.negative).append(window)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the training rows of the shipped adapter.")
    parser.add_argument("output", type=Path, help="folder for train.jsonl")
    parser.add_argument("--folds", type=int, default=3, help="number of groups of gold documents (default: 3)")
    parser.add_argument("--hold-out", type=int, help="the group of gold documents that is left out (default: none)")
    parser.add_argument("--only", choices=("rcc", "others"), help="only the gold documents, or all but these")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rows = build(options.only, options.folds, options.hold_out, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    random.Random(options.seed).shuffle(rows)
    write(rows, options.output / "train")
    for name in ("valid", "test"):  # quality is measured by cross-validation
        write([], options.output / name)
    positives = sum(bool(window.mentions) for window in rows)
    print(f"{len(rows)} rows, {positives} with mentions, written to {options.output}")
    return 0


def build(only: str | None, folds: int, held_out: int | None, seed: int) -> list[Window]:
    """The windows to train on, in no particular order."""
    rng = random.Random(seed)
    gold = read_pages("rcc_pages.jsonl", "rcc")
    left_out = set(fold_documents(gold, folds)[held_out]) if held_out is not None else set()
    gold = [page for page in gold if page.document not in left_out]
    aliases = without_names(read_rows("dataset_aliases.jsonl"), read_pages("rcc_pages.jsonl", "rcc"))
    writer = Writer(aliases, seed)
    chosen: list[Window] = []
    if only != "others":
        chosen += balanced(windows(gold), writer, rng)
    if only != "rcc":
        silver = windows(read_pages("plos_pages.jsonl", "plos"))
        silver.negative = [one for one in silver.negative if not _DATA_WORDS.search(one.text)]
        sentences = tdmsci(rng)
        chosen += balanced(silver, writer, rng) + balanced(sentences, writer, rng)
        plain = [one for one in [*silver.negative, *sentences.negative] if not _DATA_WORDS.search(one.text)]
        chosen += synthetic(writer, plain, rng)
    return chosen


def fold_documents(pages: Sequence[Window], folds: int) -> list[list[str]]:
    """The gold documents in groups with about as many mentions each. The largest are dealt out first."""
    counts: dict[str, int] = {}
    for page in pages:
        counts[page.document] = counts.get(page.document, 0) + len(page.mentions)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    groups: list[list[str]] = [[] for _ in range(folds)]
    for place, name in enumerate(ordered):
        turn = place % (2 * folds)
        groups[turn if turn < folds else 2 * folds - 1 - turn].append(name)
    return groups


def read_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def read_pages(name: str, source: str) -> list[Window]:
    """The pages of a file in training/data, each as one window."""
    pages = []
    for row in read_rows(name):
        mentions = tuple(Mention(one["start"], one["end"], fields_of(one["raw_name"])) for one in row["mentions"])
        pages.append(Window(source, row["doc_id"], row["text"], mentions, UNKNOWN))
    return pages


def fields_of(name: str) -> dict[str, Any]:
    """What a marked name says by itself. The other fields are unknown."""
    values: dict[str, Any] = dict.fromkeys(FIELDS) | {"context": "background", "specificity": "properly_named"}
    name = " ".join(name.split())
    bracket = re.search(r"\(([A-Z][\w-]{1,10})\)", name)
    values["acronym"] = bracket[1] if bracket else name if _ACRONYM.match(name) and len(name) < 12 else None
    year = re.search(r"\b(?:19|20)\d\d\b", name)
    values["year"] = year[0] if year else None
    if name == name.lower():
        values["specificity"] = "descriptive_but_unnamed"
    return values


def without_names(aliases: list[dict[str, Any]], gold: Sequence[Window]) -> list[dict[str, Any]]:
    """The alias groups that have no name in common with the gold: the model must not memorize them."""
    names = {" ".join(page.text[one.start : one.end].split()).lower() for page in gold for one in page.mentions}
    return [row for row in aliases if not names & {alias.lower() for alias in row["aliases"]}]


def windows(pages: Sequence[Window], tokens: int = WINDOW_TOKENS) -> Corpus:
    """The pages, cut as the program cuts them into parts of at most `tokens` tokens."""
    corpus = Corpus()
    for page in pages:
        for start, end in cut(page.text, "en", tokens):
            inside = tuple(
                Mention(one.start - start, one.end - start, one.fields)
                for one in page.mentions
                if start <= one.start and one.end <= end
            )
            crossing = any(start < one.end and one.start < end for one in page.mentions) and not inside
            if not crossing and page.text[start:end].strip():
                corpus.add(replace(page, text=page.text[start:end], mentions=inside))
    return corpus


def tdmsci(rng: random.Random) -> Corpus:
    """One to four sentences about language data sets, as one window."""
    corpus, rows = Corpus(), read_rows("tdmsci_sentences.jsonl")
    rng.shuffle(rows)
    while rows:
        group = [rows.pop() for _ in range(min(len(rows), rng.choice((1, 2, 3, 4))))]
        text, mentions = "", []
        for row in group:
            text += " " if text else ""
            mentions += [
                Mention(one["start"] + len(text), one["end"] + len(text), fields_of(one["raw_name"]))
                for one in row["mentions"]
            ]
            text += row["text"].strip() if not row["text"][:1].isspace() else row["text"].rstrip()
        corpus.add(Window("tdmsci", group[0]["doc_id"], text, tuple(mentions), UNKNOWN))
    return corpus


def balanced(corpus: Corpus, writer: Writer, rng: random.Random) -> list[Window]:
    """Every window with mentions, copies of it with other names, and negatives in proportion."""
    copies = [window for window in corpus.positive for _ in range(COPIES[window.source])]
    chosen, seen = [], set()
    for window in copies:
        chosen.append(renamed(window, writer, rng) if id(window) in seen else window)
        seen.add(id(window))
    wanted = round(len(chosen) * NEGATIVES_PER_POSITIVE)
    negatives = list(corpus.negative)
    rng.shuffle(negatives)
    # Windows that discuss data are the hard ones.
    negatives.sort(key=lambda one: -min(3, len(_DATA_WORDS.findall(one.text))) + rng.random() * 3)
    return chosen + negatives[:wanted]


def renamed(window: Window, writer: Writer, rng: random.Random) -> Window:
    """The window with other names of datasets, so that the model memorizes no name."""
    if rng.random() < 0.15:
        return window
    text, shift, mentions = window.text, 0, []
    new: dict[str, str] = {}
    known = writer.dataset()
    while known.acronym is None:
        known = writer.dataset()
    for one in sorted(window.mentions, key=lambda one: one.start):
        old = " ".join(window.text[one.start : one.end].split())
        if old not in new:
            new[old] = _other_name(old, known)
            known = known if len(new) < 3 or rng.random() < 0.5 else writer.dataset()
        name = new[old]
        start = one.start + shift
        text = text[:start] + name + text[one.end + shift :]
        shift += len(name) - (one.end - one.start)
        mentions.append(Mention(start, start + len(name), fields_of(name)))
    return replace(window, text=text, mentions=tuple(mentions))


def _other_name(old: str, known: KnownDataset) -> str:
    """A name of the same shape: an acronym, a full name, or both."""
    acronym = known.acronym or known.name
    if old == old.lower():
        return old
    if re.search(r"\([A-Z][\w-]+\)", old):
        return f"{known.name} ({acronym})"
    if _ACRONYM.match(old.split()[0]) and len(old.split()[0]) < 12:
        return acronym + old[len(old.split()[0]) :]
    return known.name if len(old.split()) > 1 else old


def synthetic(writer: Writer, plain: Sequence[Window], rng: random.Random) -> list[Window]:
    """Windows of sentences of our own making, half of them among sentences of a real page without datasets."""
    made = []
    for number in range(SYNTHETIC):
        wanted = rng.choice((0, 0, 1, 1, 1, 2, 2, 3))
        sentences = [writer.sentence() for _ in range(wanted)]
        sentences += [writer.hard_negative() for _ in range(rng.choice((0, 1, 1, 2)))]
        if rng.random() < 0.5:
            real = rng.choice(plain).text
            spans = sentence_spans(real, "en")
            low = rng.randrange(len(spans))
            sentences += [
                Sentence(" ".join(real[start:end].split())) for start, end in spans[low : low + rng.randint(2, 5)]
            ]
        else:
            sentences += [writer.prose() for _ in range(rng.randint(1, 4))]
        rng.shuffle(sentences)
        text, mentions = "", []
        for sentence in sentences:
            text += rng.choice((" ", " ", " ", "\n")) if text else ""
            mentions += [Mention(len(text) + one.start, len(text) + one.end, one.fields) for one in sentence.mentions]
            text += sentence.text
        made.append(Window("synthetic", f"synthetic-{number}", wrapped(text, rng), tuple(mentions)))
    return made


def wrapped(text: str, rng: random.Random) -> str:
    """The text with line breaks as a PDF has them, in place of spaces, so that offsets stay."""
    if rng.random() < 0.2:
        return text
    width, column, characters = rng.choice((50, 60, 75, 90, 110)), 0, list(text)
    for place, character in enumerate(characters):
        column = 0 if character == "\n" else column + 1
        if character == " " and column >= width:
            characters[place], column = "\n", 0
    return "".join(characters)


def answer(window: Window) -> dict[str, Any]:
    """The answer of extraction: the datasets, grouped by their sentences."""
    index = PageIndex(window.text, "en")
    by_sentence: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for one in sorted(window.mentions, key=lambda one: one.start):
        sentence = index.sentence(Span(one.start, one.end, "exact"))
        values = {"raw_name": " ".join(window.text[one.start : one.end].split())}
        values |= {name: one.fields[name] for name in FIELDS}
        known = by_sentence.setdefault((sentence.start, sentence.end), [])
        if values["raw_name"] not in [other["raw_name"] for other in known]:
            known.append(values)
    return {
        "data_mentions": [
            {"datasets": datasets, "mentioned_in": " ".join(window.text[start:end].split())}
            for (start, end), datasets in sorted(by_sentence.items())
        ]
    }


def write(rows: Sequence[Window], path: Path) -> None:
    """Write the rows as chat messages, and where they come from."""
    system = PROMPT.read_text(encoding="utf-8").strip()
    with (
        path.with_suffix(".jsonl").open("w", encoding="ascii") as file,
        path.with_suffix(".sources.jsonl").open("w", encoding="ascii") as sources,
    ):
        for window in rows:
            question = page_block(whole_page(Page(page=1, text=window.text)))
            said = json.dumps(answer(window), ensure_ascii=False, separators=(",", ":"))
            turns = (("system", system), ("user", question), ("assistant", said))
            messages = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"messages": messages}) + "\n")
            row = {"source": window.document, "label": window.source, "unlabelled": list(window.unlabelled)}
            sources.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
