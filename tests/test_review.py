"""review_labels.py: the review page, Label Studio, importing labels, their effect on training data, agreement."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from server import Server
from test_export import all_named, exported
from test_finetune import split_rows

from pipeline.config import SPLITS
from pipeline.records import CLASS_FIELDS, DATASET_FIELDS, TEXT_FIELDS, Document, MentionPage, Page, PageText
from pipeline.review.agreement import cohens_kappa
from pipeline.review.importing import read_labels
from pipeline.review.labels import DatasetLabel, PageLabel, apply_label, load_labels, text_hash
from pipeline.review.review_pages import review_pages
from pipeline.selection import Selection
from pipeline.stages.extraction import ExtractionAnswer
from pipeline.workflow.contradictions import judged_both_ways as judged_both_ways_in
from pipeline.workspace import Workspace

# The final verdict of the test server on both names is "valid"; its judge rejects the first one.
FIRST = "We use the Korvian Household Survey (KHS) here. The Barley Price Panel is merged with it. Näïve – “text”."
SECOND = "Nothing but theory stands on this page. The annex describes the Farm Register."
HOSTILE = "</script><img src=x onerror=window.hacked=1> <b>Bold Survey</b> We use the Lake Fishing Survey here."


def answers(project: Project) -> dict[str, list[str]]:
    """Generate the training data; the dataset names for each page, by the first word of its text."""
    project.run("generate_finetune_data.py")
    found = {}
    for split in SPLITS:
        for row in split_rows(project, split):
            answer = ExtractionAnswer.model_validate_json(row["messages"][2]["content"])
            names = [dataset.raw_name for mention in answer.data_mentions for dataset in mention.datasets]
            found[row["messages"][1]["content"].split()[1]] = names
    return found


def sources(project: Project) -> dict[int, str]:
    return {row["page"]: row["label"] for split in SPLITS for row in split_rows(project, f"{split}.sources")}


def page_text(project: Project, source: str, page: int) -> str:
    text = PageText.model_validate_json((project.output / "text" / f"{source}.json").read_bytes())
    return text.pages[page - 1].text


def label(project: Project, page: int, *mentions: tuple[str, str], complete: bool = True, **more: Any) -> str:
    """A row of labels.jsonl for a page of document `a`. `mentions`: decision and name. `fields`: of all mentions."""
    text = page_text(project, "a", page)
    labels = [
        DatasetLabel(
            decision=decision, start=text.index(name), end=text.index(name) + len(name), quote=name,  # type: ignore[arg-type]
            **more.get("fields", {}),
        )
        for decision, name in mentions
    ]  # fmt: skip
    return PageLabel(
        source="a", page=page, text_sha256=more.get("text_sha256", text_hash(Page(page=page, text=text))),
        annotator=more.get("who", "anna"), time=more.get("time", "2026-11-25T10:00:00Z"), page_complete=complete,
        mentions=labels,
    ).model_dump_json()  # fmt: skip


@pytest.fixture
def done(project: Project, server: Server) -> Project:
    project.configure(NEGATIVES_PER_POSITIVE=9)
    project.paper("a.pdf", FIRST, SECOND)
    project.run("run_batch.py --process all")
    return project


def import_rows(project: Project, *rows: str) -> str:
    file = project.folder / "mine.jsonl"
    file.write_text("\n".join(rows) + "\n")
    return project.run(f"review_labels.py --import {file}")


def test_human_labels_override_the_pipeline(done: Project) -> None:
    import_rows(
        done,
        label(done, 1, ("accept", "Korvian Household Survey"), ("reject", "Barley Price Panel")),
        label(done, 2, ("add", "Farm Register")),
    )
    assert answers(done) == {"We": ["Korvian Household Survey"], "Nothing": ["Farm Register"]}
    assert sources(done) == {1: "person:anna", 2: "person:anna"}


def test_a_person_can_accept_what_the_pipeline_rejected(project: Project) -> None:
    project.paper("a.pdf", "We use the Rice Price Panel here.")
    project.run("run_batch.py --process all")
    import_rows(project, label(project, 1, complete=False))
    project.run("generate_finetune_data.py", expect=1)
    import_rows(project, label(project, 1, ("accept", "Rice Price Panel"), complete=False))
    assert answers(project) == {"We": ["Rice Price Panel"]}


def test_only_reviewed_uses_only_completed_pages(done: Project) -> None:
    import_rows(done, label(done, 1, ("accept", "Korvian Household Survey"), complete=False), label(done, 2))
    printed = done.run("generate_finetune_data.py --only-reviewed", expect=1)
    assert "1 page: not marked as complete by a person" in printed
    assert "1 page: more negatives than NEGATIVES_PER_POSITIVE allows" in printed
    import_rows(done, label(done, 1, ("accept", "Korvian Household Survey"), ("reject", "Barley Price Panel")))
    done.run("generate_finetune_data.py --only-reviewed")
    assert sources(done) == {1: "person:anna", 2: "person:anna"}


def test_a_complete_page_has_only_the_labelled_mentions(done: Project) -> None:
    assert answers(done)["We"] == ["Korvian Household Survey", "Barley Price Panel"]
    import_rows(done, label(done, 1, ("accept", "Barley Price Panel")))
    assert answers(done)["We"] == ["Barley Price Panel"]


def test_an_incomplete_page_keeps_the_mentions_without_a_label(done: Project) -> None:
    import_rows(done, label(done, 1, ("reject", "Barley Price Panel"), ("add", "KHS"), complete=False))
    assert answers(done)["We"] == ["Korvian Household Survey", "KHS"]
    assert sources(done) == {1: "pipeline+person:anna", 2: "pipeline"}


def test_the_fields_of_a_label_override_those_of_the_pipeline(done: Project) -> None:
    fields = {name: f"the {name}" for name in TEXT_FIELDS} | {name: values[-1] for name, values in CLASS_FIELDS.items()}
    import_rows(done, label(done, 1, ("edit", "Barley Price Panel"), fields=fields))
    (dataset,) = datasets_of(done, 1)
    # No stage reviews `relevance`, so it is never taught.
    assert dataset == {"raw_name": "Barley Price Panel", **fields, "relevance": None}


def test_the_name_of_an_annotator_cannot_change_the_dataset_card(done: Project) -> None:
    import_rows(done, label(done, 1, ("accept", "Barley Price Panel"), who="an|na\n<b>"))
    done.run("generate_finetune_data.py")
    card = (done.output / "finetune" / "README.md").read_text()
    assert re.search(r"^\| person:an_na__b_ +\| \d", card, re.MULTILINE)


def datasets_of(project: Project, page: int) -> list[dict[str, Any]]:
    """Generate the training data; the datasets in the answer for a page of document `a`."""
    project.run("generate_finetune_data.py --format alpaca")
    (row,) = [row for split in SPLITS for row in split_rows(project, split) if row["page"] == page]
    return [dataset for passage in json.loads(row["output"])["data_mentions"] for dataset in passage["datasets"]]


def test_a_label_without_a_field_leaves_the_value_of_the_pipeline(done: Project) -> None:
    """The label was made before the field existed, so it says nothing about it."""
    row = json.loads(label(done, 1, ("accept", "Korvian Household Survey"), complete=False))
    document = done.document("reasoning", "a")
    (dataset,) = (
        one
        for passage in document["pages"][0]["data_mentions"]
        for one in passage["datasets"]
        if one["raw_name"] == "Korvian Household Survey"
    )
    dataset |= {"context": "background", "producer": "The Office"}
    (done.output / "reasoning" / "a.json").write_text(json.dumps(document))
    for mention in row["mentions"]:
        del mention["context"], mention["producer"]
    import_rows(done, json.dumps(row))
    (made,) = (one for one in datasets_of(done, 1) if one["raw_name"] == "Korvian Household Survey")
    assert (made["context"], made["producer"]) == ("background", "The Office")


def test_labels_and_documents_without_one_of_the_fields_are_read(done: Project) -> None:
    """Files that were written before a field existed."""
    row = json.loads(label(done, 1, ("accept", "Korvian Household Survey"), complete=False))
    document = done.document("reasoning", "a")
    datasets = [one for passage in document["pages"][0]["data_mentions"] for one in passage["datasets"]]
    for dataset in (*row["mentions"], *datasets):
        del dataset["context"], dataset["producer"]
    (done.output / "reasoning" / "a.json").write_text(json.dumps(document))
    import_rows(done, json.dumps(row))
    made = datasets_of(done, 1)
    assert [(one["raw_name"], one["context"], one["producer"]) for one in made] == [
        ("Korvian Household Survey", "background", None),
        ("Barley Price Panel", "background", None),
    ]
    done.run("review_labels.py --html")


def test_a_completed_page_whose_text_has_changed_is_left_out(done: Project) -> None:
    import_rows(done, label(done, 1, text_sha256="another"))
    printed = done.run("generate_finetune_data.py --only-reviewed", expect=1)
    assert "1 page: the text has changed since a person completed the page" in printed
    assert not list(done.output.glob("finetune/*"))


def test_a_page_with_a_name_that_a_person_added_elsewhere_is_not_a_negative(done: Project) -> None:
    assert answers(done)["Nothing"] == []
    import_rows(done, label(done, 1, ("add", "The"), complete=False))
    assert "Nothing" not in answers(done)


def test_two_datasets_in_the_same_place_are_labelled_as_one() -> None:
    text = "We use the DHS here."
    dataset = {"raw_name": "DHS", "start": 11, "end": 14, "valid": True}
    mention = {"mentioned_in": text, "start": 0, "end": 20, "page": 1, "dataset_used": True, "datasets": [dataset] * 2}
    known = MentionPage.model_validate({"page": 1, "dataset_used": True, "data_mentions": [mention]})
    page = Page(page=1, text=text)
    for decision, valid in (("reject", [False, False]), ("accept", [True])):
        one = DatasetLabel(decision=decision, start=11, end=14, quote="DHS")  # type: ignore[arg-type]
        made = PageLabel(source="a", page=1, text_sha256=text_hash(page), annotator="anna", time="", mentions=[one])
        assert [dataset.valid for dataset in apply_label(page, known, made).datasets] == valid


def test_the_newest_label_is_used_and_importing_twice_changes_nothing(done: Project) -> None:
    old = label(done, 1, ("reject", "Korvian Household Survey"), time="2026-11-01T00:00:00Z")
    new = label(done, 1, ("accept", "Korvian Household Survey"), who="ben")
    assert "labels.jsonl: 2 new rows, 0 replaced, 0 unchanged\n" in import_rows(done, new, old)
    before = (done.output / "labels.jsonl").read_bytes()
    assert "labels.jsonl: 0 new rows, 0 replaced, 2 unchanged\n" in import_rows(done, old, new)
    assert (done.output / "labels.jsonl").read_bytes() == before
    assert load_labels(Workspace(done.output))["a", 1].annotator == "ben"
    newest = label(done, 1, ("accept", "Barley Price Panel"), time="2026-11-26T00:00:00Z")
    printed = import_rows(done, newest, old)
    assert "labels of 2 pages with 2 mentions" in printed and "0 new rows, 1 replaced, 0 unchanged, 1 not" in printed
    assert "0 new rows, 0 replaced, 1 unchanged\n" in import_rows(done, newest)
    older = import_rows(done, old, old)
    assert "0 new rows, 0 replaced, 0 unchanged, 2 not used because there is a newer one\n" in older
    assert load_labels(Workspace(done.output))["a", 1].time == "2026-11-26T00:00:00Z"


def test_a_label_is_located_again_if_the_text_has_changed() -> None:
    text = "Old words. We use the Farm Register and the Farm Register of 2001."
    one = DatasetLabel(decision="add", start=41, end=54, quote="Farm Register")
    made = PageLabel(source="a", page=1, text_sha256="old", annotator="anna", time="", mentions=[one])
    labelled = apply_label(Page(page=1, text=text), None, made)
    (dataset,) = labelled.datasets
    assert (dataset.start, dataset.end, dataset.valid) == (44, 57, True), "the nearest of the two"
    assert dataset.sent == "We use the Farm Register and the Farm Register of 2001." and not labelled.lost
    assert apply_label(Page(page=1, text="The name is not here."), None, made).lost == ["Farm Register"]


def test_a_page_with_a_label_that_cannot_be_located_is_left_out(done: Project) -> None:
    for text_sha256 in ("another", json.loads(label(done, 1))["text_sha256"]):
        row = json.loads(label(done, 1, ("accept", "Korvian Household Survey"), text_sha256=text_sha256))
        row["mentions"][0]["quote"] = "A Survey That Was Here"
        import_rows(done, json.dumps(row))
        printed = done.run("generate_finetune_data.py", expect=1)
        assert "1 page: a labelled name is no longer in the text" in printed


INVALID = {
    '{"source": "a"}\n': "line 1, is not a valid label (page: Field required; 1 of 1 row)",
    "\nno json\n{}\nneither": "line 2, is not valid JSON (Expecting value; 2 of 3 lines cannot be read)",
    "[1, 2]": "row 1, is not a JSON object (2 of 2 rows)",
    '[{"data": {}}]': "has tasks for Label Studio and no annotations: import it into a Label Studio project",
    '[{"data": {"text_sha256": ""}, "annotations": [{}]}]': "row 1, is not a task of a JSON export of Label Studio",
    '[{"annotation_id": 1, "annotator": 1}]': "is a Label Studio export in the format JSON-MIN: export the project",
    '[{"data": {"text_sha256": ""}, "annotations": []}]': "has no labels (1 task has no annotation): label the tasks",
    "[": "line 1, is not valid JSON",
    "[" * 100_000: "line 1, is not valid JSON",
    "\n": "is empty: give a labels.jsonl of the review page, or a JSON export of a Label Studio project",
    "<!DOCTYPE html>\n<p>": "is an HTML or XML file: give a labels.jsonl",
    "%PDF-1.7": "is a PDF: give a labels.jsonl",
    "{\0}": "is not a text file: give a labels.jsonl",
}


@pytest.mark.parametrize("content", INVALID, ids=range(len(INVALID)))
def test_an_invalid_label_file(project: Project, content: str) -> None:
    file = project.folder / "wrong.jsonl"
    file.write_text(content)
    printed = project.run(f"review_labels.py --import {file}", expect=1)
    assert printed.startswith(f"error: {file}") and INVALID[content] in printed and printed.count("\n") == 1
    assert not (project.output / "labels.jsonl").exists()


def test_a_missing_label_file(project: Project) -> None:
    missing = project.folder / "nowhere.jsonl"
    assert f"Cannot read {missing}" in project.run(f"review_labels.py --import {missing}", expect=1)


def test_nothing_to_review_yet(project: Project) -> None:
    project.paper("a.pdf", FIRST)
    assert "run_batch.py --check" in project.run("review_labels.py --html", expect=1)
    project.run("run_batch.py --check")
    for command in ("--html", "--export label-studio"):
        printed = project.run(f"review_labels.py {command}", expect=1)
        assert "There are no pages to review yet: run `python run_batch.py --process all` first" in printed
    assert not list(project.output.glob("review/*"))


def reviewed(project: Project, options: str = "") -> list[dict[str, Any]]:
    """The pages in the data of the review page."""
    project.run(f"review_labels.py --html {options}")
    html = (project.output / "review" / "review.html").read_text()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    pages: list[dict[str, Any]] = json.loads(data)["pages"]
    return pages


def test_the_review_page_has_the_last_stage_that_reached_a_document(project: Project) -> None:
    project.paper("a.pdf", FIRST, SECOND)
    for process, verdicts in (("extraction", []), ("judge", ["judge"]), ("reasoning", ["judge", "reasoning"])):
        project.run(f"run_batch.py --process {process} --wait")
        pages = reviewed(project)
        assert [page["page"] for page in pages] == [1, 2]
        mention = pages[0]["mentions"][0]
        assert sorted(mention["verdicts"]) == verdicts
        assert mention["valid"] is {"extraction": None, "judge": False, "reasoning": True}[process]
        assert mention["quote"] == pages[0]["text"][mention["start"] : mention["end"]] == "Korvian Household Survey"
        assert tuple(mention["fields"]) == DATASET_FIELDS


def test_which_pages_the_review_page_has(done: Project) -> None:
    done.paper("b.pdf", FIRST)
    done.paper("c.pdf", "This page was never asked about.", FIRST)
    done.run("run_batch.py --process extraction --documents b --wait")
    done.run("run_batch.py --process extraction --documents c --pages 2 --wait")
    places = [("a", 1), ("a", 2), ("b", 1), ("c", 2)]
    assert [(page["source"], page["page"]) for page in reviewed(done)] == places
    assert [page["source"] for page in reviewed(done, "--documents [bc]")] == ["b", "c"]
    assert [page["source"] for page in reviewed(done, "--limit 1")] == ["a", "a"]
    assert "No document matches 'x*'" in done.run("review_labels.py --html --documents x*", expect=1)
    done.paper("b.pdf", SECOND)
    done.run("run_batch.py --check")
    assert [page["source"] for page in reviewed(done)] == ["a", "a", "c"], "the text of b has changed"


def test_the_review_page_has_failed_pages_and_names_that_are_not_in_the_text(done: Project) -> None:
    document = done.document("reasoning", "a")
    document["page_status"] |= {"1": "failed:refused", "2": "failed:refused"}
    dataset = document["pages"][0]["data_mentions"][0]["datasets"][0]
    dataset |= {"raw_name": "Elsewhere Survey", "start": None, "end": None, "grounding": "missing"}
    (done.output / "reasoning" / "a.json").write_text(json.dumps(document))
    (first,) = reviewed(done)
    assert first["page"] == 1, "page 2 has failed, and there is nothing on it to review"
    assert first["unlocated"] == ["Elsewhere Survey"]
    assert [mention["quote"] for mention in first["mentions"]] == ["Barley Price Panel"]


def agreement_of(project: Project, one: list[str], other: list[str]) -> str:
    files = project.folder / "one.jsonl", project.folder / "other.jsonl"
    for file, rows in zip(files, (one, other), strict=True):
        file.write_text("".join(f"{row}\n" for row in rows))
    return project.run(f"review_labels.py --agreement {files[0]} {files[1]}")


def test_agreement_of_two_annotators(done: Project) -> None:
    one = label(done, 1, ("accept", "Korvian Household Survey"), ("reject", "Barley Price Panel"), ("add", "KHS"))
    other = label(
        done, 1, ("edit", "Korvian Household Survey"), ("accept", "Barley Price Panel"), who="ben",
        fields={"context": "primary", "year": "2019"},
    )  # fmt: skip
    older = label(done, 1, ("reject", "Korvian Household Survey"), who="ben", time="2026-11-01T00:00:00Z")
    printed = agreement_of(done, [one, label(done, 2)], [other, older])
    assert "1 page was labelled by both annotators" in printed and "1 more" not in printed
    table = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if re.match(r"\w+ +\d", line)}
    assert table["verdict"] == ["3", "33.3", "%", "-0.20"]
    assert table["context"] == ["1", "0.0", "%", "0.00"] and table["acronym"] == ["1", "100.0", "%", "-"]
    assert table.keys() - {"1"} == {"verdict", *DATASET_FIELDS}
    assert [line for line in printed.splitlines() if line.startswith("a, ")] == [
        "a, page 1, “Korvian Household Survey”, year: None (anna), 2019 (ben)",
        "a, page 1, “Korvian Household Survey”, context: background (anna), primary (ben)",
        "a, page 1, “KHS”, verdict: valid (anna), not marked (ben)",
        "a, page 1, “Barley Price Panel”, verdict: invalid (anna), valid (ben)",
    ]


def test_pages_that_were_labelled_on_different_texts_are_not_compared(done: Project) -> None:
    one = [label(done, page, ("add", "the")) for page in (1, 2)]
    other = [label(done, page, ("add", "the"), text_sha256="another") for page in (1, 2)]
    printed = agreement_of(done, one, other)
    assert "0 pages were labelled by both annotators" in printed
    assert "2 more pages were labelled by both, but on different versions of the text" in printed


def test_cohens_kappa() -> None:
    """The counts 20, 5, 10, 15 are a common textbook example: kappa is 0.4."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa([("y", "y")] * 3) is None and cohens_kappa([]) is None


