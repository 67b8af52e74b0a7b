"""Write sentences that mention datasets, with all fields known, and sentences that only look as if they did.

Every word is ours, except the names of real datasets, which come from dataset_aliases.jsonl (CC0). Half of the names
are invented, so that a model has to learn how a mention looks instead of which names exist.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

WORDS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "sentences.yaml").read_text(encoding="utf-8"))
FIELDS = ("harmonized_name", "acronym", "producer", "year", "data_type", "context", "specificity", "relevance")
KINDS: dict[str, str] = WORDS["kinds"]  # what a dataset is called, and what type of data that is
_SLOT = re.compile(r"(\{\w\})")


@dataclass
class Mention:
    """A dataset in a text: `text[start:end]` is its name. `fields`: what the text says about it."""

    start: int
    end: int
    fields: dict[str, Any]


@dataclass
class Sentence:
    """A sentence with the datasets that it mentions, which may be none."""

    text: str
    mentions: list[Mention] = field(default_factory=list)


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that can be mentioned. `data_type`: as far as its name says."""

    name: str
    acronym: str | None
    data_type: str | None


class Writer:
    """Writes sentences. `aliases`: rows of dataset_aliases.jsonl. The same seed gives the same sentences."""

    def __init__(self, aliases: Sequence[dict[str, Any]], seed: int) -> None:
        self.random = random.Random(seed)
        self._known = [known for known in map(known_dataset, aliases) if known]

    def dataset(self) -> KnownDataset:
        """A real dataset or an invented one."""
        if self._known and self.random.random() < 0.5:
            return self.random.choice(self._known)
        return self._invented()

    def _invented(self) -> KnownDataset:
        pick = self.random.choice
        kind = pick(list(KINDS))
        parts = [
            pick(WORDS["places"]) if self.random.random() < 0.5 else pick(WORDS["scopes"]),
            pick(WORDS["topics"]),
            kind,
        ]
        if self.random.random() < 0.3:
            parts.insert(1, pick(WORDS["scopes"]))
        name = " ".join(dict.fromkeys(parts))
        letters = "".join(word[0] for word in re.findall(r"[A-Z]\w+", name))
        style = self.random.random()
        acronym = (
            letters if style < 0.6 else letters[:2] + "-" + letters[2:] if style < 0.75 else name[:2] + letters[1:3]
        )
        return KnownDataset(name, acronym if 3 <= len(acronym) <= 8 else None, KINDS[kind])

    def sentence(self) -> Sentence:
        """A sentence that mentions one or two datasets."""
        context = self.random.choices(("primary", "supporting", "background"), (6, 2, 3))[0]
        return self._filled(self.random.choice(WORDS[context]), context)

    def hard_negative(self) -> Sentence:
        """A sentence with words about data or with names, which mentions no dataset."""
        return self._filled(self.random.choice(WORDS["hard_negatives"]), "background")

    def prose(self) -> Sentence:
        """A sentence of a paper that is not about data."""
        return self._filled(self.random.choice(WORDS["prose"]), "background")

    def _filled(self, template: str, context: str) -> Sentence:
        slots = self._slots(template)
        made = Sentence("")
        for piece in _SLOT.split(template):
            slot = piece[1:-1] if _SLOT.fullmatch(piece) else None
            if slot in ("D", "E"):
                self._add_mention(made, context, slots)
            else:
                made.text += slots[slot] if slot else piece
        return made

    def _slots(self, template: str) -> dict[str, str]:
        """What the slots of a sentence stand for. `said_year`, `said_producer`: what it says about its datasets."""
        pick, number = self.random.choice, self.random.randint
        year = number(1985, 2021)
        until = year + number(1, 8)
        spans = f"{year}", f"{year}", f"{year}-{until}", f"{year}–{until}", f"{year}/{(year + 1) % 100:02d}"
        span = pick((*spans, f"{year} and {until}"))
        said = pick((" for ", " in ", " from ", " of ")) + span if self.random.random() < 0.5 else ""
        said = said if "{Y}" in template else ""
        place = pick(WORDS["places"])
        letters = ["".join(self.random.choices("ABCDEFGHILMNOPRSTUW", k=number(3, 5))) for _ in range(2)]
        slots = {"Y": said, "said_year": span if said else "", "p": place, "y": str(year), "z": str(until)}
        slots |= {"P": pick(WORDS["producers"]).format(p=place), "n": f"{number(12, 9800):,}", "q": str(number(2, 95))}
        slots |= {"t": pick(WORDS["research_topics"]), "u": pick(WORDS["research_topics"]), "M": pick(WORDS["methods"])}
        slots |= {"A": pick(WORDS["authors"]), "O": pick(WORDS["organisations"]), "U": pick(WORDS["organisations"])}
        slots |= {"T": pick(WORDS["topics"]), "k": letters[0], "l": letters[1]}
        return slots | {"said_producer": slots["P"].removeprefix("the ") if "{P}" in template else ""}

    def _add_mention(self, sentence: Sentence, context: str, slots: dict[str, str]) -> None:
        """Add a dataset to the end of an unfinished sentence."""
        before, name, after, values = self._mention(slots)
        if not sentence.text:
            before, name = (before.capitalize(), name) if before else ("", name[:1].upper() + name[1:])
        said = {"producer": slots["said_producer"] or None, "year": slots["said_year"] or None, "context": context}
        fields = dict.fromkeys(FIELDS) | {"specificity": "properly_named"} | said | values
        start = len(sentence.text) + len(before)
        sentence.mentions.append(Mention(start, start + len(name), fields))
        sentence.text += before + name + after

    def _mention(self, slots: dict[str, str]) -> tuple[str, str, str, dict[str, Any]]:
        """(words before the name, name, words after it, fields that the name itself says)."""
        pick, kind = self.random.choice, self.random.random()
        if kind < 0.16:
            what = pick(WORDS["unnamed_what"])
            who = pick(WORDS["unnamed_who"]).format(p=slots["p"], n=slots["n"])
            return "", f"{what} {who}", "", {"specificity": "descriptive_but_unnamed", "data_type": what}
        if kind < 0.22:
            return "", pick(WORDS["vague"]), "", {"specificity": "vague_generic"}
        known, style = self.dataset(), self.random.random()
        before, values = "the ", {"data_type": known.data_type}
        if not slots["said_year"] and self.random.random() < 0.2:
            values["year"] = str(self.random.randint(1985, 2021))
            before = f"the {values['year']} "
        if known.acronym and style < 0.4:
            after = pick(("", "", " data", " dataset", " database")) if self.random.random() < 0.5 else ""
            return before, known.acronym, after, values | {"acronym": known.acronym, "data_type": None}
        values["harmonized_name"] = known.name
        if known.acronym and style < 0.7:
            return before, f"{known.name} ({known.acronym})", "", values | {"acronym": known.acronym}
        return before, known.name, "", values


def known_dataset(row: dict[str, Any]) -> KnownDataset | None:
    """The dataset of an alias group, if its name looks like that of a dataset."""
    name = re.sub(r"^(?:the|The) ", "", row["canonical"].strip())
    acronyms = [alias for alias in row["aliases"] if re.fullmatch(r"[A-Z][A-Za-z]*[A-Z][A-Za-z0-9-]{0,6}", alias)]
    if not re.match(r"[A-Z]", name) or not 2 <= len(name.split()) <= 11 or len(name) > 90 or "(" in name:
        return None
    lowered = name.lower()
    data_type = next((KINDS[kind] for kind in sorted(KINDS, key=len, reverse=True) if kind.lower() in lowered), None)
    acronym = acronyms[0] if acronyms and len(acronyms[0]) <= 9 else None
    return KnownDataset(name, acronym, data_type)
