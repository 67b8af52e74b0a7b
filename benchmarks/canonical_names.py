"""How good the rules for canonical names are, on the names of 938 social-science datasets.

    python benchmarks/canonical_names.py

All pairs of names are counted: a pair is right if both names belong to the same dataset of the list. The rules see
nothing but the names. Names of several datasets in the list are left out. The rules were chosen on the tuning half.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate  # noqa: E402

from pipeline.export.canonical import CanonicalNames, NameUse  # noqa: E402
from pipeline.export.registry import RegisteredDataset, Registry  # noqa: E402
from pipeline.text.names import own_forms  # noqa: E402

ALIASES = ROOT / "training" / "data" / "dataset_aliases.jsonl"
KNOWN = {"no registry": None, "canonical names": 0.0, "and half of the aliases": 0.5, "and all aliases": 1.0}
Group = tuple[str, list[str]]  # id, names, the canonical one first


def main() -> None:
    groups = alias_groups([json.loads(line) for line in ALIASES.read_text(encoding="utf-8").splitlines()])
    random.Random(0).shuffle(groups)
    rows = []
    for half, part in (("tuning", groups[::2]), ("test", groups[1::2])):
        for title, share in KNOWN.items():
            rows.append([half, title, *pairwise(part, None if share is None else registry(part, share))])
    header = ["half", "the registry knows", "pairs", "precision", "recall"]
    print(tabulate(rows, headers=header, floatfmt=".3f", tablefmt="github"))


def alias_groups(rows: Iterable[dict[str, Any]]) -> list[Group]:
    """The names of each dataset, without those that several datasets have."""
    rows = list(rows)
    known = [(row["group_id"], list(dict.fromkeys([row["canonical"], *row["aliases"]]))) for row in rows]
    counts = Counter(name.casefold() for _, names in known for name in dict.fromkeys(names))
    return [(group, [name for name in names if counts[name.casefold()] == 1]) for group, names in known]


def registry(groups: Sequence[Group], share: float) -> Registry:
    """A registry with the first name and a share of the others of each dataset."""
    chosen = random.Random(1)
    entries = []
    for group, (canonical, *others) in ((group, names) for group, names in groups if names):
        aliases = chosen.sample(others, round(share * len(others)))
        entries.append(RegisteredDataset.model_validate({"id": group, "canonical_name": canonical, "aliases": aliases}))
    return Registry(entries)


def pairwise(groups: Sequence[Group], known: Registry | None) -> tuple[int, float, float]:
    """(pairs of names of the same dataset, precision, recall). Each name is in a document of its own."""
    uses = [(group, NameUse(name, tuple(own_forms(name)))) for group, names in groups for name in names]
    canonical = CanonicalNames(known)
    canonical.add(use for _, use in uses)
    found = [(group, canonical.in_document(str(i), [use]).of(use)) for i, (group, use) in enumerate(uses)]
    wanted = pairs(group for group, _ in uses)
    said = pairs((one.name, one.id) for _, one in found)
    right = pairs((group, one.name, one.id) for group, one in found)
    return wanted, right / said, right / wanted


def pairs(keys: Iterable[object]) -> int:
    """The number of pairs with equal keys."""
    return sum(count * (count - 1) // 2 for count in Counter(keys).values())


if __name__ == "__main__":
    main()
