"""evaluate.py: measures, gold formats, placement in the texts, the report, comparison of two runs."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pytest
from conftest import CHROMIUM, Project
from hypothesis import given
from hypothesis import strategies as st
from server import Server
from server_answers import dataset_names, labels, verdict

import pipeline.evaluation
from pipeline.config import ROOT
from pipeline.evaluation import LEVELS, MEASURES, MarkedName, MarkedPage, Row, score
from pipeline.evaluation.gold_page import GoldPage
from pipeline.evaluation.matching import best_pairs, jaccard, match_spans
from pipeline.evaluation.placement import place
from pipeline.evaluation.predictions import verdict_changes
from pipeline.records import Dataset, Document, ManifestEntry, MentionPage, Page, PageText, Passage
from pipeline.review.labels import DatasetLabel, PageLabel, text_hash
from pipeline.text.grounding import PageIndex
from pipeline.text.names import name_forms
from pipeline.workspace import Workspace

# The test server extracts "Korvian Household Survey" and "Barley Price Panel". Its judge rejects the first one, its
# reasoning accepts both. It never extracts "KHS" and "Farm Register".
FIRST = "We use the Korvian Household Survey (KHS) here. The Barley Price Panel is merged with it. Näïve – “text”."
SECOND = "Nothing but theory stands on this page. The annex describes the Farm Register, see the KHS."
THIRD = "This page uses the Lake Fishing Survey."


def marked(document: str, page: int, text: str, *names: str) -> MarkedPage:
    """A page with the first occurrence of each name as a mention."""
    return MarkedPage(document, page, text, tuple(MarkedName(one, *span(text, one)) for one in names))


def span(text: str, name: str) -> tuple[int, int]:
    start = text.index(name)
    return start, start + len(name)


def values(row: Row) -> list[float | None]:
    return [row.measures[name].value for name in MEASURES]


# ---- Commands


def gold_row(document: str, page: int | None, text: str, *names: str, **more: Any) -> dict[str, Any]:
    mentions = [dict(zip(("start", "end"), span(text, name), strict=True)) | {"raw_name": name} for name in names]
    row = {"doc_id": document, "page": page, "text": text, "mentions": [one | more for one in mentions]}
    return {name: value for name, value in row.items() if value is not None}


def write_gold(project: Project, *rows: dict[str, Any], name: str = "gold.jsonl") -> Path:
    path = project.folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def page_text(project: Project, source: str, page: int) -> str:
    """The text of a page as the program reads it from the PDF."""
    text = PageText.model_validate_json((project.output / "text" / f"{source}.json").read_bytes())
    return text.pages[page - 1].text


def evaluated(project: Project, arguments: str) -> dict[str, Any]:
    """Run evaluate.py; evaluation.json."""
    project.run(f"evaluate.py {arguments}")
    return report(project)


def printed_by(project: Project, arguments: str, expect: int = 0) -> str:
    """Run evaluate.py; its output as one line, because notes are wrapped at 80 columns."""
    return " ".join(project.run(f"evaluate.py {arguments}", expect).split())


def report(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.output / "evaluation" / "evaluation.json").read_bytes())
    return found


def counts(report: dict[str, Any], process: str, level: str) -> list[int]:
    row = report["stages"][process]["levels"][level]
    return [row[name] for name in ("gold", "found", "predicted", "right")]


@pytest.fixture
def done(project: Project, server: Server) -> Project:
    """Two documents that all stages have answered: a with two pages, b with one."""
    server.polls_to_complete = 0
    project.paper("a.pdf", FIRST, SECOND)
    project.paper("b.pdf", THIRD)
    project.run("run_batch.py --process all")
    return project


def gold_of(project: Project) -> Path:
    """Gold for both documents: of four mentions in `a` the pipeline finds one, in `b` it has a false positive."""
    first, second, third = page_text(project, "a", 1), page_text(project, "a", 2), page_text(project, "b", 1)
    return write_gold(
        project,
        gold_row("a", 1, first, "Korvian Household Survey", "KHS", specificity="properly_named"),
        gold_row("a", 2, second, "Farm Register", "KHS", specificity="vague_generic"),
        gold_row("b", 1, third),
    )


def test_hand_computed_measures(done: Project) -> None:
    found = evaluated(done, f"--gold {gold_of(done)}")
    # Predicted: Korvian Household Survey (right), Barley Price Panel, Lake Fishing Survey.
    assert counts(found, "extraction", "mention") == [4, 1, 3, 1]
    assert counts(found, "extraction", "mention_lenient") == [4, 1, 3, 1]
    # Gold names: Korvian Household Survey = KHS, as the text says, and Farm Register.
    assert counts(found, "extraction", "name") == [2, 1, 3, 1]
    assert counts(found, "extraction", "page") == [2, 1, 2, 1]
    assert counts(found, "judge", "mention")[2:] == [2, 0], "the judge rejects the only right one"
    assert counts(found, "reasoning", "mention") == [4, 1, 3, 1]
    row = found["stages"]["reasoning"]["levels"]["mention"]
    precision, recall = 1 / 3, 1 / 4
    f1, f05 = 2 * precision * recall / (precision + recall), 1.25 * precision * recall / (0.25 * precision + recall)
    assert [row[name]["value"] for name in MEASURES] == pytest.approx([precision, recall, f1, f05], abs=1e-6)
    # The samples are aa (1 of 2 right, 1 of 4 found), ab and bb (0 of 2 right, recall undefined).
    assert (row["precision"]["low"], row["precision"]["high"]) == (0.0, 0.5)
    assert (row["recall"]["low"], row["recall"]["high"]) == (0.25, 0.25)
    by_document = found["stages"]["reasoning"]["by"]["document"]
    assert by_document["a"]["mention"]["precision"] == {"value": 0.5, "low": None, "high": None}
    assert by_document["b"]["mention"]["recall"]["value"] is None


def test_verdicts_that_were_changed_and_how_often_rightly(done: Project) -> None:
    found = evaluated(done, f"--gold {gold_of(done)}")
    rejected = [name for name in ("Korvian Household Survey", "Barley Price Panel", "Lake Fishing Survey")
                if not verdict("judge", name)["valid"]]  # fmt: skip
    assert rejected == ["Korvian Household Survey"]
    assert found["stages"]["extraction"]["verdicts"]["removed"] == 0
    expected = {"removed": 1, "removed_rightly": 0, "restored": 0, "restored_rightly": 0}
    assert found["stages"]["judge"]["verdicts"] == expected
    (change,) = found["stages"]["judge"]["changes"]
    assert (change["name"], change["right"]) == ("Korvian Household Survey", False)
    reasoning = found["stages"]["reasoning"]["verdicts"]
    assert (reasoning["restored"], reasoning["restored_rightly"]) == (1, 1)
    printed = printed_by(done, f"--gold {done.folder / 'gold.jsonl'}")
    assert "judge removed 1 mention, 0 of them rightly (0.0 %)" in printed
    assert "reasoning restored 1 mention, 1 of them rightly (100.0 %)" in printed


def test_removing_a_repetition_is_right() -> None:
    """A removed mention is wrongly removed only if no other one matches the gold."""
    gold = marked("a", 1, FIRST, "Barley Price Panel")
    start, end = span(FIRST, "Barley Price Panel")
    kept = Dataset(raw_name="Barley Price Panel", start=start, end=end, valid=True, verdicts={"judge": {"valid": True}})
    removed = kept.model_copy(update={"valid": False, "verdicts": {"judge": {"valid": False}}})
    assert [change.right for change in verdict_changes(gold, [kept, removed], "judge")] == [True]
    assert [change.right for change in verdict_changes(gold, [removed], "judge")] == [False]


def test_breakdown_by_field(done: Project) -> None:
    gold_path = gold_of(done)
    by = evaluated(done, f"--gold {gold_path}")["stages"]["reasoning"]["by"]["specificity"]
    assert by["properly_named"]["mention"]["gold"] == 2 and by["vague_generic"]["mention"]["gold"] == 2
    assert sum(row["mention"]["predicted"] for row in by.values() if "mention" in row) == 3
    assert by["properly_named"]["mention"]["recall"]["value"] == 0.5


def test_vague_mentions_can_be_left_out_on_both_sides(done: Project) -> None:
    gold = gold_of(done)
    everything = evaluated(done, f"--gold {gold} --process extraction")
    assert everything["min_specificity"] == "vague_generic"
    done.configure(MIN_SPECIFICITY="properly_named")
    printed = printed_by(done, f"--gold {gold} --process extraction")
    assert "Mentions that are vaguer than properly_named are left out (MIN_SPECIFICITY)." in printed
    named = report(done)
    assert named["evaluated"]["mentions"] == 2, "the two vague ones of the gold are left out"
    clear = [name for name in ("Korvian Household Survey", "Barley Price Panel", "Lake Fishing Survey")
             if labels("extraction", name)["specificity"] == "properly_named"]  # fmt: skip
    assert counts(named, "extraction", "mention")[2] == len(clear) < 3


def test_pages_outside_of_the_gold_and_pages_without_an_answer(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", FIRST, SECOND)
    project.paper("b.pdf", THIRD)
    project.run("run_batch.py --process extraction --pages 1 --wait")
    gold_path = write_gold(
        project,
        gold_row("a", 1, page_text(project, "a", 1), "Barley Price Panel"),
        gold_row("a", 2, page_text(project, "a", 2), "Farm Register"),
    )
    printed = printed_by(project, f"--gold {gold_path}")
    assert "1 gold page without an answer counted as empty: 1 not_sent" in printed
    assert "not evaluated: 1 mention outside of the gold, on 1 page without gold" in printed
    found = report(project)
    assert found["stages"].keys() == {"extraction"} and found["process"] == "extraction"
    assert counts(found, "extraction", "mention") == [2, 1, 2, 1]
    assert found["stages"]["extraction"]["unanswered_pages"] == [{"document": "a", "page": 2, "status": "not_sent"}]
    assert found["stages"]["extraction"]["not_evaluated"] == {"pages": 1, "mentions": 1}
    printed = printed_by(project, f"--gold {gold_path} --process judge", expect=1)
    assert "no answers of judge yet: run `python run_batch.py --process all` first." in printed


def test_mentions_that_were_not_located(done: Project) -> None:
    """They are false positives on the level name, even if the gold has their name, and nothing on the others."""
    document = done.document("reasoning", "b")
    for dataset in document["pages"][0]["data_mentions"][0]["datasets"]:
        dataset |= {"start": None, "end": None, "grounding": "missing"}
    (done.output / "reasoning" / "b.json").write_text(json.dumps(document))
    gold_path = write_gold(done, gold_row("b", 1, page_text(done, "b", 1), "Lake Fishing Survey"))
    printed = printed_by(done, f"--gold {gold_path}")
    assert "1 predicted mention not located in the text: false positives on the level name" in printed
    found = report(done)
    assert counts(found, "reasoning", "mention") == [1, 0, 0, 0]
    assert counts(found, "reasoning", "name") == [1, 0, 1, 0]
    assert counts(found, "reasoning", "page") == [1, 0, 0, 0]
    assert [error["kind"] for error in found["errors"]] == ["false_negative", "unlocated"]


def test_a_document_of_another_text_counts_as_without_an_answer(done: Project) -> None:
    document = done.document("reasoning", "b") | {"text_sha256": "another"}
    (done.output / "reasoning" / "b.json").write_text(json.dumps(document))
    printed = printed_by(done, f"--gold {gold_of(done)}")
    assert "1 gold page without an answer counted as empty: 1 outdated" in printed


# ---- Gold formats


def label_rows(project: Project, *pages: tuple[str, int, bool, tuple[tuple[str, str], ...]]) -> list[dict[str, Any]]:
    """Rows of labels.jsonl: (document, page, complete, ((decision, name), …))."""
    rows = []
    for source, number, complete, mentions in pages:
        text = page_text(project, source, number)
        labels = []
        for decision, name in mentions:
            start, end = span(text, name)
            labels.append(DatasetLabel(decision=decision, start=start, end=end, quote=name))  # type: ignore[arg-type]
        row = PageLabel(
            source=source, page=number, text_sha256=text_hash(Page(page=number, text=text)), annotator="anna",
            time="2026-11-25T10:00:00Z", page_complete=complete, mentions=labels,
        )  # fmt: skip
        rows.append(row.model_dump())
    return rows


def label_file(project: Project) -> Path:
    return write_gold(
        project,
        *label_rows(
            project,
            ("a", 1, True, (("accept", "Korvian Household Survey"), ("add", "KHS"), ("reject", "Barley Price Panel"))),
            ("a", 2, True, (("add", "Farm Register"), ("add", "KHS"))),
            ("b", 1, True, ()),
        ),
        name="labels.jsonl",
    )


def label_studio_file(project: Project, own: bool) -> Path:
    """An export of a project with our tasks, or with tasks of others."""
    tasks = []
    for row in map(json.loads, gold_of(project).read_text().splitlines()):
        where = {"source": row["doc_id"]} if own else {"doc_id": row["doc_id"]}
        sha = {"text_sha256": text_hash(Page(page=1, text=row["text"]))} if own else {}
        result: list[dict[str, Any]] = [
            {
                "id": str(number), "from_name": "mention", "to_name": "text", "type": "labels", "origin": "manual",
                "value": {"start": one["start"], "end": one["end"], "labels": ["dataset"]},
            }
            for number, one in enumerate(row["mentions"])
        ]  # fmt: skip
        if own:
            choice = {"from_name": "page_complete", "to_name": "text", "type": "choices"}
            result.append(choice | {"id": "all", "value": {"choices": ["complete"]}})
        annotation = {"result": result, "completed_by": 1, "updated_at": "2026-11-25T10:00:00Z"}
        tasks.append({"data": {**where, **sha, "page": row["page"], "text": row["text"]}, "annotations": [annotation]})
    path = project.folder / "project-1.json"
    path.write_text(json.dumps(tasks))
    return path


def brat_folder(project: Project, kind: str) -> Path:
    """BRAT files: `pages` for one file per page, `feeds` for pages with form feeds, `plain` for one text without."""
    folder = project.folder / f"brat-{kind}"
    folder.mkdir()
    rows = [json.loads(line) for line in gold_of(project).read_text().splitlines()]
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        files[f"{row['doc_id']}_page_{row['page']}" if kind == "pages" else row["doc_id"]].append(row)
    for name, pages in files.items():
        separator = "\f" if kind == "feeds" else "\n\n"
        lines, text = [], ""
        for row in pages:
            text += separator * bool(text)
            for one in row["mentions"]:
                place = f"{len(text) + one['start']} {len(text) + one['end']}"
                lines.append(f"T{len(lines) + 1}\tDataset {place}\t{one['raw_name']}")
            text += row["text"]
        lines += ["T99\tMetric 0 2\tWe", "R1\tUses Arg1:T1 Arg2:T99", "A1\tcontext T1 primary"] if lines else []
        (folder / f"{name}.ann").write_text("\n".join(lines))
        (folder / f"{name}.txt").write_text(text)
    return folder


def gold_in_format(project: Project, kind: str) -> Path:
    makers = {
        "pages": lambda: gold_of(project),
        "labels": lambda: label_file(project),
        "label-studio": lambda: label_studio_file(project, own=True),
        "label-studio-foreign": lambda: label_studio_file(project, own=False),
    }
    return makers[kind]() if kind in makers else brat_folder(project, kind.removeprefix("brat-"))


@pytest.mark.parametrize(
    "kind", ["pages", "labels", "label-studio", "label-studio-foreign", "brat-pages", "brat-feeds", "brat-plain"]
)
def test_all_formats_of_the_same_gold_give_the_same_measures(done: Project, kind: str) -> None:
    found = evaluated(done, f"--gold {gold_in_format(done, kind)}")
    assert found["gold"][0]["format"] == re.sub("-foreign|(?<=brat)-.*", "", kind)
    # The parts of a text without page breaks do not have the white space at the ends of the pages.
    relocated = 4 if kind == "brat-plain" else 0
    assert found["evaluated"] == {"documents": 2, "pages": 3, "mentions": 4, "relocated": relocated}
    assert counts(found, "reasoning", "mention") == [4, 1, 3, 1] and not found["unplaced"]
    if kind.startswith("brat"):
        number = "2 annotations" if kind == "brat-pages" else "1 annotation"
        assert found["gold"][0]["notes"] == [f"{number} of type Metric ignored"]
        assert "primary" in found["stages"]["reasoning"]["by"]["context"]


def test_a_single_brat_file(done: Project) -> None:
    found = evaluated(done, f"--gold {brat_folder(done, 'feeds') / 'a.ann'}")
    assert found["gold"][0]["format"] == "brat" and counts(found, "reasoning", "mention")[0] == 4


def test_only_complete_pages_of_labels_are_gold_and_labels_replace_gold(done: Project) -> None:
    rows = label_rows(done, ("a", 1, True, (("accept", "Barley Price Panel"),)), ("a", 2, False, ()))
    labels = write_gold(done, *rows, name="labels.jsonl")
    printed = printed_by(done, f"--gold {labels}")
    assert "1 page is not marked as complete" in printed
    assert counts(report(done), "reasoning", "mention") == [1, 1, 2, 1]
    found = evaluated(done, f"--gold {gold_of(done)} --labels {labels}")
    # Page 1 has the label's only mention, page 2 keeps the two of the gold.
    assert counts(found, "reasoning", "mention") == [3, 1, 3, 1]
    assert counts(evaluated(done, f"--labels {labels}"), "reasoning", "mention") == [1, 1, 2, 1]
    incomplete = write_gold(done, rows[1], name="incomplete.jsonl")
    assert "has no page to evaluate (1 page is not marked" in done.run(f"evaluate.py --gold {incomplete}", expect=1)


def test_gold_on_sentences(done: Project) -> None:
    """Only mentions that overlap a sentence of the gold are evaluated."""
    text = page_text(done, "a", 1)
    sentence = text[text.index("The Barley") : text.index(" Näïve")]
    broken = sentence.replace("merged with", "merged\nwith")
    twice = gold_row("a", None, broken, "Barley Price Panel")
    found = evaluated(done, f"--gold {write_gold(done, twice, twice, gold_row('a', None, 'Not in this paper.'))}")
    assert counts(found, "reasoning", "mention") == [1, 1, 1, 1]
    assert found["stages"]["reasoning"]["not_evaluated"]["mentions"] == 2
    assert [one["what"] for one in found["unplaced"]] == [
        "the gold has this page or sentence twice",
        "no page has the text “Not in this paper.”",
    ]


# ---- Placement


def test_gold_of_another_text_is_located_again(done: Project) -> None:
    text = page_text(done, "a", 1)
    other = "A header\n\n" + text.replace("Household ", "House-\nhold  ").replace(" here", "\nhere")
    row = gold_row("a", 1, other, "KHS") | {"page": 1}
    row["mentions"].append({"raw_name": "Korvian House-\nhold  Survey", "start": 21, "end": 48})
    found = evaluated(done, f"--gold {write_gold(done, row)}")
    assert found["evaluated"]["relocated"] == 2 and not found["unplaced"]
    assert counts(found, "reasoning", "mention") == [2, 1, 2, 1]
    printed = printed_by(done, f"--gold {done.folder / 'gold.jsonl'}")
    assert "2 gold mentions located again, because the gold's text differs" in printed


def test_repeated_names_keep_their_order_when_they_are_located_again(done: Project) -> None:
    text = " ".join(f"Number {number} uses the Farm Register again." for number in range(9))
    source = done.output / "text" / "b.json"
    changed = json.loads(source.read_text())
    changed["pages"][0]["text"] = text
    source.write_text(json.dumps(changed))
    other = "A long header that is on no page of the pipeline.\n" * 3 + text.replace(" again", "\nagain")
    spans = [found.span() for found in re.finditer("Farm Register", other)]
    gold = GoldPage("b", 1, tuple(MarkedName("Farm Register", *one) for one in spans), other)
    (page,) = place([gold], Workspace(done.output)).pages
    assert [one.span for one in page.mentions] == [found.span() for found in re.finditer("Farm Register", text)]


def test_gold_that_cannot_be_placed_is_left_out_and_listed(done: Project) -> None:
    text = page_text(done, "a", 1)
    lost = gold_row("a", 1, text, "KHS")
    lost["mentions"].append({"raw_name": "A Survey Elsewhere", "start": 3, "end": 21})
    other_page = gold_row("a", 2, "A completely different page of another paper about fish, of which nothing is here.")
    rows = (lost, other_page, gold_row("a", 7, "x"), gold_row("b", 1, page_text(done, "b", 1)))
    printed = printed_by(done, f"--gold {write_gold(done, *rows)}")
    assert "gold left out: a, page 1: not in the text of the page: “A Survey Elsewhere”" in printed
    found = report(done)
    assert [(one["page"], one["what"].partition(" “")[0]) for one in found["unplaced"]] == [
        (1, "not in the text of the page:"), (2, "the page does not have the text"), (7, "the document has no page 7"),
    ]  # fmt: skip
    assert found["evaluated"]["pages"] == 1


def test_how_documents_are_matched(done: Project) -> None:
    text = page_text(done, "b", 1)
    for gold_id in ("b", "b.pdf", "papers/b.pdf", "C:\\papers\\b.pdf"):
        found = evaluated(done, f"--gold {write_gold(done, gold_row(gold_id, 1, text, 'Lake Fishing Survey'))}")
        assert counts(found, "reasoning", "mention") == [1, 1, 1, 1], gold_id
    rows = [gold_row(gold_id, 1, text, "Lake Fishing Survey") for gold_id in ("paper-17", "unknown")]
    table = done.folder / "map.csv"
    table.write_text("gold,document\npaper-17,b\n", encoding="utf-8-sig")
    printed = printed_by(done, f"--gold {write_gold(done, *rows)} --documents-map {table}")
    assert "gold document unknown was not found: no document has this id" in printed
    assert report(done)["unmatched_documents"] == {"unknown": "no document has this id"}
    printed = printed_by(done, f"--gold {write_gold(done, *rows)}", expect=1)
    assert "No page of the gold is in" in printed and "match the ids with --documents-map" in printed
    for content, message in (("only one column\n", "must have two columns"), ("", "must have two columns")):
        table.write_text(content)
        assert message in done.run(f"evaluate.py --gold {done.folder / 'gold.jsonl'} --documents-map {table}", expect=1)


def test_two_documents_with_the_same_file_name_are_not_guessed(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("x/b.pdf", THIRD)
    project.paper("y/b.pdf", FIRST)
    project.run("run_batch.py --process extraction --wait")
    rows = (gold_row("b", 1, THIRD), gold_row("x/b", 1, page_text(project, "x/b", 1)))
    found = evaluated(project, f"--gold {write_gold(project, *rows)}")
    assert found["unmatched_documents"] == {"b": "several documents have this name: x/b, y/b"}


GOOD_ROW = json.dumps(gold_row("a", 1, "We use it."))
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b" \n", "is empty"),
    "pdf": (b"%PDF-1.7\n", "is a PDF"),
    "zip": (b"PK\x03\x04", "is a ZIP archive"),
    "latin-1": (GOOD_ROW.replace("use", "üse").encode("latin-1"), "is not a text file in UTF-8"),
    "no-json": (b"hello", "line 1, is not valid JSON"),
    "cut": ((GOOD_ROW + "\n" + GOOD_ROW[:20]).encode(), "line 2, is not valid JSON"),
    "other-json": (b'{"a": 1}', "line 1, is not a gold page (doc_id: Field required; 1 of 1 row)"),
    "label": (b'{"source": "a", "text_sha256": "x"}', "line 1, is not a valid label"),
    "array": (b"[1, 2]", "row 1, is not a JSON object (2 of 2 rows)"),
    "task": (b'[{"data": {"text": "x"}, "annotations": []}]', "have none of the keys source, doc_id, document"),
    "own-task": (
        b'[{"data": {"text": "x", "source": "a", "page": "p", "text_sha256": "x"}, "annotations": [{"result": []}]}]',
        "is not a task of a JSON export of Label Studio",
    ),
    "empty-array": (b"[]", "has no page to evaluate"),
    "deep": (b"[" * 100_000, "line 1, is not valid JSON"),
    "page-0": (json.dumps(gold_row("a", 0, "x")).encode(), "line 1, is not a gold page (page: "),
    "standoff": (b"T1\tDataset 0 2\tWe", "has no wrong.txt beside it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_gold(project: Project, kind: str) -> None:
    content, message = BAD_FILES[kind]
    path = project.folder / "wrong.gold"
    path.write_bytes(content)
    printed = project.run(f"evaluate.py --gold {path}", expect=1)
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1, printed


def test_missing_files_and_wrong_brat_files(project: Project) -> None:
    missing = project.folder / "nowhere.jsonl"
    assert f"Cannot read {missing}" in project.run(f"evaluate.py --gold {missing}", expect=1)
    folder = project.folder / "brat"
    folder.mkdir()
    assert "has no .ann files" in project.run(f"evaluate.py --gold {folder}", expect=1)
    (folder / "a.txt").write_text("We use it.")
    for line, message in (("T1 Dataset 0 2", "line 1, is not a BRAT annotation"), ("T1\tDataset 0 99\tx", "0 to 99")):
        (folder / "a.ann").write_text(line)
        assert message in project.run(f"evaluate.py --gold {folder}", expect=1)
    gold_path = write_gold(project, gold_row("a", 1, "x"))
    assert "run_batch.py --check" in project.run(f"evaluate.py --gold {gold_path}", expect=1)
    assert not (project.output / "evaluation").exists()


def test_gold_is_required(project: Project) -> None:
    with pytest.raises(SystemExit) as ended:
        project.command("evaluate.py")
    assert ended.value.code == 2


def test_without_the_optional_package(project: Project) -> None:
    code = "import sys; sys.modules['scipy.optimize'] = None; import evaluate; sys.exit(evaluate.main(sys.argv[1:]))"
    gold_path = write_gold(project, gold_row("a", 1, "x"))
    done = subprocess.run(
        [sys.executable, "-c", code, "--gold", str(gold_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: The evaluation needs the package scipy.optimize: run `pip install -r requirements-evaluation.txt` "
        "first.\n"
    )


# ---- Output


def without_markup(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html)


def test_the_numbers_are_the_same_everywhere(done: Project) -> None:
    printed = done.run(f"evaluate.py --gold {gold_of(done)}")
    html = (done.output / "evaluation" / "evaluation.html").read_text()
    blocks = re.split(r"^(extraction|judge|reasoning)\n(?=level)", printed, flags=re.MULTILINE)[1:]
    assert blocks[::2] == ["extraction", "judge", "reasoning"]
    for process, block in zip(blocks[::2], blocks[1::2], strict=True):
        for level, name in zip(LEVELS, ("mention", "lenient", "name", "page"), strict=True):
            row = report(done)["stages"][process]["levels"][level]
            line, below = re.search(rf"^{name} +(.*)\n(.*)$", block, re.MULTILINE).groups()  # type: ignore[union-attr]
            numbers = [row["gold"], row["predicted"], row["right"]]
            estimates = [row[one] for one in MEASURES]
            shown = ["–" if one["value"] is None else f"{one['value']:.3f}" for one in estimates]
            assert line.split() == [*map(str, numbers), *shown]
            intervals = [f"{one['low']:.3f}–{one['high']:.3f}" for one in estimates if one["low"] is not None]
            assert below.split() == intervals
            caption = {"mention": "Mention", "lenient": "Mention (lenient)", "name": "Name in document", "page": "Page"}
            (table,) = re.findall(rf"<caption>{re.escape(caption[name])}</caption>(.*?)</table>", before_details(html))
            (cells,) = re.findall(rf"<tr><td><bdi>{process}</bdi></td>(.*?)</tr>", table)
            found = [without_markup(cell).split() for cell in re.findall(r"<td>(.*?)</td>", cells)]
            assert [cell[0] for cell in found] == [
                str(row[one]) for one in ("gold", "found", "predicted", "right")
            ] + shown
            assert [cell[1] for cell in found if len(cell) > 1] == intervals


def before_details(html: str) -> str:
    return html.partition("<details>")[0]


def test_the_output_fits_80_columns_and_the_rules_are_in_the_files(done: Project) -> None:
    printed = done.run(f"evaluate.py --gold {gold_of(done)}")
    lines = printed.splitlines()
    printed = done.run(
        f"evaluate.py --gold {write_gold(done, gold_row('b', 1, page_text(done, 'b', 1)), name='one.jsonl')}"
    )
    assert max(len(line) for line in [*lines, *printed.splitlines()] if str(done.folder) not in line) <= 80
    html = (done.output / "evaluation" / "evaluation.html").read_text()
    for rule in report(done)["rules"].values():
        assert rule not in " ".join(printed.split()) and escape(rule) in html
    assert printed.endswith("evaluation.json, evaluation.html (with the rules)\n")


def test_every_error_is_listed_in_its_sentence(done: Project) -> None:
    found = evaluated(done, f"--gold {gold_of(done)}")
    kinds = [(error["kind"], error["page"], error["name"]) for error in found["errors"]]
    assert kinds == [
        ("false_negative", 1, "KHS"), ("false_positive", 1, "Barley Price Panel"),
        ("false_negative", 2, "Farm Register"), ("false_negative", 2, "KHS"),
        ("false_positive", 1, "Lake Fishing Survey"),
    ]  # fmt: skip
    for error in found["errors"]:
        text = page_text(done, error["document"], error["page"])
        assert text[error["start"] : error["end"]] == error["name"] and error["sentence"] in text
    html = (done.output / "evaluation" / "evaluation.html").read_text()
    assert "The <mark>Barley Price Panel</mark> is merged with it." in html


def test_the_same_gold_gives_the_same_files(done: Project) -> None:
    gold_path = gold_of(done)
    done.run(f"evaluate.py --gold {gold_path}")
    before = {name: content for name, content in done.files().items() if name.startswith("evaluation/")}
    rows = gold_path.read_text().splitlines()
    gold_path.write_text("\n".join(rows[::-1]))
    done.run(f"evaluate.py --gold {gold_path}")
    assert before == {name: content for name, content in done.files().items() if name.startswith("evaluation/")}


def test_hostile_text_is_shown_as_text_in_a_browser(project: Project, server: Server, tmp_path: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    server.polls_to_complete = 0
    project.paper("a.pdf", FIRST, SECOND)
    project.run("run_batch.py --process all")
    hostile = (
        "</style></details><script>window.hacked=1</script><img src=x onerror=window.hacked=1> "
        "We use the <b>Bold</b> Lake Survey here. \u202egnorw\u202c"
    )
    put_text(project, "a", 1, hostile, "<b>Bold</b> Lake Survey")
    gold_path = write_gold(project, gold_row("a", 1, hostile, "<script>window.hacked=1</script>"))
    project.run(f"evaluate.py --gold {gold_path}")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context().new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on(
            "request", lambda request: problems.append(request.url) if "evaluation.html" not in request.url else None
        )
        page.goto(f"file://{project.output}/evaluation/evaluation.html")
        assert page.evaluate("window.hacked") is None and not problems
        assert page.locator("script, img, b").count() == 0
        page.locator("summary", has_text="False positives").click()
        marks = page.locator("li.false_positive mark")
        assert marks.first.inner_text() == "<b>Bold</b> Lake Survey" and marks.first.is_visible()
        assert page.locator(".plots svg rect").count() > 4
        # The policy allows the style sheet of the page, in both colour schemes.
        grounds = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(set(grounds)) == 2
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = [figure.bounding_box() for figure in page.locator(".plots figure").all()]
        assert len({(round(box["width"]), round(box["height"])) for box in boxes if box}) == 1 < len(boxes)
        browser.close()


def put_text(project: Project, source: str, page: int, text: str, name: str) -> None:
    """Replace the text of a page, and its mentions by one, in all stages."""
    file = project.output / "text" / f"{source}.json"
    texts = PageText.model_validate_json(file.read_bytes())
    texts.pages[page - 1].text = text
    file.write_text(texts.model_dump_json())
    for process in ("extraction", "judge", "reasoning"):
        path = project.output / process / f"{source}.json"
        document = Document.model_validate_json(path.read_bytes())
        document.text_sha256 = texts.digest()
        document.pages[page - 1] = mention_page(page, text, [name])
        path.write_text(document.model_dump_json())


def mention_page(page: int, text: str, names: Sequence[str], **fields: Any) -> MentionPage:
    passages = []
    for name in names:
        found = PageIndex(text).locate(name)
        assert found, name
        dataset = Dataset(raw_name=name, start=found.start, end=found.end, grounding="exact", **fields)
        passages.append(
            Passage(
                mentioned_in=name, start=found.start, end=found.end, page=page, dataset_used=True, datasets=[dataset]
            )
        )
    return MentionPage(page=page, dataset_used=bool(names), data_mentions=passages)


# ---- Two runs


def test_two_runs_on_the_same_gold(done: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(done.output, other)
    document = json.loads((other / "reasoning" / "b.json").read_text())
    document["pages"][0]["data_mentions"] = []
    (other / "reasoning" / "b.json").write_text(json.dumps(document))
    gold_path = gold_of(done)
    printed = done.run(f"evaluate.py --gold {gold_path} --compare {done.output} {other}")
    found = report(done)
    difference = found["f1_difference"]["mention"]
    # F1 is 2 * right / (gold + predicted): 2/7 before, 2/6 without the false positive in b.
    assert difference["value"] == pytest.approx(2 / 6 - 2 / 7, abs=1e-6)
    # Samples: aa has 2/6 in both runs; ab as above; bb has no gold, so its F1 is undefined.
    assert (difference["low"], difference["high"]) == (0.0, pytest.approx(2 / 6 - 2 / 7, abs=1e-6))
    assert f"mention    {difference['value']:+.3f}   +0.000 to {difference['high']:+.3f}" in printed
    assert found["second"]["stages"]["reasoning"]["levels"]["mention"]["predicted"] == 2
    html = (done.output / "evaluation" / "evaluation.html").read_text()
    assert f"<td>{difference['value']:+.3f}</td>" in html and html.count("<caption>Page</caption>") >= 2
    same = done.run(f"evaluate.py --gold {gold_path} --compare {done.output} {done.output}")
    assert same.count("+0.000 to +0.000") == 4


def test_two_runs_are_compared_after_the_last_stage_that_both_have(done: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(done.output, other, ignore=shutil.ignore_patterns("reasoning"))
    printed = done.run(f"evaluate.py --gold {gold_of(done)} --compare {done.output} {other}")
    assert f"Run A: {done.output}, judge" in printed and f"Run B: {other}, judge" in printed
    assert printed.count("+0.000 to +0.000") == 4


def test_runs_without_a_common_gold_page(done: Project, tmp_path: Path) -> None:
    printed = printed_by(done, f"--gold {gold_of(done)} --compare {done.output} {tmp_path}", expect=1)
    assert f"{tmp_path}/manifest.jsonl does not exist yet" in printed


# ---- Measures


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Demographic and Health Survey (DHS)", "DHS", True),
        ("Demographic and Health Survey (DHS)", "Demographic and Health Survey", True),
        ("Demographic and Health Survey", "DHS", True),
        ("the Demographic and\nHealth Surveys 2005-06", "Demographic and Health Survey 2010", True),
        ("DHS (Demographic and Health Survey)", "Demographic & Health Survey (DHS)", True),
        ("National Health and Nutrition Examina-\ntion Survey", "NHANES", True),
        ("N-SSATS", "National Survey of Substance Abuse Treatment Services", True),
        ("NHANES data", "NHANES 2011/12", True),
        ("World Values survey dataset", "WORLD VALUES SURVEY", True),
        ("Enquête Démographique", "Enquete demographique", True),
        ("Demographic and Health Survey", "Demographic and Household Survey", False),
        ("Census of Uganda", "Census of Kenya", False),
        ("DHS", "NHANES", False),
    ],
)
def test_names_that_are_the_same(one: str, other: str, same: bool) -> None:
    assert name_forms(one).same(name_forms(other)) is same
    assert name_forms(other).same(name_forms(one)) is same


def test_a_name_of_nothing_but_a_year_is_compared_as_it_is() -> None:
    assert not name_forms("2010").same(name_forms("2011")) and name_forms("2010").same(name_forms("2010"))
    assert not name_forms("data").same(name_forms("2010")) and name_forms("??").keys


def test_acronyms_that_the_text_defines() -> None:
    text = "The Survey of Living (ENVI, 2010) and EHCVM (Enquête Harmonisée des Conditions de Vie des Ménages) and "
    text += "the Rural Panel (USAID)."
    forms = {name: name_forms(name, text, span(text, name)) for name in ("Survey of Living", "EHCVM", "Rural Panel")}
    assert not forms["Survey of Living"].same(name_forms("ENVI")), "its letters are not in the name"
    assert forms["EHCVM"].same(name_forms("Enquête Harmonisée des Conditions de Vie des Ménages"))
    assert not forms["Rural Panel"].same(name_forms("USAID"))
    text = "The Micro Database Direct Investment (MiDi) is used."
    name = "Micro Database Direct Investment"
    assert name_forms(name, text, span(text, name)).same(name_forms("MiDi")) and not name_forms(name).same(
        name_forms("MiDi")
    )


def test_strict_and_lenient_matching() -> None:
    text = "the 2010 Korvian Demographic and Health Survey of the office"
    gold = [marked("a", 1, text, "Korvian Demographic and Health Survey")]
    near = [marked("a", 1, text, "2010 Korvian Demographic and Health Survey")]
    inside = [marked("a", 1, text, "Survey")]
    assert values(score(gold, near).row("mention")) == [1, 1, 1, 1]
    assert values(score(gold, inside).row("mention")) == [0, 0, 0, 0]
    assert values(score(gold, inside).row("mention_lenient")) == [1, 1, 1, 1]
    assert values(score(gold, inside).row("name")) == [0, 0, 0, 0]
    (missed, wrong) = score(gold, inside).errors
    assert missed.overlaps == ("Survey",) and wrong.overlaps == ("Korvian Demographic and Health Survey",)


def test_jaccard_at_its_limit() -> None:
    assert jaccard((0, 10), (0, 5)) == 0.5 and match_spans([(0, 10)], [(0, 5)]) == {0: 0}
    assert match_spans([(0, 11)], [(0, 5)]) == {} and match_spans([(0, 11)], [(0, 5)], lenient=True) == {0: 0}


def test_matching_is_one_to_one_and_as_large_as_possible() -> None:
    assert match_spans([(0, 10)], [(0, 10), (0, 10)]) == {0: 0}
    # Taking the best pair first would leave the second gold span without a partner.
    assert match_spans([(0, 10), (0, 6)], [(0, 9), (0, 20)]) == {0: 1, 1: 0}


def test_undefined_measures() -> None:
    empty = [marked("a", 1, FIRST)]
    assert values(score(empty, empty).row("mention")) == [None] * 4
    some = [marked("a", 1, FIRST, "KHS")]
    assert values(score(some, empty).row("mention")) == [None, 0, 0, 0]
    assert values(score(empty, some).row("mention")) == [0, None, None, None]


def test_pages_that_occur_twice_and_pages_without_gold() -> None:
    page = marked("a", 1, FIRST, "KHS")
    with pytest.raises(ValueError, match="occurs twice"):
        score([page, page], [])
    found = score([page], [page, marked("a", 2, SECOND, "KHS", "Farm Register"), marked("a", 3, THIRD)])
    assert found.not_evaluated == (1, 2) and values(found.row("mention")) == [1, 1, 1, 1]


def test_intervals_resample_documents() -> None:
    """With one document right and one wrong, the central 95 % reach from one to the other; 25 % of samples are aa."""
    gold = [marked("a", 1, FIRST, "KHS"), marked("b", 1, FIRST, "KHS")]
    found = score(gold, [gold[0], marked("b", 1, FIRST, "Barley Price Panel")])
    precision = found.row("mention").measures["precision"]
    assert (precision.value, precision.low, precision.high) == (0.5, 0.0, 1.0)
    pages = [marked("a", page, FIRST, "KHS") for page in range(1, 40)]
    assert score(pages, pages).row("mention").measures["precision"].low is None, "one document gives no interval"
    assert score(gold, gold).row("mention").measures["f1"].low == 1.0
    wide = [marked(str(one), 1, FIRST, "KHS") for one in range(10)]
    half = [*wide[:5], *(marked(str(one), 1, FIRST, "Barley Price Panel") for one in range(5, 10))]
    recall = score(wide, half).row("mention").measures["recall"]
    # Binomial with n = 10, p = 0.5: 2.5 and 97.5 % quantiles are 2 and 8.
    assert (recall.low, recall.high) == (0.2, 0.8)
    assert score(wide, half) == score(wide, half)


# ---- Independent implementations


@given(st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.integers(1, 20), max_size=12))
def test_matching_agrees_with_trying_everything(weights: dict[tuple[int, int], int]) -> None:
    scaled = {place: weight / 20 for place, weight in weights.items()}
    found = best_pairs(scaled, 5, 5)
    assert all(pair in weights for pair in found.items()) and len(set(found.values())) == len(found)
    best = (0, 0)
    for columns in itertools.permutations(range(5)):
        chosen = [weights[pair] for pair in enumerate(columns) if pair in weights]
        best = max(best, (len(chosen), sum(chosen)))
    assert (len(found), sum(weights[pair] for pair in found.items())) == best


@given(st.data())
def test_measures_agree_with_nervaluate(data: st.DataObject) -> None:
    """On whole tokens, where spans are equal or disjoint, our level mention is nervaluate's strict schema."""
    nervaluate = pytest.importorskip("nervaluate")
    tags: dict[str, list[list[str]]] = {"gold": [], "predicted": []}
    pages: dict[str, list[MarkedPage]] = {"gold": [], "predicted": []}
    for number in range(data.draw(st.integers(1, 4))):
        size = data.draw(st.integers(1, 8))
        for side in tags:
            marks = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
            tags[side].append(["B-data" if mark else "O" for mark in marks])
            mentions = tuple(MarkedName(f"w{one}", 3 * one, 3 * one + 2) for one, mark in enumerate(marks) if mark)
            text = " ".join(f"w{one}" for one in range(size))
            pages[side].append(MarkedPage(f"d{number}", 1, text, mentions))
    theirs = nervaluate.Evaluator(tags["gold"], tags["predicted"], tags=["data"], loader="list").evaluate()
    strict = theirs["overall"]["strict"]
    ours = values(score(pages["gold"], pages["predicted"], samples=10).row("mention"))
    # They give 0 for undefined measures.
    assert [one or 0 for one in ours[:3]] == pytest.approx([strict.precision, strict.recall, strict.f1], abs=1e-6)


