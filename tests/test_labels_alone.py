"""Training data without a key: papers that were only read, pages labelled from nothing, imported gold labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from server import Server
from test_evaluation import brat_folder, gold_row, label_studio_file, workspace_from_gold, write_gold
from test_review import (
    answers,
    datasets_of,
    download,
    import_rows,
    label,
    open_review,
    page_text,
    reviewed,
    select,
    sources,
)

from pipeline.config import SPLITS
from pipeline.records import CLASS_FIELDS, DATASET_FIELDS
from pipeline.review.labels import PageLabel

FIRST = "We use the Korvian Household Survey (KHS) here. The Barley Price Panel is merged with it."
SECOND = "Nothing but theory is on this page. The annex describes the Farm Register, see the KHS."
THIRD = "This page uses the Lake Fishing Survey."
NOT_MARKED = "not_sent, and the person who labelled it has not marked it as complete"


@pytest.fixture
def offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    """A project without a key whose papers a and b were read. No server could answer."""
    project = Project(tmp_path, capsys)
    project.configure(NEGATIVES_PER_POSITIVE=9)
    project.paper("a.pdf", FIRST, SECOND, "A third page of theory.", "")
    project.paper("b.pdf", THIRD)
    project.run("run_batch.py --check")
    return project


def rows_of(project: Project, name: str) -> list[dict[str, Any]]:
    files = (project.output / "finetune" / f"{split}{name}.jsonl" for split in SPLITS)
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def unlabelled(project: Project) -> dict[tuple[str, int], list[str]]:
    """Generate the training data; the fields that nobody has labelled, by document and page."""
    project.run("generate_finetune_data.py")
    return {(row["source"], row["page"]): row["unlabelled"] for row in rows_of(project, ".sources")}


def card_of(project: Project) -> str:
    return (project.output / "finetune" / "README.md").read_text()


def stored(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.output / "labels.jsonl").read_text().splitlines()]


# ---- Training data


def test_training_data_without_a_key(offline: Project) -> None:
    import_rows(
        offline,
        label(offline, 1, ("add", "Korvian Household Survey")),
        label(offline, 2),
        label(offline, 3, complete=False),
    )
    printed = offline.run("generate_finetune_data.py")
    assert answers(offline) == {"We": ["Korvian Household Survey"], "Nothing": []}
    assert sources(offline) == {1: "person:anna", 2: "person:anna"}
    assert f"left out: 1 page ({NOT_MARKED})" in printed and "left out: 1 page (not_sent)" in printed
    assert "without final labels: 1 document (only pages that a person has completed are used)" in printed
    card = card_of(offline)
    assert "## Models\n\nNone.\n" in card and "All answers for these documents cost $0.0000." in card
    assert "Documents without final labels: 1. All rows of these are `person:NAME`.\n" in card
    assert re.search(r"^\| 1 +\| not_sent +\|$", card, re.MULTILINE), "page 4; paper b has no label and is not used"
    assert not list(offline.output.glob("reasoning/*"))


def test_some_papers_have_final_labels_and_others_only_human_ones(project: Project, server: Server) -> None:
    project.configure(NEGATIVES_PER_POSITIVE=9)
    project.paper("a.pdf", FIRST, SECOND)
    project.paper("b.pdf", THIRD)
    project.paper("c.pdf", "No stage was run here, and nobody has labelled this.")
    for process in ("extraction", "judge", "reasoning"):
        project.run(f"run_batch.py --process {process} --documents b --wait")
    import_rows(project, label(project, 1, ("add", "KHS")))
    printed = project.run("generate_finetune_data.py")
    made = {(row["source"], row["page"]): row["label"] for row in rows_of(project, ".sources")}
    assert made == {("a", 1): "person:anna", ("b", 1): "pipeline"}
    assert answers(project) == {"We": ["KHS"], "This": ["Lake Fishing Survey"]}
    assert "left out: 2 pages (not_sent)" in printed and "without final labels: 2 documents" in printed
    models = re.findall(r"^\| (\w+) +\| gpt-4o-mini +\| \w+ +\| (\d) +\|$", card_of(project), re.MULTILINE)
    assert models == [("extraction", "1"), ("judge", "1"), ("reasoning", "1")]
    printed = project.run("generate_finetune_data.py --only-reviewed")
    assert [row["source"] for row in rows_of(project, ".sources")] == ["a"]
    assert sum(map(int, re.findall(r"^(?:train|valid|test) +(\d+) ", printed, re.MULTILINE))) == 1, (
        "only documents with rows are counted"
    )


def test_an_earlier_stage_gives_no_negatives_without_final_labels(project: Project, server: Server) -> None:
    """The extraction answered that page 3 mentions nothing. That is not yet certain."""
    project.paper("a.pdf", FIRST, THIRD, "A page of theory.")
    project.run("run_batch.py --process extraction --wait")
    import_rows(project, label(project, 1, ("accept", "Barley Price Panel")))
    assert answers(project) == {"We": ["Barley Price Panel"]}
    assert "left out: 2 pages (not_sent)" in project.run("generate_finetune_data.py")


def test_neither_final_nor_human_labels(offline: Project) -> None:
    printed = offline.run("generate_finetune_data.py", expect=1)
    assert printed.startswith("error: No paper has final labels or human labels yet: ") and printed.count("\n") == 1
    for way in ("run_batch.py --process all`", "review_labels.py --html --all-pages`", "review_labels.py --import "):
        assert way in printed
    assert not list(offline.output.glob("finetune/*"))
    import_rows(offline, label(offline, 1).replace('"source":"a"', '"source":"elsewhere"'))
    assert offline.run("generate_finetune_data.py", expect=1) == printed, "a label of a paper that is not here"


def test_papers_that_were_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path, capsys)
    project.paper("a.pdf", FIRST)
    gold = write_gold(project, gold_row("a", 1, FIRST))
    for command in ("generate_finetune_data.py", "review_labels.py --html", f"review_labels.py --import {gold}"):
        assert "run_batch.py --check` (it needs no key)" in project.run(command, expect=1)


# ---- Labelling from nothing


def test_all_pages_can_be_reviewed(offline: Project) -> None:
    for command in ("--html", "--export label-studio"):
        printed = offline.run(f"review_labels.py {command}", expect=1)
        assert "use --all-pages to label pages that no stage has finished" in printed
    pages = reviewed(offline, "--all-pages")
    assert [(page["source"], page["page"]) for page in pages] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    assert all(page["text"] == page_text(offline, page["source"], page["page"]) for page in pages)
    assert [page["source"] for page in reviewed(offline, "--all-pages --documents b")] == ["b"]
    offline.run("review_labels.py --export label-studio --all-pages")
    tasks = json.loads((offline.output / "review" / "label-studio.json").read_text())
    assert [task["predictions"][0]["result"] for task in tasks] == [[]] * 4
    offline.paper("b.pdf", "")
    offline.run("run_batch.py --check")
    assert "have no text" in offline.run("review_labels.py --html --all-pages --documents b", expect=1)


def test_all_pages_beside_those_of_a_stage(project: Project, server: Server) -> None:
    project.paper("a.pdf", FIRST, SECOND)
    project.paper("b.pdf", THIRD)
    project.paper("c.pdf", THIRD)
    project.run("run_batch.py --process extraction --documents [ab] --pages 1 --wait")
    project.paper("b.pdf", f"Changed. {THIRD}")
    project.run("run_batch.py --check")
    found = [(page["source"], page["page"], len(page["mentions"])) for page in reviewed(project, "--all-pages")]
    assert found == [("a", 1, 2), ("a", 2, 0), ("b", 1, 0), ("c", 1, 0)], "the mentions on b are of another text"
    assert [(page["source"], page["page"]) for page in reviewed(project)] == [("a", 1)]


def test_a_page_is_labelled_from_nothing_in_a_browser(browser: Any, offline: Project) -> None:
    page = open_review(browser, offline, "--all-pages")
    assert "No dataset is marked on this page." in page.inner_text("#cards")
    page.fill("#annotator", "anna")
    page.click("h2#title")
    select(page, "Barley Price Panel")
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    offline.run(f"review_labels.py --import {download(page, offline)}")
    assert answers(offline) == {"We": ["Barley Price Panel"]}
    assert unlabelled(offline) == {("a", 1): ["context", "specificity"]}, "nobody has chosen them in the form"
    page.keyboard.press("e")
    page.select_option("article.edited select[name=context]", "supporting")
    page.select_option("article.edited select[name=specificity]", "properly_named")
    page.keyboard.press("Enter")
    offline.run(f"review_labels.py --import {download(page, offline)}")
    assert unlabelled(offline) == {("a", 1): []}


# ---- Importing gold


def gold_of(project: Project) -> Path:
    """Gold for three pages with three mentions, and what cannot be placed: four pages with three mentions."""
    first, second, third = page_text(project, "a", 1), page_text(project, "a", 2), page_text(project, "b", 1)
    lost = gold_row("a", 3, page_text(project, "a", 3))
    lost["mentions"].append({"raw_name": "A Survey Elsewhere", "start": 3, "end": 21})
    return write_gold(
        project,
        gold_row("papers/a.pdf", 1, first, "Korvian Household Survey", "KHS"),
        gold_row("papers/a.pdf", 2, second),
        gold_row("b", 1, third, "Lake Fishing Survey"),
        lost,
        gold_row("a", 9, "x"),
        *(gold_row("unknown", page, third, "Lake Fishing Survey") for page in (1, 2)),
    )


def test_import_gold(offline: Project) -> None:
    printed = offline.run(f"review_labels.py --import {gold_of(offline)}")
    assert printed.splitlines()[:-2] == [
        f"{offline.folder}/gold.jsonl: 7 pages with 6 mentions",
        "placed: 3 pages with 3 mentions",
        "left out: 4 pages with 3 mentions",
        "  unknown: 2 pages with 2 mentions (no document has this id)",
        "  a: 1 page with 1 mention (page 3: not in the text of the page: “A Survey Elsewhere”)",
        "  a: 1 page with 0 mentions (page 9: the document has no page 9)",
    ]
    assert "labels.jsonl: 3 new rows, 0 replaced, 0 unchanged" in printed
    rows = stored(offline)
    assert [(row["source"], row["page"], row["annotator"], row["page_complete"]) for row in rows] == [
        ("a", 1, "gold", True), ("a", 2, "gold", True), ("b", 1, "gold", True),
    ]  # fmt: skip
    for row in rows:
        text = page_text(offline, row["source"], row["page"])
        assert all(text[one["start"] : one["end"]] == one["quote"] for one in row["mentions"])
        assert all(one.keys() == {"decision", "start", "end", "quote"} for one in row["mentions"])
    assert [one["decision"] for row in rows for one in row["mentions"]] == ["add"] * 3
    assert answers(offline) == {
        "We": ["Korvian Household Survey", "KHS"], "Nothing": [], "This": ["Lake Fishing Survey"],
    }  # fmt: skip
    labels = {row["label"] for row in rows_of(offline, ".sources")}
    assert labels == {"person:gold"} and re.search(r"^\| person:gold +\|", card_of(offline), re.MULTILINE)


def test_importing_the_same_gold_again_changes_nothing(offline: Project) -> None:
    gold = gold_of(offline)
    offline.run(f"review_labels.py --import {gold}")
    before = offline.files()
    assert "labels.jsonl: 0 new rows, 0 replaced, 3 unchanged" in offline.run(f"review_labels.py --import {gold}")
    assert offline.files() == before
    first = page_text(offline, "a", 1)
    fewer = write_gold(offline, gold_row("a", 1, first, "KHS"), gold_row("a", 2, page_text(offline, "a", 2)))
    assert "labels.jsonl: 0 new rows, 1 replaced, 1 unchanged" in offline.run(f"review_labels.py --import {fewer}")
    assert answers(offline)["We"] == ["KHS"]
    assert len(stored(offline)) == 3


def test_the_annotator_of_gold_and_a_map_of_documents(offline: Project) -> None:
    gold = write_gold(offline, gold_row("paper-17", 1, page_text(offline, "b", 1), "Lake Fishing Survey"))
    printed = offline.run(f"review_labels.py --import {gold}", expect=1)
    assert "paper-17: no document has this id): match the ids with --documents-map" in printed
    assert not (offline.output / "labels.jsonl").exists()
    table = offline.folder / "map.csv"
    table.write_text("paper-17,b\n")
    offline.run(f"review_labels.py --import {gold} --documents-map {table} --annotator ACME")
    assert [(row["source"], row["annotator"]) for row in stored(offline)] == [("b", "ACME")]
    offline.run("generate_finetune_data.py")
    assert [row["label"] for row in rows_of(offline, ".sources")] == ["person:ACME"]
    labels = offline.output / "labels.jsonl"
    for option in ("--annotator ben", f"--documents-map {table}"):
        assert "leave out --annotator" in offline.run(f"review_labels.py --import {labels} {option}", expect=1)


def test_gold_of_another_text_is_located_again(offline: Project) -> None:
    text = page_text(offline, "a", 1)
    other = "A header\n\n" + text.replace("Household ", "House-\nhold  ")
    row = gold_row("a", 1, other, "KHS")
    row["mentions"].append({"raw_name": "Korvian House-\nhold  Survey", "start": 21, "end": 48})
    printed = offline.run(f"review_labels.py --import {write_gold(offline, row)}")
    assert "note: 2 mentions located again, because the gold's text differs" in printed
    assert [one["quote"] for one in stored(offline)[0]["mentions"]] == ["Korvian Household Survey", "KHS"]


def test_a_page_of_which_gold_covers_a_sentence_is_not_complete(offline: Project) -> None:
    sentence = "The Barley Price Panel is merged with it."
    rows = gold_row("a", None, sentence, "Barley Price Panel"), gold_row("b", 1, page_text(offline, "b", 1))
    printed = offline.run(f"review_labels.py --import {write_gold(offline, *rows)}")
    assert "  a: 1 page with 1 mention (the gold covers only a part of the page)" in printed
    assert [(row["source"], row["mentions"]) for row in stored(offline)] == [("b", [])]


def test_a_gold_text_of_several_pages_of_which_one_is_another_edition(offline: Project) -> None:
    text = page_text(offline, "a", 1) + "\n\nThe annex of another edition uses the Farm Panel."
    printed = offline.run(f"review_labels.py --import {write_gold(offline, gold_row('a', None, text, 'Farm Panel'))}")
    assert "placed: 1 page with 0 mentions\nleft out: 1 page with 1 mention\n" in printed
    assert "(“Farm Panel” is on no page that was found)" in printed


@pytest.mark.parametrize("kind", ["brat-pages", "brat-feeds", "label-studio"])
def test_gold_in_other_formats(offline: Project, kind: str) -> None:
    if kind == "label-studio":
        file = label_studio_file(offline, own=False)
    else:
        file = brat_folder(offline, kind.removeprefix("brat-"))
    printed = offline.run(f"review_labels.py --import {file}")
    assert "placed: 3 pages with 4 mentions" in printed
    assert {row["annotator"] for row in stored(offline)} == {"gold"}
    assert answers(offline)["Nothing"] == ["Farm Register", "KHS"]
    has_context = any("context" in one for row in stored(offline) for one in row["mentions"])
    assert has_context is kind.startswith("brat"), "its files have an attribute with that name"
    assert ("note: " in printed) is kind.startswith("brat")


def test_files_that_are_no_gold(offline: Project) -> None:
    empty = offline.folder / "folder"
    empty.mkdir()
    assert "has no .ann files" in offline.run(f"review_labels.py --import {empty}", expect=1)
    wrong = offline.folder / "wrong.jsonl"
    for content, message in (
        (b'{"doc_id": "a", "page": 1}\n', "line 1, is not a gold page (text: Field required; 1 of 1 row)"),
        (b'{"doc_id": "a"}\nno json\n', "line 2, is not valid JSON (Expecting value; 1 of 2 lines cannot be read)"),
        (json.dumps(gold_row("a", 1, "x") | {"mentions": [{"raw_name": "", "start": 0, "end": 0}]}).encode(), "line 1"),
    ):
        wrong.write_bytes(content)
        printed = offline.run(f"review_labels.py --import {wrong}", expect=1)
        assert printed.startswith(f"error: {wrong}") and message in printed
    assert not (offline.output / "labels.jsonl").exists()


def test_a_label_of_a_person_is_newer_than_gold(offline: Project) -> None:
    offline.run(f"review_labels.py --import {gold_of(offline)}")
    import_rows(offline, label(offline, 1, ("add", "KHS"), time="2999-01-01T00:00:00Z"))
    assert answers(offline)["We"] == ["KHS"] and len(stored(offline)) == 4


def test_human_coded_papers(project: Project, shared: Path) -> None:
    """Every mention of 17 human-coded papers becomes a mention in the training data."""
    path = shared / "gold" / "rcc_pages.jsonl"
    gold = [json.loads(line) for line in path.read_bytes().splitlines()]
    workspace_from_gold(gold, project.output, lambda row: [])
    printed = project.run(f"review_labels.py --import {path}")
    assert "placed: 421 pages with 165 mentions\nleft out: 0 pages with 0 mentions\n" in printed
    project.configure(NEGATIVES_PER_POSITIVE=9, SPLIT={"train": 1})
    printed = project.run("generate_finetune_data.py")
    assert re.search("^train +17 +50 +371$", printed, re.MULTILINE)
    names = {
        (row["doc_id"], row["page"]): sorted(" ".join(one["raw_name"].split()) for one in row["mentions"])
        for row in gold
    }
    for row, source in zip(rows_of(project, ""), rows_of(project, ".sources"), strict=True):
        passages = json.loads(row["messages"][2]["content"])["data_mentions"]
        made = sorted(one["raw_name"] for passage in passages for one in passage["datasets"])
        assert made == names[source["source"], source["page"]]
        assert source["unlabelled"] == (TAUGHT if made else [])


# ---- Fields that nobody has labelled

# `relevance` is never taught, so it is null in every row.
TAUGHT = [name for name in DATASET_FIELDS if name != "relevance"]


def test_fields_that_gold_does_not_have_are_unlabelled(offline: Project) -> None:
    first, third = page_text(offline, "a", 1), page_text(offline, "b", 1)
    more = {"context": "primary", "specificity": "Named"}
    rows = gold_row("a", 1, first, "KHS", **more), gold_row("b", 1, third, "Lake Fishing Survey")
    printed = offline.run(f"review_labels.py --import {write_gold(offline, *rows)}")
    allowed = ", ".join(CLASS_FIELDS["specificity"])
    assert f"note: specificity “Named” of 1 mention not imported (allowed: {allowed})" in printed
    assert [one["context"] for one in stored(offline)[0]["mentions"]] == ["primary"]
    expected = {("a", 1): [name for name in TAUGHT if name != "context"], ("b", 1): TAUGHT}
    assert unlabelled(offline) == expected
    section = card_of(offline).partition("### Context")[2].partition("###")[0]
    counts = {
        name: sum(map(int, numbers)) for name, *numbers in re.findall(r"\| ([a-z ]+?) +\|" + r" (\d) +\|" * 3, section)
    }
    assert counts == {"primary": 1, "not labelled": 1}
    assert all("unlabelled" not in row for row in rows_of(offline, ""))


def test_one_mention_with_all_fields_does_not_hide_another_without(offline: Project) -> None:
    row = json.loads(label(offline, 1, ("add", "Korvian Household Survey"), ("add", "KHS")))
    assert DATASET_FIELDS[0] in row["mentions"][0]
    import_rows(offline, json.dumps(row))
    assert unlabelled(offline) == {("a", 1): []}
    del row["mentions"][1]["context"], row["mentions"][0]["year"]
    import_rows(offline, json.dumps(row))
    assert unlabelled(offline) == {("a", 1): ["year", "context"]}
    assert [one["context"] for one in datasets_of(offline, 1)] == ["background"] * 2, "the default"


def test_the_pipeline_labels_all_fields(project: Project, server: Server) -> None:
    project.configure(NEGATIVES_PER_POSITIVE=9)
    project.paper("a.pdf", FIRST, "A page of theory.")
    project.run("run_batch.py --process all")
    assert unlabelled(project) == {("a", 1): [], ("a", 2): []}
    text = page_text(project, "a", 1)
    gold = write_gold(project, gold_row("a", 1, text, "Barley Price Panel"))
    project.run(f"review_labels.py --import {gold}")
    assert unlabelled(project)["a", 1] == [], "the pipeline found this mention too, and keeps its fields"
    gold = write_gold(project, gold_row("a", 1, text, "Barley Price Panel", "KHS"))
    project.run(f"review_labels.py --import {gold}")
    assert unlabelled(project)["a", 1] == TAUGHT, "the pipeline did not find KHS"


def test_unlabelled_fields_are_neither_compared_nor_grouped(offline: Project) -> None:
    """Two other readers of labels.jsonl must not take a default for a label."""
    offline.run(f"review_labels.py --import {gold_of(offline)}")
    (gold,) = [row for row in stored(offline) if (row["source"], row["page"]) == ("a", 1)]
    ours, theirs = offline.folder / "anna.jsonl", offline.folder / "gold-labels.jsonl"
    ours.write_text(label(offline, 1, ("add", "Korvian Household Survey"), fields={"context": "primary"}))
    theirs.write_text(PageLabel.model_validate(gold).model_dump_json(exclude_unset=True))
    printed = offline.run(f"review_labels.py --agreement {ours} {theirs}")
    assert re.findall(r"^(?:verdict|context) +(\d)", printed, re.MULTILINE) == ["2", "0"]
    assert [line for line in printed.splitlines() if line.startswith("a, ")] == [
        "a, page 1, “KHS”, verdict: not marked (anna), valid (gold)"
    ]
