"""How fast mentions are exported, and whether memory stays flat.

    python benchmarks/export.py                          # 100,000 and 1,000,000 mentions as CSV, Parquet and a report
    python benchmarks/export.py --mentions 100000 --formats html --keep build/export

The papers are synthetic: 10 pages, 40 mentions each, of 500 datasets under several names. Each export runs in its own
process, so that its peak memory is measured alone. The baseline, in the same run, is `json.loads` of the bytes of the
same document files.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate  # noqa: E402

from pipeline.processes import FINAL  # noqa: E402
from pipeline.records import PageText  # noqa: E402

PAGES, PER_PAGE = 10, 4
PLACES = [
    "Ardania", "Belmora", "Corvia", "Dunmere", "Eastmark", "Falkovia", "Garesh", "Haldland", "Illyra", "Jorvan",
]  # fmt: skip
TOPICS = ["Household", "Farm", "Labour", "Health", "School", "Firm", "Price", "Land", "Water", "Trade", "Housing"]
KINDS = ["Survey", "Panel", "Census", "Register", "Database"]
COUNTRIES = ["Ghana", "Kenya", "northern Peru", "Lima, Peru", "Nepal and India", "Viet Nam", "coastal areas", None]
PRODUCERS = ["Statistics Office", "Ministry of Health", "Central Bank", "World Bank", "University", "Tax Authority"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mentions", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", default=["csv", "parquet", "html"])
    parser.add_argument("--keep", type=Path, help="folder for the synthetic workspace (default: a temporary one)")
    options = parser.parse_args()
    rows = []
    for mentions in options.mentions:
        with tempfile.TemporaryDirectory() as name:
            folder = options.keep or Path(name)
            make_workspace(folder, mentions // (PAGES * PER_PAGE))
            baseline = reading_time(folder)
            rows += [[form, f"{mentions:,}", *measured(folder, form, baseline)] for form in options.formats]
    header = ["format", "mentions", "mentions/s", "times the baseline", "peak memory (MB)", "file (MB)"]
    print(tabulate(rows, headers=header, tablefmt="github"))


def make_workspace(folder: Path, papers: int) -> None:
    """Write page texts, documents, a manifest and the metadata of papers."""
    rng = random.Random(0)
    known = []
    for _ in range(500):
        name = " ".join([rng.choice(PLACES), rng.choice(TOPICS), rng.choice(TOPICS), rng.choice(KINDS)])
        known.append((name, rng.choice(PRODUCERS)))
    weights = [1 / (place + 3) for place in range(len(known))]
    output = folder / "out"
    (folder / "input").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("OUTPUT_DIR: out\nINPUT_DIR: input\n")
    with (folder / "input" / "metadata.csv").open("w") as metadata, _opened(output / "manifest.jsonl") as manifest:
        metadata.write("document,title,year,country,doi\n")
        for number in range(papers):
            source = f"{number // 1000:04}/paper-{number:07}"
            title = f"The {rng.choice(TOPICS).lower()} of {rng.choice(PLACES)}: evidence from {number}"
            metadata.write(f"{source},{title},{rng.randint(1995, 2025)},{rng.choice(PLACES)},10.1234/{number}\n")
            entry = {"source": source, "file": f"{source}.pdf", "sha256": str(number), "n_pages": PAGES}
            manifest.write(json.dumps(entry) + "\n")
            make_document(output, source, rng, rng.choices(known, weights, k=6))


def make_document(output: Path, source: str, rng: random.Random, known: list[tuple[str, str]]) -> None:
    pages, texts = [], []
    for page in range(1, PAGES + 1):
        text, passages = "", []
        for _ in range(PER_PAGE):
            name, producer = rng.choice(known)
            acronym = "".join(word[0] for word in name.split())
            printed = rng.choice([name, f"{name} ({acronym})", f"{name} data", acronym])
            before, after = f"In {rng.choice(PLACES)}, we use the ", f" to study {rng.choice(TOPICS).lower()} prices. "
            start, sentence = len(text), before + printed + after.strip()
            text += before + printed + after
            valid = rng.random() > 0.1
            verdict = {"valid": valid, "reason": "a named source of data" if valid else "an organisation"}
            dataset = {
                "raw_name": printed, "producer": producer, "year": "2011", "data_type": rng.choice(KINDS).lower(),
                "geography": rng.choice(COUNTRIES),
                "context": rng.choice(["primary", "supporting", "background", "background"]) if valid else None,
                "specificity": "properly_named" if valid else None, "relevance": None, "start": start + len(before),
                "end": start + len(before) + len(printed), "sent": sentence, "sent_start": start,
                "sent_end": start + len(sentence), "grounding": "exact", "valid": valid,
                "invalid_reason": None if valid else "an organisation",
                "note": "name to be confirmed" if rng.random() < 0.03 and valid else None,
                "verdicts": {"judge": {"valid": rng.random() > 0.05, "reason": "a name"}, "reasoning": verdict},
            }  # fmt: skip
            passages.append({
                "mentioned_in": sentence, "start": start, "end": start + len(sentence), "page": page,
                "dataset_used": valid, "datasets": [dataset],
            })  # fmt: skip
        texts.append({"page": page, "text": text})
        pages.append({"page": page, "dataset_used": True, "data_mentions": passages})
    page_text = {"source": source, "file": f"{source}.pdf", "sha256": "0", "n_pages": PAGES, "pages": texts}
    digest = PageText.model_validate(page_text).digest()
    document = {"source": source, "process": FINAL, "text_sha256": digest, "pages": pages}
    for folder, content in (("text", page_text), (FINAL, document)):
        with _opened(output / folder / f"{source}.json") as file:
            json.dump(content, file)


def _opened(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


def reading_time(folder: Path) -> float:
    """Seconds to parse the document files."""
    started = time.perf_counter()
    for path in (folder / "out" / FINAL).rglob("*.json"):
        json.loads(path.read_bytes())
    return time.perf_counter() - started


def measured(folder: Path, form: str, baseline: float) -> list[object]:
    """Mentions per second, ratio to the baseline, peak memory and size of the file."""
    command = [sys.executable, str(ROOT / "export_mentions.py"), "--config", str(folder / "config.yaml")]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--format", form], stdout=subprocess.PIPE, text=True)
    printed, _ = process.communicate()
    seconds = time.perf_counter() - started
    assert process.returncode == 0, printed
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    valid, rejected = (int(part.split()[0].replace(",", "")) for part in printed.splitlines()[0].split(", and "))
    size = max(path.stat().st_size for path in (folder / "out" / "export").glob(f"*.{form}")) / 1e6
    return [f"{(valid + rejected) / seconds:,.0f}", f"{seconds / baseline:.1f}", f"{peak:.0f}", f"{size:.0f}"]


if __name__ == "__main__":
    main()
