"""Training data: only what is certain, in the extraction's own form, split by document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Project
from hypothesis import given
from hypothesis import strategies as st
from server import Server
from server_answers import verdict

from pipeline.batches.cost import count_tokens
from pipeline.config import ROOT
from pipeline.documents.grounding import PageIndex, Span
from pipeline.finetune import SPLITS, split_of
from pipeline.finetune.examples import Judged, examples
from pipeline.finetune.formats import FORMATS
from pipeline.records import Dataset, Page
from pipeline.stages import STAGES
from pipeline.stages.extraction import ExtractionAnswer

NOTHING = "This page is about theory alone. There is a lemma."


def a_name(valid: bool) -> str:
    """A dataset name that the server's reasoner finds valid, or not."""
    kinds = ("Household", "Labour", "School", "Farm", "Housing", "Wage", "Health", "Firm", "Trade", "Travel")
    names = (f"Korvian {kind} Survey" for kind in kinds)
    return next(name for name in names if verdict("reasoning", name)["valid"] is valid)


GOOD, BAD = a_name(True), a_name(False)


def rows(project: Project) -> list[dict[str, Any]]:
    project.run("generate_finetune_data.py")
    return [row for split in SPLITS for row in split_rows(project, split)]


def split_rows(project: Project, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.output / "finetune" / f"{split}.jsonl").read_text().splitlines()]


def by_page(project: Project) -> dict[str, ExtractionAnswer]:
    """The target of each page, by a word of the page's text."""
    made = {}
    for row in rows(project):
        system, user, assistant = row["messages"]
        assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant"] and list(row) == ["messages"]
        assert system["content"] == (ROOT / "prompts" / "extraction_finetuned.md").read_text().strip()
        made[user["content"].removeprefix("<page>\n").split()[0]] = ExtractionAnswer.model_validate_json(
            assistant["content"]
        )
    return made


def test_positives_are_valid_and_located_negatives_have_nothing_left(project: Project) -> None:
    project.configure(NEGATIVES_PER_POSITIVE=2)
    project.paper(
        "a.pdf",
        f"One uses the {GOOD} here. And the {BAD} too.",
        f"Two uses the {BAD} alone.",
        f"Three. {NOTHING}",
    )
    project.run("run_batch.py --process all")
    made = by_page(project)
    assert set(made) == {"One", "Two", "Three."}
    (mention,) = made["One"].data_mentions
    assert [dataset.raw_name for dataset in mention.datasets] == [GOOD]
    assert mention.mentioned_in == f"One uses the {GOOD} here."
    for negative in ("Two", "Three."):
        assert made[negative] == ExtractionAnswer(dataset_used=False, data_mentions=[])


def test_a_page_with_a_name_found_elsewhere_is_no_negative(project: Project, server: Server) -> None:
    """The extractor missed it on page 2; that must not teach a model to miss it."""
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two cites {GOOD.lower()} results.", f"Three. {NOTHING}")
    project.run("run_batch.py --process all")
    assert set(by_page(project)) == {"One", "Three."}


