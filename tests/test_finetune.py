"""generate_finetune_data.py: which pages become training data, the rows, the splits, and the dataset card."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from conftest import Project
from hypothesis import given
from hypothesis import strategies as st
from server import Server
from server_answers import labels, verdict

from pipeline.config import ROOT, SPLITS
from pipeline.finetune import FORMATS
from pipeline.finetune.dataset_card import front_matter
from pipeline.finetune.examples import PageFilter, PageRules, TrainingPage, examples
from pipeline.finetune.splits import split_of
from pipeline.processes import FIRST
from pipeline.records import (
    CLASS_FIELDS,
    Dataset,
    Document,
    MentionPage,
    Page,
    PageText,
    Passage,
    Specificity,
    is_specific,
)
from pipeline.stages import get_stage
from pipeline.stages.extraction import ExtractionAnswer
from pipeline.text.grounding import PageIndex, Span
from pipeline.text.tokens import count_tokens

NOTHING = "This page is about theory alone. There is a lemma."


KINDS = ("Household", "Labour", "School", "Farm", "Housing", "Wage", "Health", "Firm", "Trade", "Travel")
NAMES = [f"Korvian {kind} Survey" for kind in KINDS]


def a_name(valid: bool) -> str:
    """A dataset name that the test server finds valid, or not."""
    return next(name for name in NAMES if verdict("reasoning", name)["valid"] is valid)


def judged(name: str) -> tuple[bool, str]:
    """The last verdict of the test server on a name, and its specificity."""
    return verdict("reasoning", name)["valid"], labels("reasoning", name)["specificity"]


GOOD, BAD = a_name(True), a_name(False)


def rows(project: Project) -> list[dict[str, Any]]:
    """Generate the training data; the rows of all splits."""
    project.run("generate_finetune_data.py")
    return [row for split in SPLITS for row in split_rows(project, split)]


def split_rows(project: Project, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.output / "finetune" / f"{split}.jsonl").read_text().splitlines()]


def by_page(project: Project) -> dict[str, ExtractionAnswer]:
    """Generate the training data; the answer for each page, by the first word of its text."""
    made = {}
    for row in rows(project):
        system, user, assistant = row["messages"]
        assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant"] and list(row) == ["messages"]
        assert system["content"] == (ROOT / "prompts" / "extraction_finetuned.md").read_text().strip()
        made[user["content"].removeprefix("<page>\n").split()[0]] = ExtractionAnswer.model_validate_json(
            assistant["content"]
        )
    return made


def test_positives_have_valid_mentions_and_negatives_none(project: Project) -> None:
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
        assert made[negative] == ExtractionAnswer(data_mentions=[])


def test_a_page_with_a_name_from_another_page_is_not_a_negative(project: Project, server: Server) -> None:
    """The extraction missed the name on page 2. The model must not learn to miss it."""
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two cites {GOOD.lower()} results.", f"Three. {NOTHING}")
    project.run("run_batch.py --process all")
    assert set(by_page(project)) == {"One", "Three."}
    reason = "no mention was found, but a dataset name from another page occurs"
    assert f"left out: 1 page ({reason}" in project.run("generate_finetune_data.py")


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
    printed = project.run("generate_finetune_data.py")
    assert "left out: 1 page (skipped:extraction_failed" in printed
    assert "left out: 1 page (not_sent" in printed


def test_a_page_with_a_valid_mention_that_is_not_in_its_text_is_left_out(project: Project, server: Server) -> None:
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
    printed = project.run("generate_finetune_data.py", expect=1)
    assert "1 page: a valid mention was not found in the text, and the page has no other" in printed


@pytest.mark.parametrize(
    ("invented", "is_kept"),
    [
        ({"raw_name": "Velmar Ocean Atlas", "acronym": "VOA"}, True),
        ({"raw_name": "Velmar Ocean Atlas", "acronym": "KHS"}, False),  # the acronym is on the page
        ({"raw_name": "Velmar Health Atlas"}, False),  # so is a word of the name
        ({"raw_name": "Velmar Ocean Atlas", "harmonized_name": "Korvian Atlas"}, False),
        ({"raw_name": "Velmar Ocean Atlas", "sent_start": 0, "sent_end": 10}, False),  # its sentence is there
    ],
)
def test_a_page_is_kept_without_a_mention_that_cannot_be_on_it(invented: dict[str, Any], is_kept: bool) -> None:
    text = "One uses the Korvian Health Survey (KHS) here."
    found = Dataset(raw_name="Korvian Health Survey", start=13, end=34, sent_start=0, sent_end=46, valid=True)
    passage = Passage(
        mentioned_in=text, start=0, end=46, page=1, dataset_used=True, datasets=[found, Dataset(valid=True, **invented)]
    )
    page = MentionPage(page=1, dataset_used=True, data_mentions=[passage])
    document = Document(source="a", process="reasoning", pages=[page], page_status={"1": "answered"})
    pages = PageText(source="a", file="a.pdf", sha256="0", n_pages=1, pages=[Page(page=1, text=text)])
    usable = PageFilter(document, pages, {}, PageRules()).check(pages.pages[0])
    if is_kept:
        assert isinstance(usable, TrainingPage) and usable.datasets == [found]
    else:
        assert usable == "a valid mention was not found in the text, which may have it in other words"


def test_a_paper_that_can_no_longer_be_read_is_left_out(project: Project) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.paper("b.pdf", f"Two uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    assert set(by_page(project)) == {"One", "Two"}
    (project.input / "b.pdf").write_bytes(b"This is not a PDF.")
    project.run("run_batch.py --check", expect=3)
    (project.output / "finetune" / "train.jsonl").unlink()  # its only row is not replaced by none
    assert set(by_page(project)) == {"One"}


def test_a_page_with_a_mention_without_a_verdict_is_left_out(project: Project, server: Server) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two. {NOTHING}")
    project.run("run_batch.py --process all")
    document = project.document("reasoning", "a")
    document["pages"][0]["data_mentions"][0]["datasets"][0]["valid"] = None
    (project.output / "reasoning" / "a.json").write_text(json.dumps(document))
    project.configure(NEGATIVES_PER_POSITIVE=5)
    # Page 2 is a negative, and there is no positive to go with it.
    printed = project.run("generate_finetune_data.py", expect=1)
    assert "1 page: a mention has no verdict" in printed
    assert "1 page: more negatives than NEGATIVES_PER_POSITIVE allows" in printed


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


def test_requests_with_the_prompt_for_fine_tuned_models_equal_the_training_rows(
    project: Project, server: Server
) -> None:
    project.configure(PROMPTS={"extraction": str(ROOT / "prompts" / "extraction_finetuned.md")})
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process extraction")
    (batch,) = server.batches.values()
    asked = batch.lines[0][1]["messages"]
    project.run("run_batch.py --process all")
    (row,) = rows(project)
    assert row["messages"][:2] == asked


def test_negatives_per_positive_and_the_hardest_first(project: Project) -> None:
    hard = "Hard. The survey data come from a census panel of records and statistics."
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Easy. {NOTHING}", hard, f"Dull. {NOTHING}")
    project.run("run_batch.py --process all")
    assert set(by_page(project)) == {"One", "Hard."}
    printed = project.run("generate_finetune_data.py")
    assert "left out: 2 pages (more negatives than NEGATIVES_PER_POSITIVE allows" in printed
    assert re.search("^[a-z]+ +1 +1 +1$", printed, re.MULTILINE)
    project.configure(NEGATIVES_PER_POSITIVE=2)
    assert len(by_page(project)) == 3
    project.configure(NEGATIVES_PER_POSITIVE=0)
    assert set(by_page(project)) == {"One"}


def test_all_formats_have_the_same_content(project: Project) -> None:
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
def test_the_library_datasets_loads_the_files(project: Project, form: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    many_papers(project)
    project.run(f"generate_finetune_data.py --format {form}")
    files = {split: str(project.output / "finetune" / f"{split}.jsonl") for split in SPLITS}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    for split in SPLITS:
        assert loaded[split].num_rows == len(split_rows(project, split)) > 0


def test_the_rules_of_openais_fine_tuning(project: Project) -> None:
    """OpenAI's guide: known keys and roles only, no empty content, the assistant last, at least ten rows."""
    many_papers(project)
    made = rows(project)
    assert len(split_rows(project, "train")) >= 10
    for row in made:
        assert row.keys() == {"messages"}
        assert all(message.keys() == {"role", "content"} for message in row["messages"])
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert all(isinstance(message["content"], str) and message["content"] for message in row["messages"])
        ExtractionAnswer.model_validate_json(row["messages"][-1]["content"])
        jsonschema.validate(json.loads(row["messages"][-1]["content"]), get_stage(FIRST).schema)
    assert len({row["messages"][0]["content"] for row in made}) == 1
    prompt = (project.output / "finetune" / "system_prompt.md").read_text().strip()
    assert prompt == made[0]["messages"][0]["content"]