# ---- Properties


NAMES = (
    "Farm Register",
    "KHS",
    "Korvian Household Survey (KHS)",
    "Barley Panel 2010",
    "Lake Survey",
    "the lake surveys",
)
PAGE = " and ".join(NAMES) + "."


@st.composite
def marked_pages(draw: st.DrawFn) -> list[MarkedPage]:
    places = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), unique=True, max_size=6))
    pages = []
    for document, page in places:
        starts = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), max_size=5))
        spans = [span(PAGE, name) for name in draw(st.lists(st.sampled_from(NAMES), max_size=4))]
        spans += [(start, min(len(PAGE), start + length)) for start, length in starts]
        kind = draw(st.sampled_from(("properly_named", "vague_generic", None)))
        mentions = [MarkedName(PAGE[start:end], start, end, specificity=kind) for start, end in spans]
        pages.append(MarkedPage(document, page, PAGE, tuple(mentions)))
    return pages


def quick(gold: list[MarkedPage], predicted: list[MarkedPage]) -> list[Row]:
    return score(gold, predicted, samples=20).rows


@given(marked_pages())
def test_a_perfect_prediction_has_only_ones(pages: list[MarkedPage]) -> None:
    for row in quick(pages, pages):
        assert {one for one in values(row) if one is not None} <= {1.0}
        assert row.counts.gold == row.counts.found == row.counts.predicted == row.counts.right
    assert not score(pages, pages, samples=1).errors