def tasks_of(project: Project) -> list[dict[str, Any]]:
    project.run("review_labels.py --export label-studio")
    tasks: list[dict[str, Any]] = json.loads((project.output / "review" / "label-studio.json").read_text())
    return tasks


def test_label_studio_round_trip(done: Project) -> None:
    """If an annotator accepts all predictions, the training data is that of the pipeline."""
    tasks = tasks_of(done)
    assert [task["data"]["page"] for task in tasks] == [1, 2]
    exported = [{"data": task["data"], "annotations": [annotation(task["predictions"][0]["result"])]} for task in tasks]
    file = done.folder / "export.json"
    file.write_text(json.dumps(exported))
    before = datasets_of(done, 1)
    assert len(before) == 2
    assert "labels of 2 pages with 2 mentions" in done.run(f"review_labels.py --import {file}")
    assert datasets_of(done, 1) == before
    assert sources(done) == {1: "pipeline+person:anna@example.org", 2: "pipeline+person:anna@example.org"}


def test_the_labelling_interface_declares_all_results_of_the_tasks(done: Project) -> None:
    """Label Studio rejects a result whose name, type or value the interface does not declare."""
    results = [result for task in tasks_of(done) for result in task["predictions"][0]["result"]]
    interface = ElementTree.parse(done.output / "review" / "label-studio.xml").getroot()
    controls = {control.get("name"): control for control in interface.iter() if control.get("toName") == "text"}
    assert controls.keys() == {"mention", "verdict", "page_complete", *DATASET_FIELDS}
    assert {result["from_name"] for result in results} >= {"mention", "verdict", *CLASS_FIELDS}
    for result in results:
        control = controls[result["from_name"]]
        assert control.tag.lower() == result["type"]
        declared = {child.get("value") for child in control}
        assert control.tag == "TextArea" or declared >= set(result["value"][result["type"]])