def many_papers(project: Project) -> None:
    for number in range(30):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} of the province number {number} here.")
    project.run("run_batch.py --process all")


def test_a_renamed_or_new_paper_does_not_change_the_splits(project: Project) -> None:
    many_papers(project)
    for number in range(6):
        texts = (" ".join(f"{letter}{number}lemma{word}" for word in range(12)) for letter in "ABC")
        project.paper(f"n{number}.pdf", f"N{number} uses the {GOOD} here.", *texts)
    project.configure(NEGATIVES_PER_POSITIVE=0.2)
    project.run("run_batch.py --process all")
    before = rows(project)
    assert 36 < len(before) < 36 + 18, "some of the 18 negatives, which are equally hard"
    for number in range(6):
        (project.input / f"n{number}.pdf").rename(project.input / f"z{5 - number}.pdf")
    project.run("run_batch.py --process all")
    assert sorted(map(str, rows(project))) == sorted(map(str, before))
    splits = {split: {str(row) for row in split_rows(project, split)} for split in SPLITS}
    project.paper("new.pdf", f"New uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    assert len(rows(project)) == len(before) + 1
    for split, before_split in splits.items():
        assert before_split <= {str(row) for row in split_rows(project, split)}


def test_a_near_duplicate_of_a_held_out_page_is_not_in_train(project: Project) -> None:
    body = " ".join(f"Word{number} follows word{number + 1} in its own order." for number in range(40))
    for number in range(30):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} here. {body}")
    project.run("run_batch.py --process all")
    printed = project.run("generate_finetune_data.py")
    held_out = len(split_rows(project, "valid")) + len(split_rows(project, "test"))
    assert held_out and split_rows(project, "train") == []
    assert f"left out: {30 - held_out} pages (near-duplicate of a page in valid or test)" in printed


