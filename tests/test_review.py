"""Labels by people: out as a page or as Label Studio's tasks, back in, and into the training data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from server import Server
from test_finetune import SPLITS, split_rows

from pipeline.labels import MentionLabel, PageLabel, load_labels, settle, text_hash
from pipeline.records import MentionPage, Page, PageText
from pipeline.review.agreement import cohens_kappa
from pipeline.review.label_studio import labels_of
from pipeline.stages.extraction import ExtractionAnswer
from pipeline.workspace import Workspace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FIRST = "We use the Korvian Household Survey (KHS) here. The Rice Price Panel is merged with it. Näïve – “text”."
SECOND = "Nothing but theory stands on this page. The Farm Register is told of in the annex."
HOSTILE = "</script><img src=x onerror=window.hacked=1> <b>Bold Survey</b> We use the Lake Fishing Survey here."


def answers(project: Project) -> dict[str, list[str]]:
    """The names in the training data, by the page's first word."""
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
    return json.loads((project.output / "text" / f"{source}.json").read_text())["pages"][page - 1]["text"]


def label(project: Project, page: int, *mentions: tuple[str, str], complete: bool = True, **more: str) -> str:
    """A row of labels.jsonl: (decision, name) of each mention on a page of `a`."""
    text = page_text(project, "a", page)
    said = [
        MentionLabel(decision=decision, start=text.index(name), end=text.index(name) + len(name), quote=name)  # type: ignore[arg-type]
        for decision, name in mentions
    ]
    return PageLabel(
        source="a", page=page, text_sha256=text_hash(Page(page=page, text=text)), annotator=more.get("who", "anna"),
        time=more.get("time", "2026-11-25T10:00:00Z"), page_complete=complete, mentions=said,
    ).model_dump_json()  # fmt: skip


@pytest.fixture
def done(project: Project, server: Server) -> Project:
    project.configure(NEGATIVES_PER_POSITIVE=9)
    project.paper("a.pdf", FIRST, SECOND)
    project.run("run_batch.py --process all")
    return project


def bring(project: Project, *rows: str) -> str:
    file = project.folder / "mine.jsonl"
    file.write_text("\n".join(rows) + "\n")
    return project.run(f"review_labels.py --import {file}")


def test_labels_by_people_overrule_the_pipeline(done: Project) -> None:
    bring(
        done,
        label(done, 1, ("accept", "Korvian Household Survey"), ("reject", "Rice Price Panel")),
        label(done, 2, ("add", "Farm Register")),
    )
    assert answers(done) == {"We": ["Korvian Household Survey"], "Nothing": ["Farm Register"]}
    assert sources(done) == {1: "person:anna", 2: "person:anna"}


def test_only_reviewed_takes_nothing_else(done: Project) -> None:
    bring(done, label(done, 1, ("accept", "Korvian Household Survey"), complete=False), label(done, 2))
    printed = done.run("generate_finetune_data.py --only-reviewed")
    assert "1 pages: not reviewed completely" in printed
    assert "left out: 1 pages: a page without a dataset, over NEGATIVES_PER_POSITIVE" in printed
    bring(done, label(done, 1, ("accept", "Korvian Household Survey"), ("reject", "Rice Price Panel")))
    done.run("generate_finetune_data.py --only-reviewed")
    assert sources(done) == {1: "person:anna", 2: "person:anna"}


def test_a_complete_page_has_what_its_label_says_and_no_more(done: Project) -> None:
    bring(done, label(done, 1, ("accept", "Korvian Household Survey")))
    assert answers(done)["We"] == ["Korvian Household Survey"], "the others are not on it"


def test_a_complete_page_whose_text_has_changed_is_left_out(done: Project) -> None:
    row = json.loads(label(done, 1)) | {"text_sha256": "another"}
    bring(done, json.dumps(row))
    printed = done.run("generate_finetune_data.py --only-reviewed")
    assert "1 pages: reviewed completely, but its text has changed since" in printed
    assert sources(done) == {}


def test_what_a_person_adds_keeps_pages_that_name_it_from_being_negatives(done: Project) -> None:
    assert answers(done).get("Nothing") == []
    bring(done, label(done, 1, ("add", "Näïve"), complete=False))
    text = page_text(done, "a", 2)
    assert "Farm" in text
    bring(done, label(done, 1, ("add", "The"), complete=False))
    assert "Nothing" not in answers(done), "its page names what was added on the other"