def annotation(results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    user = {"email": "anna@example.org"}
    return {"result": results, "completed_by": user, "updated_at": "2026-11-25T10:00:00Z", **more}


def exported_labels(project: Project, *annotations: dict[str, Any], predictions: Any = None) -> list[PageLabel]:
    """The labels in an export of one task with these annotations."""
    data = {"source": "a", "page": 1, "text": page_text(project, "a", 1), "text_sha256": "x"}
    file = project.folder / "export.json"
    file.write_text(json.dumps([{"data": data, "annotations": annotations, "predictions": predictions}]))
    return read_labels(file).labels


def test_an_added_and_a_deleted_region_in_label_studio(done: Project) -> None:
    start = page_text(done, "a", 1).index("Barley Price Panel")
    where: dict[str, Any] = {"start": start, "end": start + len("Barley Price Panel")}
    region = [
        part("mention", "labels", **where, labels=["dataset"]),
        part("specificity", "choices", **where, choices=["vague_generic"]),
        part("producer", "textarea", **where, text=["Ministry \ud800"]),
        part("page_complete", "choices", region="y", choices=["complete"]),
    ]
    predicted = [part("mention", "labels", region="z", start=0, end=2, labels=["dataset"])]
    (made,) = exported_labels(done, annotation(region), predictions=[{"result": predicted}])
    assert (made.annotator, made.page_complete) == ("anna@example.org", True)
    deleted, mention = made.mentions
    assert (deleted.decision, deleted.quote) == ("reject", "We"), "the annotator has deleted the predicted region"
    assert (mention.decision, mention.quote, mention.start) == ("add", "Barley Price Panel", start)
    assert (mention.specificity, mention.producer) == ("vague_generic", "Ministry ?"), (
        "UTF-8 cannot store a lone surrogate"
    )


def test_the_decision_follows_from_origin_and_verdict_in_label_studio(done: Project) -> None:
    where: dict[str, Any] = {"start": 0, "end": 2}
    for origin, decision in (("prediction", "accept"), ("prediction-changed", "edit"), ("manual", "add")):
        region = {**part("mention", "labels", **where, labels=["dataset"]), "origin": origin}
        (made,) = exported_labels(done, annotation([region], completed_by=7))
        assert [one.decision for one in made.mentions] == [decision] and made.annotator == "user 7"
        invalid = part("verdict", "choices", **where, choices=["invalid"])
        (made,) = exported_labels(done, annotation([region, invalid]))
        assert [one.decision for one in made.mentions] == ["reject"]


def test_a_cancelled_annotation_of_label_studio_is_ignored(done: Project) -> None:
    region = part("mention", "labels", start=0, end=2, labels=["dataset"])
    made = exported_labels(done, annotation([region], was_cancelled=True), annotation([]))
    assert [len(label.mentions) for label in made] == [0]


def imported(project: Project, *annotations: dict[str, Any], **task: Any) -> tuple[list[tuple[str, str]], str]:
    """Import an export of our first task with these annotations: the decisions and names, and what was printed."""
    data = task.pop("data", None) or tasks_of(project)[0]["data"]
    file = project.folder / "project-1.json"
    file.write_text(json.dumps([{"id": 1, "data": data, "annotations": annotations, "predictions": [286], **task}]))
    (project.output / "labels.jsonl").unlink(missing_ok=True)
    printed = project.run(f"review_labels.py --import {file}")
    (row,) = [json.loads(line) for line in (project.output / "labels.jsonl").read_text().splitlines()]
    return [(one["decision"], one["quote"]) for one in row["mentions"]], printed


def kept_first(project: Project) -> list[dict[str, Any]]:
    """The results of an annotator who has deleted all predicted regions but the first."""
    results = tasks_of(project)[0]["predictions"][0]["result"]
    return [{**one, "origin": "prediction"} for one in results if one["id"] == "m0"]


KEPT, DELETED = ("accept", "Korvian Household Survey"), ("reject", "Barley Price Panel")


def test_deleted_mentions_are_found_if_the_export_has_only_ids_of_predictions(done: Project) -> None:
    made, printed = imported(done, annotation(kept_first(done), parent_prediction=286))
    assert made == [KEPT, DELETED] and "note" not in printed
    assert answers(done)["We"] == ["Korvian Household Survey"]
    made, _ = imported(done, annotation([], parent_prediction=286))
    assert sorted(made) == sorted([("reject", KEPT[1]), DELETED])


def test_deleted_mentions_of_an_older_project_are_found_in_our_own_tasks(done: Project) -> None:
    kept = annotation(kept_first(done), parent_prediction=286)
    old = {name: value for name, value in tasks_of(done)[0]["data"].items() if name != "mentions"}
    assert imported(done, kept, data=old)[0] == [KEPT, DELETED]
    tasks = done.output / "review" / "label-studio.json"
    for content in ("damaged", "[1]", None):
        tasks.unlink() if content is None else tasks.write_text(content)
        made, printed = imported(done, kept, data=old)
        assert made == [KEPT]
        assert "note: in 1 annotation, mentions that the annotator has deleted cannot be recognised" in printed


def test_an_annotation_made_from_scratch_rejects_nothing(done: Project) -> None:
    body = {"id": 286, "result": tasks_of(done)[0]["predictions"][0]["result"]}
    for predictions in ([286], [body]):
        scratch = annotation([], parent_prediction=None)
        assert imported(done, scratch, predictions=predictions)[0] == []
        added = {**kept_first(done)[0], "id": "x", "origin": "manual"}
        assert imported(done, annotation([added], parent_prediction=None), predictions=predictions)[0] == [
            ("add", "Korvian Household Survey")
        ]


def test_a_copy_of_an_annotation_that_was_made_from_a_prediction(done: Project) -> None:
    first = annotation([], id=1, parent_prediction=286, was_cancelled=True)
    copy = annotation(kept_first(done), id=2, parent_prediction=None, parent_annotation=1)
    made, printed = imported(done, first, copy)
    assert made == [KEPT, DELETED]
    assert "note: 1 annotation was skipped by the annotator" in printed


def test_only_the_prediction_that_the_annotation_was_made_from_counts(done: Project) -> None:
    other = {"id": 300, "result": [part("mention", "labels", start=0, end=2, text="We", labels=["dataset"])]}
    body = {"id": 286, "result": tasks_of(done)[0]["predictions"][0]["result"]}
    kept = annotation(kept_first(done), parent_prediction=286)
    assert imported(done, kept, predictions=[other, body])[0] == [KEPT, DELETED]


def with_text(project: Project, text: str) -> dict[str, Any]:
    return {"source": "a", "page": 1, "text": text, "text_sha256": "x", "mentions": []}


def test_the_text_of_a_region_decides_where_it_is(done: Project) -> None:
    text = "🙂🙂 𝒜 uses the DHS and the KHS.\nThe Farm\nRegister is not the DHS."
    complete = part("page_complete", "choices", region="y", choices=["complete"])

    def label_at(start: int, end: int, quote: str) -> tuple[dict[str, Any], str]:
        region = part("mention", "labels", start=start, end=end, text=quote, labels=["dataset"])
        _, printed = imported(done, annotation([region, complete]), data=with_text(done, text))
        return json.loads((done.output / "labels.jsonl").read_text()), printed

    for number, found in enumerate(re.finditer("DHS", text)):
        in_units = len(text[: found.start()].encode("utf-16-le")) // 2
        for start in (in_units, found.start(), found.start() + 6):
            row, printed = label_at(start, start + 3, "DHS")
            (mention,) = row["mentions"]
            assert (mention["start"], mention["quote"]) == (found.start(), "DHS"), (number, start)
            assert row["page_complete"] and "note" not in printed
    (mention,) = label_at(0, 3, "Farm Register")[0]["mentions"]
    assert mention["quote"] == "Farm\nRegister"
    row, printed = label_at(0, 3, "A survey elsewhere")
    assert not row["mentions"] and not row["page_complete"], "a mention is missing"
    assert "note: 1 label was skipped, because the text of the region is not on the page" in printed


def test_a_task_without_an_annotation_is_reported(done: Project) -> None:
    one, two = tasks_of(done)
    file = done.folder / "project-1.json"
    file.write_text(json.dumps([{**one, "annotations": [annotation([])]}, {**two, "annotations": []}]))
    assert "note: 1 task has no annotation\n" in done.run(f"review_labels.py --import {file}")


def part(name: str, kind: str, *, region: str = "x", **value: Any) -> dict[str, Any]:
    return {"id": region, "from_name": name, "to_name": "text", "type": kind, "value": value}


def open_review(browser: Any, project: Project, options: str = "") -> Any:
    project.run(f"review_labels.py --html {options}")
    page = browser.new_context().new_page()
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: pytest.fail(f"the script of the page failed: {error}"))
    page.goto(f"file://{project.output}/review/review.html")
    return page