def test_long_pages_are_cut_and_keep_their_mentions(project: Project) -> None:
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
    (left_out,) = re.findall(
        r"^left out: (\d+) parts? without a mention, of long pages with mentions$", printed, re.MULTILINE
    )
    card = (project.output / "finetune" / "README.md").read_text()
    assert int(left_out) > 0 and f"long pages with mentions: {left_out}.\n" in card
    for row in parts:
        assert sum(count_tokens(message["content"]) for message in row["messages"]) <= 380
    answers = [ExtractionAnswer.model_validate_json(row["messages"][2]["content"]) for row in parts]
    kept = [mention for answer in answers for mention in answer.data_mentions]
    assert kept == ExtractionAnswer.model_validate_json(whole["messages"][2]["content"]).data_mentions
    for text, answer in zip(texts, answers, strict=True):
        assert answer.data_mentions
        assert all(mention.mentioned_in in text for mention in answer.data_mentions)


@given(st.integers(150, 900))
def test_parts_of_long_pages_do_not_cut_names(max_tokens: int) -> None:
    name = "Korvian Household Living Standards Survey of the Northern Provinces"
    text = "; ".join(f"row {number} from the {name} with {number}.5" for number in range(40)) + "."
    index = PageIndex(text)
    sentence = index.sentence(Span(0, 1, "exact"))
    datasets = [
        Dataset(
            raw_name=name, valid=True, start=place.start(), end=place.end(), sent_start=sentence.start,
            sent_end=sentence.end,
        )
        for place in re.finditer(name, text)
    ]  # fmt: skip
    page = TrainingPage(Page(page=1, text=text), datasets, "pipeline")
    made, left_out = examples("a", page, "Short.", max_tokens)
    found = 0
    for example in made:
        for mention in example.answer.data_mentions:
            assert mention.mentioned_in in example.text
            assert all(dataset.raw_name in mention.mentioned_in for dataset in mention.datasets)
            found += len(mention.datasets)
    assert found == 40
    assert len("".join(example.text for example in made)) == len(text) or left_out