def test_a_name_that_stands_twice_in_one_place_is_rejected_as_one() -> None:
    text = "We use the DHS here."
    fields = dict.fromkeys(("harmonized_name", "acronym", "producer", "year", "data_type"))
    dataset = {
        "raw_name": "DHS", "start": 11, "end": 14, "valid": True, "context": "primary", **fields,
        "specificity": "properly_named", "relevance": "directly_relevant",
    }  # fmt: skip
    mention = {"mentioned_in": text, "start": 0, "end": 20, "page": 1, "dataset_used": True, "datasets": [dataset] * 2}
    known = MentionPage.model_validate({"page": 1, "dataset_used": True, "data_mentions": [mention]})
    page = Page(page=1, text=text)
    for decision, valid in (("reject", [False, False]), ("accept", [True])):
        said = MentionLabel(decision=decision, start=11, end=14, quote="DHS")  # type: ignore[arg-type]
        made = PageLabel(source="a", page=1, text_sha256=text_hash(page), annotator="anna", time="", mentions=[said])
        assert [one.valid for one in settle(page, known, made).datasets] == valid


def test_the_newest_label_counts_and_importing_twice_changes_nothing(done: Project) -> None:
    old = label(done, 1, ("reject", "Korvian Household Survey"), time="2026-11-01T00:00:00Z")
    new = label(done, 1, ("accept", "Korvian Household Survey"), who="ben")
    bring(done, new, old)
    before = (done.output / "labels.jsonl").read_bytes()
    bring(done, old, new)
    assert (done.output / "labels.jsonl").read_bytes() == before
    assert load_labels(Workspace(done.output))["a", 1].annotator == "ben"
    newest = label(done, 1, ("accept", "Rice Price Panel"), time="2026-11-26T00:00:00Z")
    assert "2 pages with 2 mentions were read; 1 are new" in bring(done, newest, old)
    assert load_labels(Workspace(done.output))["a", 1].time == "2026-11-26T00:00:00Z"


def test_a_label_is_placed_again_where_the_text_has_changed() -> None:
    text = "Old words. We use the Farm Register and the Farm Register of 2001."
    mention = MentionLabel(decision="add", start=44, end=57, quote="Farm Register")
    made = PageLabel(source="a", page=1, text_sha256="old", annotator="anna", time="", mentions=[mention])
    settled = settle(Page(page=1, text=text), None, made)
    assert [(one.start, one.end, one.valid) for one in settled.datasets] == [(44, 57, True)]
    assert settle(Page(page=1, text="All of it is gone."), None, made).lost == ["Farm Register"]


def test_a_label_that_cannot_be_placed_keeps_its_page_out(done: Project) -> None:
    row = json.loads(label(done, 1, ("accept", "Korvian Household Survey")))
    row |= {"text_sha256": "another"}
    row["mentions"][0]["quote"] = "A Survey That Was Here"
    bring(done, json.dumps(row))
    assert "1 pages: a label whose place the text does not have any more" in done.run("generate_finetune_data.py")


WRONG = ('{"source": "a"}\n', "no json", "[1, 2]", '[{"data": {}}]', "[", "[" * 100_000, "")


@pytest.mark.parametrize("content", WRONG, ids=range(len(WRONG)))
def test_what_is_no_label_file_gets_a_sentence(done: Project, content: str) -> None:
    file = done.folder / "wrong.jsonl"
    file.write_text(content)
    if content:
        assert done.run(f"review_labels.py --import {file}", expect=1).startswith("error: ")
    else:
        assert "0 pages with 0 mentions" in done.run(f"review_labels.py --import {file}")
    assert done.run("review_labels.py --import nowhere.jsonl", expect=1).startswith("error: ")


def test_nothing_to_review_yet(project: Project) -> None:
    assert "run_batch.py" in project.run("review_labels.py --html", expect=1)


def test_agreement_of_two_annotators(done: Project) -> None:
    one, other = done.folder / "one.jsonl", done.folder / "other.jsonl"
    one.write_text(label(done, 1, ("accept", "Korvian Household Survey"), ("reject", "Rice Price Panel")) + "\n")
    other.write_text(label(done, 1, ("accept", "Korvian Household Survey"), ("accept", "Rice Price Panel")) + "\n")
    printed = done.run(f"review_labels.py --agreement {one} {other}")
    assert "1 pages were labelled by both" in printed
    assert "a, page 1, “Rice Price Panel”: valid invalid / valid" in printed
    (valid,) = [line.split() for line in printed.splitlines() if line.startswith("valid")]
    assert valid == ["valid", "2", "50.0", "%", "0.00"]


def test_kappa_is_that_of_cohen() -> None:
    """The example of his paper's successors: 20 yes/yes, 15 no/no, 5 and 10 apart give 0.4."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa([("y", "y")] * 3) is None and cohens_kappa([]) is None


def test_label_studios_tasks_come_back_as_they_went(done: Project) -> None:
    """Predictions accepted as they are give the pipeline's own labels, at the same offsets."""
    done.run("review_labels.py --export label-studio")
    tasks = json.loads((done.output / "review" / "label-studio.json").read_text())
    assert [task["data"]["page"] for task in tasks] == [1, 2]
    exported = [{"data": task["data"], "annotations": [annotation(task["predictions"][0]["result"])]} for task in tasks]
    file = done.folder / "export.json"
    file.write_text(json.dumps(exported))
    assert "2 pages with" in done.run(f"review_labels.py --import {file}")
    before = answers(done)
    (done.output / "labels.jsonl").unlink()
    pipeline = answers(done)
    assert before == pipeline and before["We"]