def select(page: Any, words: str) -> None:
    """Select the first occurrence of these words within one text node, as with the mouse."""
    page.evaluate(
        """words => {
            const walker = document.createTreeWalker(document.getElementById('text'), NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const { currentNode } = walker, start = currentNode.data.indexOf(words);
                if (start < 0) continue;
                getSelection().setBaseAndExtent(currentNode, start, currentNode, start + words.length);
                return;
            }
        }""",
        words,
    )


def download(page: Any, project: Project) -> Path:
    with page.expect_download() as waiting:
        page.click("#download")
    file = project.folder / "labels.jsonl"
    waiting.value.save_as(file)
    return file


def reload_until(page: Any, place: str, words: str) -> None:
    """Reload the page until `place` has these words. The browser writes its storage in another process, at any time."""
    for _ in range(30):
        page.reload()
        if words in page.inner_text(place):
            return
        page.wait_for_timeout(300)
    pytest.fail(f"{page.inner_text(place)} instead of {words}: it was not saved in the browser")


def test_a_review_in_a_browser(browser: Any, done: Project) -> None:
    """Reject a mention, edit one, add one by selecting it, complete the pages, and import the labels."""
    page = open_review(browser, done)
    page.fill("#annotator", "anna")
    page.click("h2#title")
    page.click("mark:has-text('Barley')")
    page.keyboard.press("r")
    page.click("mark:has-text('Korvian')")
    page.keyboard.press("e")
    page.fill("article.current input[name=producer]", "Statistics Office")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    page.keyboard.press("n")
    select(page, "Nothing but")
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    page.wait_for_function("document.querySelector('#progress').innerText.includes('2 of 2 pages complete')")
    reload_until(page, "#progress", "2 of 2 pages complete")
    done.run(f"review_labels.py --import {download(page, done)}")
    made = answers(done)
    assert "Korvian Household Survey" in made["We"] and "Barley Price Panel" not in made["We"]
    assert "Nothing but" in made["Nothing"]
    assert set(sources(done).values()) == {"person:anna"}
    labels = load_labels(Workspace(done.output))
    (edited,) = [one for one in labels["a", 1].mentions if one.decision == "edit"]
    assert edited.producer == "Statistics Office"
    for number in (1, 2):
        text = page_text(done, "a", number)
        assert all(text[one.start : one.end] == one.quote for one in labels["a", number].mentions)