def test_the_dataset_card(project: Project) -> None:
    many_papers(project)
    missed = f"This page cites {GOOD.lower()} results."
    project.paper("long.pdf", f"Long uses the {GOOD} here.", f"Other. {NOTHING}", f"Third. {NOTHING}", missed)
    project.run("run_batch.py --process all")
    printed = project.run("generate_finetune_data.py --format sharegpt")
    card = (project.output / "finetune" / "README.md").read_text()
    made = {split: split_rows(project, split) for split in SPLITS}
    for split in SPLITS:
        counts = Counter(bool(answer_of(row).data_mentions) for row in made[split])
        documents = len({row["source"] for row in made[split]})
        assert table_rows(card, split) == [[split, str(documents), str(counts[True]), str(counts[False])]]
    assert table_rows(card, "pipeline") == [["pipeline", *(str(len(made[split])) for split in SPLITS)]]
    for name, values in CLASS_FIELDS.items():
        section = card.partition(f"### {name.capitalize()}")[2].partition("##")[0]
        for value in values:
            numbers = [str(mentions_with(made[split], name, value)) for split in SPLITS]
            expected = [] if numbers == ["0"] * 3 else [[value, *numbers]]
            assert table_rows(section, value) == expected, (name, value)
    assert "format `sharegpt`" in card
    header = yaml.safe_load(card.split("---")[1])
    files = {one["split"]: one["path"] for one in header["configs"][0]["data_files"]}
    names = {"train": "train", "valid": "validation", "test": "test"}
    assert files == {names[split]: f"{split}.jsonl" for split in SPLITS if made[split]}
    assert header["annotations_creators"] == ["machine-generated"]
    assert header["size_categories"] == ["n<1K"] and "license" not in header
    assert [row[1] for row in table_rows(card, "reasoning")] == ["gpt-4o-mini"]
    left_out = re.findall(r"^left out: (\d+) pages? \((.+)\)$", printed, re.MULTILINE)
    assert left_out == [("1", "no mention was found, but a dataset name from another page occurs")]
    assert table_rows(card.partition("## Left out")[2], "1") == [list(left_out[0])]


def answer_of(row: dict[str, Any]) -> ExtractionAnswer:
    return ExtractionAnswer.model_validate_json(row["conversations"][2]["value"])


def mentions_with(made: list[dict[str, Any]], name: str, value: str) -> int:
    datasets = [one for row in made for passage in answer_of(row).data_mentions for one in passage.datasets]
    return sum(getattr(dataset, name) == value for dataset in datasets)


def table_rows(markdown: str, first: str) -> list[list[str]]:
    """The rows of all tables whose first cell is `first`."""
    table = [line.strip("| ").split("|") for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in table]
    return [row for row in cells if row[0] == first]