@given(marked_pages(), marked_pages())
def test_swapping_gold_and_prediction_swaps_precision_and_recall(
    one: list[MarkedPage], other: list[MarkedPage]
) -> None:
    shared = {page.key for page in one} & {page.key for page in other}
    one, other = ([page for page in pages if page.key in shared] for pages in (one, other))
    swapped = {(row.level, row.group, row.value): row for row in quick(other, one)}
    for row in quick(one, other):
        mirror = swapped[row.level, row.group, row.value]
        assert row.counts == (*mirror.counts[2:], *mirror.counts[:2])
        assert row.measures["precision"].value == mirror.measures["recall"].value


@given(marked_pages(), marked_pages(), st.randoms())
def test_the_order_of_pages_and_mentions_does_not_matter(
    gold: list[MarkedPage], predicted: list[MarkedPage], random: Any
) -> None:
    before = quick(gold, predicted)
    assert quick(shuffled(gold, random), shuffled(predicted, random)) == before


def shuffled(pages: list[MarkedPage], random: Any) -> list[MarkedPage]:
    mixed = random.sample(pages, len(pages))
    return [
        MarkedPage(page.document, page.page, page.text, tuple(random.sample(page.mentions, len(page.mentions))))
        for page in mixed
    ]


@given(marked_pages(), marked_pages())
def test_lenient_finds_at_least_as_many_and_all_values_are_shares(
    gold: list[MarkedPage], predicted: list[MarkedPage]
) -> None:
    rows = quick(gold, predicted)
    by_level = {row.level: row.counts for row in rows if row.group == "all"}
    assert by_level["mention_lenient"].right >= by_level["mention"].right
    for row in rows:
        for estimate in row.measures.values():
            assert all(one is None or 0 <= one <= 1 for one in (estimate.value, estimate.low, estimate.high))
            assert estimate.low is None or estimate.high is None or estimate.low <= estimate.high