def annotation(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"result": results, "completed_by": {"email": "anna@example.org"}, "updated_at": "2026-11-25T10:00:00Z"}


def test_what_label_studio_says_of_a_region(done: Project) -> None:
    text = page_text(done, "a", 1)
    start = text.index("Rice Price Panel")
    where = {"start": start, "end": start + 16}
    region = [
        part("mention", "labels", **where, labels=["dataset"]),
        part("specificity", "choices", **where, choices=["vague_generic"]),
        part("producer", "textarea", **where, text=["Ministry"]),
        part("page_complete", "choices", "y", choices=["complete"]),
    ]
    data = {"source": "a", "page": 1, "text": text, "text_sha256": "x"}
    gone = [part("mention", "labels", "z", start=0, end=2, labels=["dataset"])]
    one = {"data": data, "annotations": [annotation(region)], "predictions": [{"result": gone}]}
    (made,) = labels_of([one])
    assert (made.annotator, made.page_complete) == ("anna@example.org", True)
    deleted, mention = sorted(made.mentions, key=lambda one: one.start)
    assert (deleted.decision, deleted.quote) == ("reject", "We"), "what the annotator has taken out"
    assert (mention.decision, mention.quote, mention.start) == ("add", "Rice Price Panel", start)
    assert (mention.specificity, mention.producer) == ("vague_generic", "Ministry")


def part(name: str, kind: str, region: str = "x", **value: Any) -> dict[str, Any]:
    return {"id": region, "from_name": name, "to_name": "text", "type": kind, "value": value}


@pytest.fixture
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def open_review(browser: Any, project: Project) -> Any:
    project.run("review_labels.py --html")
    page = browser.new_context().new_page()
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: pytest.fail(f"the page's script fails: {error}"))
    page.goto(f"file://{project.output}/review/review.html")
    return page


def select(page: Any, words: str) -> None:
    """As with the mouse: the first place of these words in one run of text."""
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


def test_a_review_in_a_real_browser(browser: Any, done: Project) -> None:
    """One mention rejected, one edited, one marked by selecting it, the pages completed: into the training data."""
    page = open_review(browser, done)
    page.fill("#annotator", "anna")
    page.click("h2#title")
    page.click("mark:has-text('Rice')")
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
    page.reload()
    assert "2 of 2 pages complete" in page.inner_text("#progress"), "it is kept in the browser"
    done.run(f"review_labels.py --import {download(page, done)}")
    made = answers(done)
    assert "Korvian Household Survey" in made["We"] and "Rice Price Panel" not in made["We"]
    assert "Nothing but" in made["Nothing"]
    assert set(sources(done).values()) == {"person:anna"}
    labels = load_labels(Workspace(done.output))
    (edited,) = [one for one in labels["a", 1].mentions if one.decision == "edit"]
    assert edited.producer == "Statistics Office"
    for number in (1, 2):
        text = page_text(done, "a", number)
        assert all(text[one.start : one.end] == one.quote for one in labels["a", number].mentions)


def test_what_is_typed_is_kept_and_enter_decides_nothing_else(browser: Any, done: Project) -> None:
    page = open_review(browser, done)
    page.click("mark:has-text('Korvian')")
    page.keyboard.press("e")
    page.fill("article.edited input[name=producer]", "Statistics Office")
    page.click("mark:has-text('Rice')")
    page.fill("#annotator", "anna")
    page.keyboard.press("Enter")
    select(page, "Korvian Household Survey")
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    (row,) = [json.loads(line) for line in download(page, done).read_text().splitlines()]
    (mention,) = row["mentions"]
    assert (mention["decision"], mention["producer"]) == ("edit", "Statistics Office"), "nothing was taken away"


def test_two_tabs_of_one_review_keep_both(browser: Any, done: Project) -> None:
    one = open_review(browser, done)
    other = one.context.new_page()
    other.goto(one.url)
    one.keyboard.press("c")
    other.keyboard.press("n")
    other.keyboard.press("c")
    for tab in (one, other):  # they hear of each other by and by
        tab.wait_for_function("document.getElementById('progress').textContent.startsWith('2 of 2')")
    third = one.context.new_page()
    third.goto(one.url)
    third.wait_for_function("document.getElementById('progress').textContent.startsWith('2 of 2')")


def test_nothing_from_a_paper_is_markup(browser: Any, project: Project, server: Server) -> None:
    project.paper("<img src=x onerror=window.hacked=2>.pdf".replace("/", ""), HOSTILE)
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