def test_the_header_of_the_card() -> None:
    """What dataset hubs read. A split without rows is not in it."""
    labels = ["person:Ada", "pipeline+person:Ada"]
    card = front_matter({"train": 1500, "valid": 0, "test": 3}, {"fr", "en"}, labels, "cc-by-4.0")
    header = yaml.safe_load(card.split("---")[1])
    assert header == {
        "license": "cc-by-4.0",
        "language": ["en", "fr"],
        "annotations_creators": ["expert-generated", "machine-generated"],
        "task_categories": ["text-generation"],
        "size_categories": ["1K<n<10K"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train.jsonl"},
                    {"split": "test", "path": "test.jsonl"},
                ],
            }
        ],
    }


def test_the_card_has_the_cost_of_all_answers(project: Project) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    project.run("generate_finetune_data.py")
    usage = project.document("reasoning", "a")["usage"].values()
    cost = sum(stage["cost_usd"] for stage in usage)
    assert cost > 0
    assert f"cost ${cost:.4f}." in (project.output / "finetune" / "README.md").read_text()


def test_the_card_has_a_histogram_if_matplotlib_is_installed(project: Project) -> None:
    pytest.importorskip("matplotlib")
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    assert "requirements-plots.txt" not in project.run("generate_finetune_data.py")
    assert "](tokens.png)" in (project.output / "finetune" / "README.md").read_text()
    assert (project.output / "finetune" / "tokens.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_has_no_histogram_without_matplotlib(project: Project) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    (project.output / "finetune").mkdir()
    (project.output / "finetune" / "tokens.png").write_bytes(b"of an earlier run")
    hidden = (
        "import sys; sys.modules['matplotlib'] = None; import generate_finetune_data as command; "
        "sys.exit(command.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", hidden, "--config", str(project.folder / "config.yaml")]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line for line in printed.splitlines() if "pip install -r requirements-plots.txt" in line]
    card = (project.output / "finetune" / "README.md").read_text()
    assert "There is no histogram of tokens, because matplotlib was not installed" in card
    assert "tokens.png" not in card and not (project.output / "finetune" / "tokens.png").exists()


def test_vague_mentions_can_be_left_out(project: Project) -> None:
    assert labels("reasoning", GOOD)["specificity"] == "vague_generic"
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    assert by_page(project)["One"].data_mentions
    clear = next(name for name in NAMES if judged(name) == (True, "properly_named"))
    project.paper("b.pdf", f"Two uses the {clear} here.")
    project.run("run_batch.py --process all")
    project.configure(MIN_SPECIFICITY="descriptive_but_unnamed", NEGATIVES_PER_POSITIVE=0)
    assert set(by_page(project)) == {"Two"}
    assert "`descriptive_but_unnamed` do not count" in (project.output / "finetune" / "README.md").read_text()


def test_a_mention_without_a_specificity_is_never_left_out() -> None:
    order = get_args(Specificity)
    assert [is_specific(one, order[1]) for one in (*order, None)] == [True, True, False, True]


# ---- Runs and splits without rows


@pytest.mark.parametrize("process", ["extraction", "judge"])
def test_a_run_without_rows_leaves_the_files_as_they_are(project: Project, process: str) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two. {NOTHING}")
    project.run("run_batch.py --process all")
    command = f"generate_finetune_data.py --process {process}"
    project.run(command)
    before = project.files()
    printed = project.run(f"{command} --only-reviewed", expect=1)
    assert printed.startswith("error: No page can be used for training, so nothing was written to ")
    assert "not marked as complete by a person" in printed and printed.count("\n") == 1
    assert "review_labels.py --html" in printed and "review_labels.py --import" in printed
    document = project.document("reasoning", "a")
    document["page_status"] = dict.fromkeys(document["page_status"], "failed:refused")
    (project.output / "reasoning" / "a.json").write_text(json.dumps(document))
    before["reasoning/a.json"] = (project.output / "reasoning" / "a.json").read_bytes()
    assert "failed:refused" in project.run(command, expect=1)
    assert project.files() == before


