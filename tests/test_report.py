"""The HTML report, in a real browser."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Project
from test_export import all_named, datasets, edited, exported, label

PAPERS = re.compile("papers? with mentions")
TITLE = '</script><img src=x onerror="document.title=1">'


@pytest.fixture
def report(browser: Any, project: Project, server: Any) -> Iterator[tuple[Any, Project]]:
    """The open report of three papers, and the project."""
    server.polls_to_complete = 0
    project.paper("a.pdf", "We use the Korvian Household Survey (KHS) of 2011.", "The KHS is a panel of households.")
    project.paper("b.pdf", "The Korvian Household Survey is known to many.")
    project.paper("c.pdf", "Prices come from the Farm Register of the ministry.")
    (project.input / "metadata.csv").write_text(
        f'document,title,year,country\na,A study,2015,Kenya\nb,"{TITLE.replace(chr(34), chr(34) * 2)}",2019,Peru\n'
    )
    project.run("run_batch.py --process all")
    all_named(project)
    edited(project, "a", 1, context="primary", producer=TITLE, sent=f"{TITLE} Korvian Household Survey (KHS)")
    edited(project, "b", 1, context="background")
    yield opened(browser, project), project


def opened(browser: Any, project: Project) -> Any:
    project.run("export_mentions.py --format html")
    page = browser.new_context(accept_downloads=True).new_page()
    page.set_default_timeout(10_000)
    page.on("pageerror", lambda error: pytest.fail(f"the script of the page failed: {error}"))
    page.on("request", lambda one: None if one.url.startswith(("file:", "blob:")) else pytest.fail(one.url))
    page.goto(f"file://{project.output}/export/report.html")
    return page


def tiles(page: Any) -> dict[str, int]:
    found = page.locator(".tile")
    labels = (found.nth(i).locator("span").inner_text() for i in range(found.count()))
    numbers = (int(found.nth(i).locator("b").inner_text().replace(",", "")) for i in range(found.count()))
    return dict(zip(labels, numbers, strict=True))


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_the_numbers_are_those_of_the_tables(report: tuple[Any, Project]) -> None:
    page, project = report
    rows = exported(project)
    valid = [row for row in rows if row["valid"]]
    named = [row for row in valid if row["canonical_name"]]
    shown = tiles(page)
    assert shown["mentions"] == len(valid) > 0
    assert shown["named dataset"] == len({row["canonical_name"] for row in named}) == 1
    assert shown["papers with mentions"] == len({row["document"] for row in valid})
    assert shown["rejected mentions"] == len(rows) - len(valid)
    assert page.locator("h1").inner_text() == "Datasets in 3 papers"
    per_dataset = {row["title"]: 0 for row in datasets(project)}
    for row in datasets(project):
        per_dataset[row["title"]] += 1
    table = page.locator("tbody tr")
    found = {table.nth(i).locator("td").nth(0).inner_text(): int(table.nth(i).locator("td").nth(2).inner_text())
             for i in range(table.count())}  # fmt: skip
    assert found == per_dataset


def test_hostile_text_is_shown_as_text(report: tuple[Any, Project]) -> None:
    page, _ = report
    tab(page, "Mentions")
    assert page.locator("article", has_text="onerror").count() >= 1
    assert page.locator("img").count() == 0
    assert page.title() == "Datasets in papers"


def test_from_a_bar_to_the_papers_and_from_a_paper_to_the_sentences(report: tuple[Any, Project]) -> None:
    page, _ = report
    page.locator("figure.large button", has_text="Korvian Household Survey").click()
    assert page.get_by_role("tab", selected=True).inner_text() == "Papers"
    assert page.locator("tbody tr").count() == 2
    page.locator("tbody button", has_text="A study").click()
    assert page.get_by_role("tab", selected=True).inner_text() == "Mentions"
    assert {text.partition(",")[0] for text in page.locator("article .where").all_inner_texts()} == {"A study"}
    assert any("Korvian Household Survey" in text for text in page.locator("article mark").all_inner_texts())
    page.go_back()
    assert page.get_by_role("tab", selected=True).inner_text() == "Papers"
    page.get_by_role("button", name="Remove the filter Dataset").click()
    assert page.locator("tbody tr").count() == tiles(page)["papers with mentions"]


def test_filters_and_search(report: tuple[Any, Project]) -> None:
    page, _ = report
    everything = tiles(page)["mentions"]
    with_mentions = page.locator(".tile b").first
    papers = with_mentions.inner_text()
    page.locator("#use").select_option("mentioned")
    page.locator("#chips button").wait_for()
    assert everything > tiles(page)["mention"] == 1
    page.locator("#use").select_option("")
    for filters in ({"#country": "Peru"}, {"#from": "2016"}, {"#query": "nothing has this word"}):
        ((name, value),) = filters.items()
        field = page.locator(name)
        field.select_option(value) if name == "#country" else field.fill(value)
        page.locator(".tile", has_text=PAPERS).filter(has_not_text=papers).wait_for()
        assert with_mentions.inner_text() == ("0" if name == "#query" else "1")
        field.select_option("") if name == "#country" else field.fill("")
        page.locator(".tile", has_text=PAPERS).filter(has_text=papers).wait_for()


def test_the_countries_that_the_data_cover(report: tuple[Any, Project], browser: Any) -> None:
    _, project = report
    edited(project, "a", 1, geography="Kisumu, Kenya; northern Côte d’Ivoire")
    edited(project, "b", 1, geography="the Niger Delta")
    assert {row["geography"]: row["countries"] for row in exported(project) if row["geography"]} == {
        "Kisumu, Kenya; northern Côte d’Ivoire": "KEN; CIV", "the Niger Delta": None}  # fmt: skip
    assert "KEN; CIV" in {row["countries"] for row in datasets(project)}
    page = opened(browser, project)
    page.locator("figure", has_text="Countries of the data").get_by_role("button", name="Côte d'Ivoire").click()
    assert tiles(page)["paper with mentions"] == 1
    assert page.locator("#place").input_value() == "Côte d'Ivoire"
    tab(page, "Mentions")
    assert "northern Côte d’Ivoire" in page.locator("article dl").first.inner_text()


def test_papers_without_a_year_are_in_no_range_of_years(report: tuple[Any, Project]) -> None:
    page, _ = report
    page.locator("#to").fill("2016")
    page.locator(".tile", has_text=PAPERS).filter(has_text="1").wait_for()
    assert page.locator(".tile b").first.inner_text() == "1"


def test_an_address_that_means_nothing_any_more(browser: Any, report: tuple[Any, Project]) -> None:
    page, _ = report
    for state in ('{"tab":"nonsense"}', '{"dataset":"gone"}', "%%%", "[1]"):
        page.goto(page.url.partition("#")[0] + "#" + state)
        page.reload()
        assert page.get_by_role("tab", selected=True).inner_text() == "Datasets"
        assert tiles(page)["mentions"] > 0


def test_rows_are_sorted_and_downloaded(report: tuple[Any, Project]) -> None:
    page, project = report
    tab(page, "Papers")
    page.locator("th button", has_text="paper").first.click()
    first = page.locator("tbody tr td").first.inner_text()
    page.locator("th button", has_text="paper").first.click()
    assert page.locator("tbody tr td").first.inner_text() != first
    tab(page, "Mentions")
    with page.expect_download() as started:
        page.locator("#download").click()
    path = project.folder / "rows.csv"
    started.value.save_as(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == tiles(page)["mentions"]
    assert {row["name"] for row in rows} == {row["raw_name"] for row in exported(project) if row["valid"]}


def test_filters_without_a_match_say_so_once(report: tuple[Any, Project]) -> None:
    page, _ = report
    page.locator("#query").fill("nothing has this word")
    page.locator("#chips button").wait_for()
    for name in ("Datasets", "Papers", "Mentions", "Unnamed data", "Uncertain", "Rejected"):
        tab(page, name)
        assert page.inner_text("#content") == "Nothing matches these filters."
        assert page.inner_text("#hint") == "" and page.locator("figure").count() == 0
        assert page.locator("#before, #after, #download").evaluate_all("all => all.every((one) => one.disabled)")


def test_the_name_is_seen_in_a_long_sentence(browser: Any, report: tuple[Any, Project]) -> None:
    _, project = report
    name = next(row["raw_name"] for row in exported(project) if row["document"] == "a")
    long = "12.5\n" * 300
    edited(project, "a", 1, sent=f"It begins. {long}{name} {long}It ends.")
    page = opened(browser, project)
    tab(page, "Mentions")
    card = page.locator("article", has_text="Show the whole sentence")
    quoted, mark = (card.locator(place).bounding_box() for place in ("blockquote", "mark"))
    assert quoted["y"] <= mark["y"] and mark["y"] + mark["height"] <= quoted["y"] + quoted["height"] < quoted["y"] + 200
    shown = card.locator("blockquote").inner_text()
    assert shown.startswith("… 12.5") and f"12.5 {name} 12.5" in shown and len(shown) < 700
    card.get_by_role("button", name="Show the whole sentence").click()
    whole = page.locator("blockquote", has_text="It begins.").inner_text()
    assert whole.endswith("It ends.") and name in whole


def test_the_report_says_which_mentions_have_no_name(browser: Any, report: tuple[Any, Project]) -> None:
    """A mention is unnamed where the table of mentions has no canonical name."""
    _, project = report
    project.paper("d.pdf", "We use the Rice Price Panel here.")
    project.run("run_batch.py --process all")
    all_named(project)
    edited(project, "d", 1, specificity="descriptive_but_unnamed", valid=True)
    unnamed = [row["raw_name"] for row in exported(project) if row["valid"] and not row["canonical_name"]]
    assert len(unnamed) == 1
    page = opened(browser, project)
    assert tiles(page)["mention of unnamed data"] == 1
    assert page.inner_text("#hint") == "Not in this table: 1 mention without a proper name, under “Unnamed data”."
    tab(page, "Unnamed data")
    assert page.locator("article mark").all_inner_texts() == unnamed
    assert page.inner_text("#hint").startswith("The model says that these mentions have no proper name")


def test_a_report_without_a_model_names_none(browser: Any, project: Project, server: Any) -> None:
    project.paper("a.pdf", "Nothing is known of the weather.")
    project.run("run_batch.py --process all")
    assert "After the stage reasoning; human labels override it." in opened(browser, project).inner_text("#provenance")


def test_tabs_by_keyboard(report: tuple[Any, Project]) -> None:
    page, _ = report
    page.get_by_role("tab", name="Datasets").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", selected=True).inner_text() == "Papers"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("tab", selected=True).inner_text() == "Rejected"
    assert page.evaluate("document.activeElement.id") == "tab-rejected"


def test_what_a_person_decided_is_certain(browser: Any, project: Project, server: Any) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", "We use the Korvian Household Survey (KHS) of 2011.")
    project.run("run_batch.py --process all")
    edited(project, "a", 1, note="name to be confirmed", valid=True)
    name = next(row["raw_name"] for row in exported(project))
    page = opened(browser, project)
    assert tiles(page)["uncertain mention"] == 1
    label(project, "a", 1, {name: "accept"})
    assert tiles(opened(browser, project))["uncertain mentions"] == 0


def test_the_data_of_the_report_are_the_rows(report: tuple[Any, Project]) -> None:
    """Every mention of the table is in the page, with its sentence, also those that the first view does not show."""
    page, project = report
    content = json.loads(page.locator("#data").text_content())
    place = {name: i for i, name in enumerate(content["fields"])}
    shown = sorted((content["papers"][one[place["paper"]]]["document"], one[place["raw_name"]], one[place["sentence"]])
                   for one in content["mentions"])  # fmt: skip
    assert shown == sorted((row["document"], row["raw_name"], row["sentence"]) for row in exported(project))