def test_typed_values_are_saved_when_the_reviewer_goes_on(browser: Any, done: Project) -> None:
    page = open_review(browser, done)
    page.click("mark:has-text('Korvian')")
    page.keyboard.press("e")
    page.fill("article.edited input[name=producer]", "Statistics Office")
    page.click("mark:has-text('Barley')")
    page.fill("#annotator", "anna")
    page.keyboard.press("Enter")
    page.click("h2#title")
    select(page, "Korvian Household Survey")
    page.keyboard.press("m")
    assert page.input_value("article.edited input[name=producer]") == "Statistics Office", "it has a label already"
    page.keyboard.press("Escape")
    (row,) = [json.loads(line) for line in download(page, done).read_text().splitlines()]
    (mention,) = row["mentions"]
    assert (mention["decision"], mention["producer"]) == ("edit", "Statistics Office")
    page.keyboard.press("e")
    page.fill("article.edited input[name=producer]", "Ministry")
    page.click("#complete")
    (row,) = [json.loads(line) for line in download(page, done).read_text().splitlines()]
    first = row["mentions"][0]
    assert (first["decision"], first["producer"]) == ("edit", "Ministry")


def test_cancel_and_remove_in_a_browser(browser: Any, done: Project) -> None:
    page = open_review(browser, done)
    select(page, "KHS")
    page.click("#mark")
    page.fill("article.edited input[name=producer]", "Nobody")
    page.click("button:has-text('Cancel')")
    assert "Nobody" not in page.inner_text("#cards") and page.locator("article").count() == 3
    page.click("button:has-text('Remove')")
    assert page.locator("article").count() == 2
    (row,) = [json.loads(line) for line in download(page, done).read_text().splitlines()]
    assert (row["annotator"], row["page_complete"], row["mentions"]) == ("anonymous", False, [])