@pytest.mark.parametrize("process", ["extraction", "judge"])
def test_an_empty_train_split_is_explained(project: Project, process: str) -> None:
    command = f"generate_finetune_data.py --process {process}"
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.paper("b.pdf", f"Two uses the {GOOD} there.")
    project.configure(SPLIT={"test": 1})
    project.run("run_batch.py --process all")
    printed = project.run(command)
    assert "warning: train has no rows: none of 2 documents went to train." in printed
    assert "in the splits a: test, b: test." in printed and "SPLIT_SEED" in printed
    project.configure(SPLIT={"train": 1})
    printed = project.run(command)
    assert "warning: train" not in printed and "no rows" not in printed
    project.configure(SPLIT={"train": 0.998, "valid": 0.001, "test": 0.001})
    assert "\nvalid and test have no rows: label more papers, or change SPLIT or SPLIT_SEED" in project.run(command)


@pytest.mark.parametrize("process", ["extraction", "judge"])
def test_rows_of_train_are_not_replaced_by_none(project: Project, process: str) -> None:
    command = f"generate_finetune_data.py --process {process}"
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.configure(SPLIT={"train": 1})
    project.run("run_batch.py --process all")
    project.run(command)
    before = project.files()
    project.configure(SPLIT={"valid": 1})
    printed = project.run(command, expect=1)
    assert printed.startswith("error: Nothing was written, because ") and "none of 1 document went to train" in printed
    assert project.files() == before
    train = next((project.output / "finetune").rglob("train.jsonl"))
    train.unlink()
    assert "warning: train has no rows" in project.run(command)


def test_train_that_is_empty_because_its_pages_cannot_be_used(project: Project) -> None:
    body = " ".join(f"Word{number} follows word{number + 1} in its own order." for number in range(40))
    for number in range(30):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} here. {body}")
    project.run("run_batch.py --process all")
    printed = project.run("generate_finetune_data.py")
    assert re.search(
        r"warning: train has no rows: \d+ documents went to train, but none of their pages can be", printed
    )
    assert "and 20 more. The split depends" in printed


@pytest.mark.parametrize("process", ["extraction", "judge"])
@pytest.mark.parametrize("shares", [{"train": 1}, {"valid": 1}, {"test": 1}, {"train": 0.5, "valid": 0.5}])
def test_the_folder_is_loaded_whichever_splits_are_empty(
    project: Project, shares: dict[str, float], process: str, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    for number in range(4):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} of the province number {number} here.")
    project.run("run_batch.py --process all")
    folder = project.output / "finetune" / ("judge" if process == "judge" else "")
    names = {"train": "train", "valid": "validation", "test": "test"}
    for split in (shares, {"train": 1}, shares):  # each run over the files of the one before, and over its cache
        project.configure(SPLIT=split)
        (folder / "train.jsonl").unlink(missing_ok=True)  # rows are not replaced by none
        project.run(f"generate_finetune_data.py --process {process}")
        loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
        lines = {one: len((folder / f"{one}.jsonl").read_text().splitlines()) for one in SPLITS}
        assert {one: part.num_rows for one, part in loaded.items()} == {
            names[one]: count for one, count in lines.items() if count
        }
        assert sum(lines.values()) == 4


def test_new_rows_in_the_same_folder_are_not_taken_for_those_in_the_cache(project: Project, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    project.configure(SPLIT={"train": 1})
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process all")
    for form, column in (("openai", "messages"), ("sharegpt", "conversations"), ("alpaca", "output")):
        project.run(f"generate_finetune_data.py --format {form}")
        loaded = datasets.load_dataset(str(project.output / "finetune"), cache_dir=str(tmp_path / "cache"))
        assert column in loaded["train"].column_names