def test_pages_that_failed_or_were_not_asked_are_left_out(project: Project, server: Server) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two. {NOTHING}", f"Three. {NOTHING}")
    answer = server.answer

    def fails(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "Two." in body["messages"][1]["content"]:
            return 400, {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
        return answer(body)

    server.answer = fails
    project.run("run_batch.py --process all --pages 1-2", expect=3)
    assert set(by_page(project)) == {"One"}
    assert "1 pages: skipped:extraction_failed" in project.run("generate_finetune_data.py")


def test_a_valid_mention_that_is_not_on_the_page_is_never_trained_on(project: Project, server: Server) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    answer = server.answer

    def invents(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, made = answer(body)
        message = made["choices"][0]["message"]
        message["content"] = message["content"].replace(GOOD, GOOD.replace("Korvian", "Invented"))
        return status, made

    server.answer = invents
    project.run("run_batch.py --process extraction --wait")
    server.answer = answer
    project.run("run_batch.py --process all")
    document = project.document("reasoning", "a")
    assert document["pages"][0]["data_mentions"][0]["datasets"][0]["grounding"] == "missing"
    assert rows(project) == []


def test_all_pages_of_a_document_are_in_one_split(project: Project) -> None:
    for number in range(12):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} here.", f"Q{number}. {NOTHING}")
    project.run("run_batch.py --process all")
    project.run("generate_finetune_data.py")
    splits: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in split_rows(project, split):
            word = row["messages"][1]["content"].split()[1]
            splits.setdefault(word.strip(".PQ"), set()).add(split)
    assert len(splits) == 12 and all(len(found) == 1 for found in splits.values())


def test_the_split_follows_the_shares() -> None:
    shares = {"train": 0.6, "valid": 0.3, "test": 0.1}
    found = [split_of(str(number), shares, 0) for number in range(5000)]  # type: ignore[arg-type]
    for split, share in shares.items():
        assert abs(found.count(split) / 5000 - share) < 0.03  # type: ignore[arg-type]
    assert {split_of(str(n), {"train": 1.0}, 0) for n in range(100)} == {"train"}
    assert found != [split_of(str(number), shares, 1) for number in range(5000)]  # type: ignore[arg-type]


def test_a_fine_tuned_prompt_can_be_selected(project: Project, server: Server) -> None:
    project.configure(PROMPTS={"extraction": str(ROOT / "prompts" / "extraction_finetuned.md")})
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process extraction")
    (batch,) = server.batches.values()
    assert batch.lines[0][1]["messages"][0]["content"].startswith("List the datasets")


def test_negatives_are_so_many_for_each_positive_and_the_hard_ones_first(project: Project) -> None:
    hard = "Hard. The survey data come from a census panel of records and statistics."
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Easy. {NOTHING}", hard, f"Dull. {NOTHING}")
    project.run("run_batch.py --process all")
    assert set(by_page(project)) == {"One", "Hard."}
    assert "left out: 2 pages: a page without a dataset, over NEGATIVES_PER_POSITIVE" in project.run(
        "generate_finetune_data.py"
    )
    project.configure(NEGATIVES_PER_POSITIVE=0)
    assert set(by_page(project)) == {"One"}


def test_every_format_holds_the_same(project: Project) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two. {NOTHING}")
    project.run("run_batch.py --process all")
    openai = [[message["content"] for message in row["messages"]] for row in rows(project)]
    project.run("generate_finetune_data.py --format sharegpt")
    sharegpt = [row for split in SPLITS for row in split_rows(project, split)]
    assert [[turn["from"] for turn in row["conversations"]] for row in sharegpt] == [["system", "human", "gpt"]] * 2
    assert [[turn["value"] for turn in row["conversations"]] for row in sharegpt] == openai
    assert {row["label"] for row in sharegpt} == {"pipeline"}
    project.run("generate_finetune_data.py --format alpaca")
    alpaca = [row for split in SPLITS for row in split_rows(project, split)]
    assert [[row["instruction"], row["input"], row["output"]] for row in alpaca] == openai
    sources = [row for split in SPLITS for row in split_rows(project, f"{split}.sources")]
    assert [(row["source"], row["page"], row["label"]) for row in sources] == [
        ("a", 1, "pipeline"),
        ("a", 2, "pipeline"),
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_the_hub_library_loads_it(project: Project, form: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    many_papers(project)
    project.run(f"generate_finetune_data.py --format {form}")
    files = {split: str(project.output / "finetune" / f"{split}.jsonl") for split in SPLITS}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    for split in SPLITS:
        assert loaded[split].num_rows == len(split_rows(project, split)) > 0


def test_the_rules_of_openais_fine_tuning(project: Project) -> None:
    """Its guide: only known keys and roles, no empty content, the assistant last, ten rows, UTF-8 lines of JSON."""
    many_papers(project)
    made = rows(project)
    assert len(split_rows(project, "train")) >= 10
    for row in made:
        assert row.keys() == {"messages"}
        assert all(message.keys() == {"role", "content"} for message in row["messages"])
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert all(isinstance(message["content"], str) and message["content"] for message in row["messages"])
        ExtractionAnswer.model_validate_json(row["messages"][-1]["content"])
        jsonschema.validate(json.loads(row["messages"][-1]["content"]), schema())
    assert len({row["messages"][0]["content"] for row in made}) == 1
    prompt = (project.output / "finetune" / "system_prompt.md").read_text().strip()
    assert prompt == made[0]["messages"][0]["content"]


def schema() -> dict[str, Any]:
    return STAGES["extraction"].response_format["json_schema"]["schema"]


def many_papers(project: Project) -> None:
    for number in range(30):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} of the province number {number} here.")
    project.run("run_batch.py --process all")


def test_a_renamed_paper_changes_nothing_and_a_new_one_moves_none(project: Project) -> None:
    many_papers(project)
    before = rows(project)
    (project.input / "3.pdf").rename(project.input / "zzz.pdf")
    project.run("run_batch.py --process all")
    assert sorted(map(str, rows(project))) == sorted(map(str, before))
    before_train = [str(row) for row in split_rows(project, "train")]
    project.paper("new.pdf", f"New uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    rows(project)
    assert set(before_train) <= {str(row) for row in split_rows(project, "train")}


def test_a_train_page_that_repeats_a_held_out_one_is_left_out(project: Project) -> None:
    body = " ".join(f"Word{number} follows word{number + 1} in its own order." for number in range(40))
    for number in range(30):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} here. {body}")
    project.run("run_batch.py --process all")
    printed = project.run("generate_finetune_data.py")
    held_out = len(split_rows(project, "valid")) + len(split_rows(project, "test"))
    assert held_out and split_rows(project, "train") == []
    assert f"left out: {30 - held_out} pages: nearly the same as a page of valid or test" in printed


def test_long_pages_are_cut_with_their_mentions_kept(project: Project) -> None:
    filler = "The road was long and the rain came late that year in all of the northern valleys. "
    sentence = f"We use the {GOOD} here. "
    project.paper("a.pdf", filler * 9 + sentence + filler * 9 + f"Then the {GOOD} again. " + filler * 4)
    project.run("run_batch.py --process all")
    (whole,) = rows(project)
    project.configure(MAX_SEQ_TOKENS=380)
    parts = rows(project)
    assert len(parts) > 1
    texts = [row["messages"][1]["content"].removeprefix("<page>\n").removesuffix("\n</page>") for row in parts]
    page = whole["messages"][1]["content"].removeprefix("<page>\n").removesuffix("\n</page>")
    assert all(text in page for text in texts)
    printed = project.run("generate_finetune_data.py")
    assert re.search(r"left out: \d+ pages: a part, without a mention, of a long page that has some", printed)
    for row in parts:
        assert sum(count_tokens(message["content"]) for message in row["messages"]) <= 380
    answers = [ExtractionAnswer.model_validate_json(row["messages"][2]["content"]) for row in parts]
    kept = [mention for answer in answers for mention in answer.data_mentions]
    assert kept == ExtractionAnswer.model_validate_json(whole["messages"][2]["content"]).data_mentions
    for text, answer in zip(texts, answers, strict=True):
        assert answer.dataset_used
        assert all(mention.mentioned_in in text for mention in answer.data_mentions)


@given(st.integers(150, 900))
def test_no_cut_goes_through_a_name_or_leaves_its_sentence(most: int) -> None:
    name = "Korvian Household Living Standards Survey of the Northern Provinces"
    text = "; ".join(f"row {number} from the {name} with {number}.5" for number in range(40)) + "."
    index = PageIndex(text)
    sentence = index.sentence(Span(0, 1, "exact"))
    datasets = [
        Dataset(
            raw_name=name, harmonized_name=None, acronym=None, producer=None, year=None, data_type=None,
            context="primary", specificity="properly_named", relevance="directly_relevant", valid=True,
            start=place.start(), end=place.end(), sent_start=sentence.start, sent_end=sentence.end,
        )
        for place in re.finditer(name, text)
    ]  # fmt: skip
    judged = Judged(Page(page=1, text=text), "positive", datasets, "pipeline")
    made, left_out = examples("a", judged, "Short.", most)
    found = 0
    for example in made:
        for mention in example.answer.data_mentions:
            assert mention.mentioned_in in example.text
            assert all(dataset.raw_name in mention.mentioned_in for dataset in mention.datasets)
            found += len(mention.datasets)
    assert found == 40
    assert len("".join(example.text for example in made)) == len(text) or left_out


def test_the_card_says_what_is_in_it(project: Project) -> None:
    many_papers(project)
    project.run("generate_finetune_data.py")
    card = (project.output / "finetune" / "README.md").read_text()
    train = len(split_rows(project, "train"))
    assert re.search(rf"\| train +\| {train} +\| {train} +\| 0 ", card)
    for word in ("gpt-4o-mini", "specificity", "tokens.png", "system_prompt.md", "cost $0.0", "split: validation"):
        assert word in card, word
    assert (project.output / "finetune" / "tokens.png").read_bytes().startswith(b"\x89PNG")