def test_nothing_to_download_yet(browser: Any, done: Project) -> None:
    page = open_review(browser, done)
    page.on("download", lambda one: pytest.fail("an empty file was saved"))
    page.click("#download")
    assert page.inner_text("#saved") == "Nothing to download yet"
    assert not page.locator("details.hint p").first.is_visible()
    page.click("details.hint summary")
    assert "mark the page as complete" in page.inner_text("details.hint p >> nth=0")


def test_a_class_that_nobody_chose_is_not_labelled(browser: Any, done: Project) -> None:
    """Neither of a mention that is added, nor of one for which the pipeline has none."""
    document = done.document("reasoning", "a")
    dataset = document["pages"][0]["data_mentions"][0]["datasets"][0]
    dataset |= {"context": None, "valid": False, "invalid_reason": "not data"}
    del dataset["relevance"]
    (done.output / "reasoning" / "a.json").write_text(json.dumps(document))
    page = open_review(browser, done)
    page.keyboard.press("e")
    for name in ("context", "relevance"):
        assert page.input_value(f"article.edited select[name={name}]") == ""
    assert page.input_value("article.edited select[name=specificity]") == dataset["specificity"]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    select(page, "here")
    page.keyboard.press("m")
    page.select_option("article.edited select[name=specificity]", "vague_generic")
    page.keyboard.press("Enter")
    added = page.locator("article.current")
    assert added.locator(".state").all_inner_texts() == ["Added by you."]
    assert added.locator("button").all_inner_texts() == ["Remove", "Edit"]
    (row,) = [json.loads(line) for line in download(page, done).read_text().splitlines()]
    by_decision = {one["decision"]: one for one in row["mentions"]}
    assert not {"context", "relevance"} & by_decision["edit"].keys()
    assert not {"context", "relevance"} & by_decision["add"].keys()
    assert by_decision["add"]["specificity"] == "vague_generic" and by_decision["add"]["producer"] is None
    import_rows(done, json.dumps(row))
    (exported_row,) = [one for one in exported(done) if one["raw_name"] == "here"]
    assert (exported_row["context"], exported_row["specificity"]) == (None, "vague_generic")


