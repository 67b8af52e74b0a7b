"""The cost of a real paper in all three stages, calculated with the model's own tokenizer.

Pages and answers are those of a 47-page paper that GPT-4o-mini processed by an older method with the same three
questions. The answers are converted to the schemas of this program without changing their words. Where the two differ,
the longer version is used:

- A mention keeps the whole passage that was quoted, although the prompt asks for one sentence.
- The older reasoner was asked about each passage, this one is asked once about the page. Its answer has the longest
  strategy and the longest rubric of the page's passages, the whole analysis of each passage, divided among its
  datasets, and the devil's advocate of the passage for every dataset in it.
- Two datasets that the older judge left without a verdict (and so without reasons) have both here.
- The older stages gave reasons for invalid mentions only. Here every valid mention has a reason of eight words.

Only markdown and line breaks are removed, because the prompt asks for plain sentences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import SHARED

from pipeline.batches.requests import RequestBuilder
from pipeline.config import load_config
from pipeline.processes import PROCESSES
from pipeline.providers.openai import OpenAIProvider
from pipeline.records import DATASET_FIELDS, TEXT_FIELDS, Document, Page, PageText
from pipeline.stages import get_stage
from pipeline.stages.base import Answered
from pipeline.text.chunks import Chunking, chunk_at
from pipeline.text.tokens import count_tokens
from pipeline.workspace import Workspace

OLDER_METHOD = 0.0076 + 0.0050 + 0.0073  # USD for extraction, judge and reasoning of this paper
MAX_SHARE = 0.7
INPUT_PRICE, OUTPUT_PRICE = 0.075e-6, 0.30e-6  # USD per token: gpt-4o-mini in batches
PAPER = "The-local-socioeconomic-effects-of-gold-mining-evidence-from-Ghana.json"
COUNTRY = "Ghana"  # the older method did not ask where the data are from; all of them are
NO_MENTION: dict[str, Any] = {"data_mentions": []}
REASON = "a named survey whose data are analysed here"

Json = dict[str, Any]


@dataclass
class StageCost:
    """Tokens of all requests and answers of one stage."""

    process: str
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def dollars(self) -> float:
        return self.tokens_in * INPUT_PRICE + self.tokens_out * OUTPUT_PRICE

    def __str__(self) -> str:
        tokens = f"{self.requests:3} requests {self.tokens_in:7} in {self.tokens_out:6} out"
        return f"{self.process:10} {tokens}  ${self.dollars:.5f}"


@dataclass
class OlderRun:
    """The pages of the paper and the answers of the older method."""

    text: PageText
    extracted: dict[int, Json]
    judged: dict[int, Json]
    reasoned: dict[int, list[str]]

    def answers(self, process: str) -> dict[int, Json]:
        """The answers of a stage in the current schema, by page."""
        if process == "extraction":
            return {number: extraction(page) for number, page in self.extracted.items()}
        both = {number: [*zip(datasets(self.extracted[number]), datasets(page), strict=True)]
                for number, page in self.judged.items()}  # fmt: skip
        if process == "judge":
            return {number: judgement(pairs) for number, pairs in both.items()}
        return {number: reasoning([judged for _, judged in pairs], self.replies(number))
                for number, pairs in both.items() if pairs}  # fmt: skip

    def replies(self, page: int) -> list[str]:
        """The reply about each passage of `page`. If there is none, the longest reply about one dataset."""
        single = max((reply for replies in self.reasoned.values() for reply in replies), key=reasons_about_one)
        return self.reasoned.get(page) or [single] * len(self.judged[page]["data_mentions"])


def older_run(folder: Path) -> OlderRun:
    raw = json.loads((folder / "raw_text" / PAPER).read_text())["pages"]
    pages = [Page(page=int(number), text=text) for number, text in raw.items()]
    text = PageText(source="paper", file="paper.pdf", sha256="0" * 64, n_pages=len(pages), pages=pages)
    reasoned: dict[int, list[str]] = {}
    for reply in json.loads((folder / "reasoning" / PAPER).read_text()):
        reasoned.setdefault(final_output(reply)["page"], []).append(reply)
    return OlderRun(text, by_page(folder / "extracted_data"), by_page(folder / "llm_judge_validation"), reasoned)


def by_page(folder: Path) -> dict[int, Json]:
    return {page["page"]: page for page in json.loads((folder / PAPER).read_text())["pages"]}


def datasets(page: Json) -> list[Json]:
    return [dataset for mention in page["data_mentions"] for dataset in mention["datasets"]]


def extraction(page: Json) -> Json:
    names = ("raw_name", *DATASET_FIELDS)
    mentions = [
        {"datasets": [{name: value(dataset, name) for name in names} for dataset in mention["datasets"]],
         "mentioned_in": mention["mentioned_in"]}
        for mention in page["data_mentions"]
    ]  # fmt: skip
    return {"data_mentions": mentions}


def value(dataset: Json, name: str) -> Any:
    if name == "geography":
        return COUNTRY
    return None if dataset.get(name) in ("None", "") else dataset.get(name)


def judgement(pairs: list[tuple[Json, Json]]) -> Json:
    return {"verdicts": [verdict(number, *pair) for number, pair in enumerate(pairs, start=1)]}


def verdict(number: int, extracted: Json, judged: Json) -> Json:
    changed = [name for name in TEXT_FIELDS if value(extracted, name) != value(judged, name)]
    corrections = [{"field": name, "value": value(judged, name)} for name in changed]
    return {"number": number, "note": None, **decision(judged), "corrections": corrections}


def decision(judged: Json) -> Json:
    names = ("context", "specificity")
    said = {"reason": judged.get("invalid_reason") or REASON, "valid": judged.get("valid", True)}
    return said | {name: judged[name] for name in names}


def reasoning(judged: list[Json], replies: list[str]) -> Json:
    rows = [row for reply in replies for row in arguments(reply)]
    verdicts = [
        {"number": number, **argued, **decision(dataset | final)}
        for number, (dataset, (argued, final)) in enumerate(zip(judged, rows, strict=True), start=1)
    ]
    strategies, rubrics, *_ = zip(*map(sections, replies), strict=True)
    return {
        "strategy": max(strategies, key=count_tokens),
        "rubric": max(rubrics, key=count_tokens),
        "verdicts": verdicts,
    }


def arguments(reply: str) -> Iterator[tuple[Json, Json]]:
    """For each dataset of a passage: its share of the analysis with the devil's advocate, and the decision."""
    _, _, analysis, devils_advocate = sections(reply)
    final, words = final_output(reply)["datasets"], analysis.split()
    for i, dataset in enumerate(final):
        share = words[len(words) * i // len(final) : len(words) * (i + 1) // len(final)]
        known = {name: value for name, value in dataset.items() if value is not None}
        yield {"analysis": " ".join(share), "devils_advocate": devils_advocate}, known


def sections(reply: str) -> list[str]:
    """Strategy, rubric, analysis and devil's advocate of a reply, without markdown."""
    before, *bodies = re.split(r"^#+ .*$", reply, flags=re.MULTILINE)
    assert not before.strip() and len(bodies) == 5
    return [plain(body) for body in bodies[:4]]


def plain(markdown: str) -> str:
    return " ".join(re.sub(r"^ *(- |\d+\. )|\*\*|`", "", markdown, flags=re.MULTILINE).split())


def final_output(reply: str) -> Json:
    return json.loads(reply.partition("```json")[2].partition("```")[0])  # type: ignore[no-any-return]


def reasons_about_one(reply: str) -> int:
    return count_tokens(" ".join(sections(reply))) if len(final_output(reply)["datasets"]) == 1 else 0


def costs(run: OlderRun) -> list[StageCost]:
    """Ask all three stages about the paper, and let them accept and merge the answers."""
    found: list[StageCost] = []
    before = None
    for process in PROCESSES:
        cost, before = ask_all(process, run, before)
        found.append(cost)
    return found


def ask_all(process: str, run: OlderRun, before: Document | None) -> tuple[StageCost, Document]:
    stage, answers = get_stage(process), run.answers(process)
    config = load_config()
    requests = RequestBuilder.make(stage, OpenAIProvider(config, Workspace(config.output_dir)), config)
    cost, after = StageCost(process), Document(source=run.text.source, process=process)
    for page in run.text.pages:
        found = before.page(page.page) if before else None
        for ask in stage.asks(run.text, [page], before, Chunking()):
            content = json.dumps(answers.get(page.page, NO_MENTION), ensure_ascii=False, separators=(",", ":"))
            cost.requests += 1
            cost.tokens_in += requests.tokens(ask)
            cost.tokens_out += count_tokens(content)
            chunk = chunk_at(run.text, page, ask.part, (ask.start, ask.end), 0)
            chunk = chunk.about(found.datasets() if found else [], ask.datasets)
            after.pages.append(stage.merge(run.text, page, found, [Answered(chunk, stage.parse(content, ask.expects))]))
            after.page_status[str(page.page)] = "answered"
    return cost, after


def report(found: list[StageCost]) -> str:
    total = sum(cost.dollars for cost in found)
    return "\n".join([*map(str, found), f"${total:.5f} of ${OLDER_METHOD}: {total / OLDER_METHOD:.3f}"])


def test_paper_costs_at_most_seven_tenths_of_the_older_method(shared: Path) -> None:
    found = costs(older_run(shared / "llm_outputs" / "output"))
    assert [cost.requests for cost in found] == [47, 16, 16]
    assert sum(cost.dollars for cost in found) <= MAX_SHARE * OLDER_METHOD, f"\n{report(found)}"


if __name__ == "__main__":
    print(report(costs(older_run(SHARED / "data" / "llm_outputs" / "output"))))