# ---- From Python, and real papers


def test_the_code_in_the_documentation_runs(done: Project) -> None:
    gold_path = gold_of(done)
    documentation = (ROOT / "docs" / "evaluation.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", documentation, re.DOTALL)
    assert "    evaluation = evaluate_run(" in (pipeline.evaluation.__doc__ or "")
    environment = os.environ | {"OUTPUT_DIR": str(done.output)}
    program = code.replace('"gold.jsonl"', repr(str(gold_path)))
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("0.285714 F1 of reasoning\nEstimate(value=1.0")


def test_the_example_in_the_documentation(project: Project, server: Server) -> None:
    """The shipped gold fits the shipped papers, and the quoted output has the tables that the program prints."""
    server.polls_to_complete = 0
    papers = ROOT / "examples" / "papers"
    for paper in papers.glob("*.pdf"):
        shutil.copy(paper, project.input)
    project.run("run_batch.py --process all")
    printed = project.run(f"evaluate.py --gold {papers / 'gold.jsonl'}")
    found = report(project)
    assert found["evaluated"] == {"documents": 3, "pages": 4, "mentions": 16, "relocated": 0} and not found["unplaced"]
    quoted = (ROOT / "docs" / "evaluation.md").read_text().partition("$ python evaluate.py --gold examples")[2]
    lines = quoted.partition("[…]")[0].splitlines()[1:]
    without_values = {re.sub(r"[\d.]+|–", "N", " ".join(line.split())) for line in printed.splitlines()}
    assert len(lines) > 25
    assert {re.sub(r"[\d.]+|–", "N", " ".join(line.split())) for line in lines} <= without_values