def test_the_verdict_of_the_pipeline_stays_beside_that_of_the_person(browser: Any, done: Project) -> None:
    document = done.document("reasoning", "a")
    document["pages"][0]["data_mentions"][0]["datasets"][0] |= {"valid": False, "invalid_reason": "not data"}
    (done.output / "reasoning" / "a.json").write_text(json.dumps(document))
    page = open_review(browser, done)
    states = page.locator("article.current .state")
    assert states.all_inner_texts() == ["Pipeline: invalid: not data"]
    page.keyboard.press("a")
    assert states.all_inner_texts() == ["Accepted by you.", "Pipeline: invalid: not data"]
    assert "devil's advocate: " in page.inner_text("article.current")


def test_the_cards_and_the_list_of_pages_in_a_browser(browser: Any, done: Project) -> None:
    page = open_review(browser, done)
    card = page.inner_text("article.current")
    verdicts = done.document("reasoning", "a")["pages"][0]["data_mentions"][0]["datasets"][0]["verdicts"]
    for text in (
        f"judge: invalid: {verdicts['judge']['reason']}",
        "reasoning: valid",
        f"analysis: {verdicts['reasoning']['analysis']}",
    ):
        assert text in card
    page.click("h2#title")
    page.keyboard.press("j")
    page.keyboard.press("a")
    current = page.inner_text("article.current")
    assert "Barley Price Panel" in current and "Accepted by you" in current
    page.keyboard.press("k")
    assert "Pipeline: valid" in page.inner_text("article.current")
    assert page.locator("#list button").count() == 2
    page.check("#only-mentions")
    assert page.locator("#list button").count() == 1
    page.click("#next")
    assert page.inner_text("#title") == "a, page 1", "page 2 has no mentions"
    page.uncheck("#only-mentions")
    page.click("#next")
    assert page.inner_text("#title") == "a, page 2"


def test_two_tabs_of_the_same_review_are_merged(browser: Any, done: Project) -> None:
    one = open_review(browser, done)
    other = one.context.new_page()
    other.goto(one.url)
    one.keyboard.press("c")
    other.keyboard.press("n")
    other.keyboard.press("c")
    for tab in (one, other):
        tab.wait_for_function("document.getElementById('progress').textContent.startsWith('2 of 2')")
    third = one.context.new_page()
    third.goto(one.url)
    third.wait_for_function("document.getElementById('progress').textContent.startsWith('2 of 2')")


def test_text_from_papers_is_never_markup(browser: Any, project: Project, server: Server) -> None:
    project.paper("<img src=x onerror=window.hacked=2>.pdf", HOSTILE)
    project.run("run_batch.py --process all")
    page = open_review(browser, project)
    assert page.inner_text("#text").split() == page_text_of(project).split()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, b:not(details b)").count() == 0
    page.keyboard.press("c")
    assert json.loads(download(page, project).read_text())["page_complete"] is True


def page_text_of(project: Project) -> str:
    (file,) = (project.output / "text").glob("*.json")
    return str(json.loads(file.read_text())["pages"][0]["text"])


def test_offsets_count_characters_beyond_the_basic_plane(browser: Any, done: Project) -> None:
    text = json.loads((done.output / "text" / "a.json").read_text())
    text["pages"][0]["text"] = "🙂🙂 é́ We use the Korvian Household Survey (KHS) here."
    (done.output / "text" / "a.json").write_text(json.dumps(text))
    document = done.document("reasoning", "a")
    document["text_sha256"] = PageText.model_validate(text).digest()
    (done.output / "reasoning" / "a.json").write_text(json.dumps(document))
    page = open_review(browser, done)
    select(page, "here")
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    (row,) = [json.loads(line) for line in download(page, done).read_text().splitlines()]
    (mention,) = row["mentions"]
    changed = page_text(done, "a", 1)
    assert mention["quote"] == changed[mention["start"] : mention["end"]] == "here"


def judged_both_ways(project: Project, server: Server) -> Project:
    """Two papers. The second names a survey on three pages, and the reasoner rejects it on the second of them."""
    usual = server.answer

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, said = usual(body)
        message = said["choices"][0]["message"]
        is_whole = message["content"].endswith("}")
        if is_whole and body["response_format"]["json_schema"]["name"] == "dataset_reasoning":
            content = json.loads(message["content"])
            valid = "rejected here" not in body["messages"][1]["content"]
            content["verdicts"] = [{**one, "valid": valid} for one in content["verdicts"]]
            message["content"] = json.dumps(content)
        return status, said

    server.answer = answer
    project.configure(NEGATIVES_PER_POSITIVE=9)
    project.paper("a.pdf", FIRST)
    pages = (
        "We use the Lake Fishing Survey.",
        "The LAKE Fishing Survey 2010 is rejected here.",
        "The Lake Fishing Survey.",
    )
    project.paper("b.pdf", *pages, "No data.")
    project.run("run_batch.py --process all")
    return project