def workspace_from_gold(rows: list[dict[str, Any]], root: Path, names: Any) -> Workspace:
    """An output folder with the gold's texts and, for each stage, the predictions that `names` makes of a page."""
    workspace, by_document = Workspace(root), defaultdict(list)
    for row in rows:
        by_document[row["doc_id"]].append(row)
    manifest = []
    for source, pages in sorted(by_document.items()):
        texts = [Page(page=row["page"], text=row["text"]) for row in pages]
        text = PageText(source=source, file=f"{source}.pdf", sha256="0" * 64, n_pages=len(pages), pages=texts)
        known = [mention_page(row["page"], row["text"], names(row)) for row in pages]
        document = Document(
            source=source, process="extraction", text_sha256=text.digest(), pages=known,
            page_status={str(row["page"]): "answered" for row in pages},
        )  # fmt: skip
        for path, record in ((workspace.text(source), text), (workspace.document("extraction", source), document)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(record.model_dump_json())
        manifest.append(ManifestEntry(source=source, file=f"{source}.pdf", n_pages=len(pages)).model_dump_json())
    workspace.manifest.write_text("\n".join(manifest) + "\n")
    return workspace


def test_human_coded_papers(project: Project, shared: Path) -> None:
    """The gold as prediction is perfect; a pattern as prediction gives counts that a second program finds too."""
    path = shared / "gold" / "rcc_pages.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    workspace_from_gold(rows, project.output, lambda row: dataset_names(row["text"]))
    found = evaluated(project, f"--gold {path}")
    assert found["evaluated"] == {"documents": 17, "pages": 421, "mentions": 165, "relocated": 0}
    right = predicted = 0
    for row in rows:
        spans = [PageIndex(row["text"]).locate(name) for name in dataset_names(row["text"])]
        predicted += len(spans)
        open_gold = [(one["start"], one["end"]) for one in row["mentions"]]
        for one in filter(None, spans):
            # Greedy is enough here: the names that the pattern finds do not overlap.
            partner = next((gold for gold in open_gold if jaccard(gold, (one.start, one.end)) >= 0.5), None)
            if partner:
                open_gold.remove(partner)
                right += 1
    assert counts(found, "extraction", "mention") == [165, right, predicted, right] and 0 < right < predicted
    pages_with_gold = sum(bool(row["mentions"]) for row in rows)
    assert counts(found, "extraction", "page")[0] == pages_with_gold == 50


def test_sentences_of_papers_about_language(project: Project, shared: Path) -> None:
    """2,010 sentences without page numbers are found on the pages of a document that holds them."""
    path = shared / "gold" / "tdmsci_sentences.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    pages = []
    for number, start in enumerate(range(0, len(rows), 20), start=1):
        text = "\n".join(row["text"] for row in rows[start : start + 20])
        pages.append({"doc_id": "tdmsci-unknown", "page": number, "text": text})
    workspace_from_gold(pages, project.output, lambda row: [])
    found = evaluated(project, f"--gold {path}")
    placed, left_out = found["evaluated"], found["unplaced"]
    assert placed["pages"] + len(left_out) == 2010 and placed["pages"] > 1980
    assert {one["what"].partition("“")[0] for one in left_out} <= {"the gold has this page or sentence twice"}