def test_a_name_that_is_judged_both_ways_comes_first(project: Project, server: Server) -> None:
    done = judged_both_ways(project, server)
    assert done.document("reasoning", "a")["judged_both_ways"] == []
    found = {"name": "Lake Fishing Survey", "valid_on": [1, 3], "invalid_on": [2]}
    assert done.document("reasoning", "b")["judged_both_ways"] == [found]
    pages = list(review_pages(Workspace(done.output), Selection()))
    assert [(page.source, page.page) for page in pages] == [("b", 1), ("b", 2), ("b", 3), ("a", 1), ("b", 4)]
    said = "Lake Fishing Survey: valid on pages 1, 3, invalid on page 2"
    assert [page.contradictions for page in pages] == [[said]] * 3 + [[]] * 2


def test_a_contradiction_is_shown_in_a_browser(browser: Any, project: Project, server: Server) -> None:
    page = open_review(browser, judged_both_ways(project, server))
    assert page.inner_text("#title") == "b, page 1"
    assert "valid on pages 1, 3, invalid on page 2" in page.inner_text(".contradiction")


def test_a_rejected_mention_that_a_person_accepts_gets_its_classes_back(project: Project, server: Server) -> None:
    """The last stage has cleared them, and the review page sends them as null."""
    done = judged_both_ways(project, server)
    text = PageText.model_validate_json((done.output / "text" / "b.json").read_bytes()).pages[1]
    (mention,) = done.document("reasoning", "b")["pages"][1]["data_mentions"][0]["datasets"]
    assert (mention["context"], mention["specificity"], mention["valid"]) == (None, None, False)
    known = {name: mention[name] for name in DATASET_FIELDS}
    start, end = mention["start"], mention["end"]
    decision = {"decision": "accept", "start": start, "end": end, "quote": text.text[start:end], **known}
    row = {"source": "b", "page": 2, "text_sha256": text_hash(text), "annotator": "anna", "page_complete": True}
    row |= {"time": "2026-01-01T00:00:00Z", "mentions": [decision]}
    import_rows(done, json.dumps(row))
    done.run("generate_finetune_data.py --format alpaca")
    (made,) = [one for split in SPLITS for one in split_rows(done, split) if (one["source"], one["page"]) == ("b", 2)]
    ((dataset,),) = [passage["datasets"] for passage in json.loads(made["output"])["data_mentions"]]
    judged = done.document("judge", "b")["pages"][1]["data_mentions"][0]["datasets"][0]
    assert (dataset["context"], dataset["specificity"]) == (judged["context"], judged["specificity"])


def test_a_name_and_its_acronym_are_the_same_name() -> None:
    def page(number: int, name: str, valid: bool | None) -> dict[str, Any]:
        mention = {"mentioned_in": name, "start": 0, "end": 1, "page": number, "dataset_used": True}
        return {"page": number, "dataset_used": True, "data_mentions": [{**mention, "datasets": [
            {"raw_name": name, "valid": valid}]}]}  # fmt: skip

    names = ("Korvian Household Survey (KHS)", False), ("KHS", True), ("Korvian Household\nSurvey", True), ("KHS", None)
    pages = [page(number, *one) for number, one in enumerate(names, start=1)]
    document = Document.model_validate({"source": "a", "process": "reasoning", "pages": pages})
    (found,) = judged_both_ways_in(document)
    assert (found.name, found.valid_on, found.invalid_on) == ("Korvian Household Survey (KHS)", [2, 3], [1])
    document.pages[0].datasets()[0].valid = True
    assert judged_both_ways_in(document) == []


def test_the_canonical_name_is_shown_where_it_differs(browser: Any, project: Project) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey (KHS) here.", "The KHS Panel is merged with the KHS.")
    project.paper("b.pdf", "The Korvian Household Survey is large.")
    project.run("run_batch.py --process all")
    all_named(project)
    page = open_review(browser, project)
    shown = {}
    for number in range(page.locator("nav .pages button").count()):
        page.locator("nav .pages button").nth(number).click()
        for card in page.locator("#cards article").all():
            name = card.locator("h3").inner_text()
            shown[name] = [line for line in card.locator(".state").all_inner_texts() if "Canonical name" in line]
    assert shown["Korvian Household Survey"] == []
    rows = {row["raw_name"]: row["canonical_name"] for row in exported(project)}
    assert any(canonical != name for name, canonical in rows.items())
    for name, canonical in rows.items():
        assert shown[name] == ([] if canonical in (None, name) else [f"Canonical name: {canonical}"])


def test_a_selection_is_extended_to_whole_words(browser: Any, done: Project) -> None:
    page = open_review(browser, done)
    text = page_text(done, "a", 1)
    word = next(word for word in text.split() if len(word) > 5 and word.isalpha() and word not in FIRST.split()[3:6])
    select(page, word[1:-1])
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    (row,) = [json.loads(line) for line in download(page, done).read_text().splitlines()]
    (mention,) = row["mentions"]
    assert mention["quote"] == text[mention["start"] : mention["end"]] == word


def test_the_page_opens_where_there_is_something_to_review(browser: Any, project: Project, server: Server) -> None:
    project.paper("a.pdf", "There is a lemma here.", "It is proved below.", "We use the Korvian Household Survey here.")
    project.run("run_batch.py --process all")
    page = open_review(browser, project)
    assert page.inner_text("h2#title") == "a, page 3"
    page.keyboard.press("c")
    reload_until(page, "h2#title", "a, page 1")  # everything is reviewed


def test_on_a_narrow_screen_the_card_is_in_sight_with_its_mention(browser: Any, project: Project) -> None:
    sentences = [f"Sentence {number} says nothing about it." for number in range(40)]
    project.paper("a.pdf", "\n".join([*sentences, "We use the Korvian Household Survey here.", *sentences[:10]]))
    project.run("run_batch.py --process all")
    page = open_review(browser, project)
    page.set_viewport_size({"width": 400, "height": 700})
    page.click("mark:has-text('Korvian')")
    for element in ("mark.current", "article.current button:has-text('Reject')"):
        box = page.locator(element).first.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= 700, element
