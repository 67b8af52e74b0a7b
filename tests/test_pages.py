"""Pages that are not sent, pages that are too long, and what stands around a page."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import Project
from hypothesis import given, settings
from hypothesis import strategies as st
from server import Server

from pipeline.batches.cost import count_tokens
from pipeline.documents.kinds import PageKinds
from pipeline.documents.languages import fill_in, guess_language
from pipeline.records import Page, PageText
from pipeline.stages.pieces import Layout, cut, pieces

PROSE = (
    "We follow the households of the Korvian Panel Survey from 2009 to 2017 and ask how their spending on food "
    "changed when the price of rice rose. Ten per cent more for rice means two per cent less for everything else.\n"
) * 3
ENTRIES = (
    "Abellan, M. T., & Orlov, K. (2011). Roads and rice in three valleys. Journal of Remote Places, 4(2), 1–19.\n"
    "Brandt, J. (1998). A census of wells: Counting what nobody owns. Northgate Press.\n"
    "Carver, L. P., Osei, D., & Lind, A. (2015). Prices at the mill gate. Korvian Review, 31, 88–104.\n"
) * 4
VANCOUVER = (
    "12. Mbeki AB, Stone CD. Household water in the dry season. J Water Stud. 2012;8:114–9.\n"
    "13. Ito K, Silva RM, Berg T. Wells and walks. Dry Lands. 2007;3(1):22–31.\n"
) * 5
CONTENTS = (
    "Contents\n1 Introduction . . . . . 1\n2 Data\n4\n2.1 The household survey . . . 6\n3 Results\n12\nReferences\n31\n"
)
TABLE = "Year Yield\n" + "".join(f"{year} 1.{year % 7}\n" for year in range(1960, 2015)) + "A. B. C.\n" * 9


def kinds(*pages: str) -> list[str | None]:
    told = PageKinds()
    return [told.kind(page) for page in pages]


def test_a_list_of_references_is_recognised_from_its_heading_on() -> None:
    assert kinds(PROSE, f"References\n{ENTRIES}", ENTRIES) == [None, "references", "references"]
    assert kinds(f"17\n6. Bibliographie :\n{ENTRIES}") == ["references"]
    assert kinds(f"{PROSE}References\n{ENTRIES}", VANCOUVER) == [None, "references"], "a page with text above is text"


def test_what_only_looks_like_references_is_text() -> None:
    assert kinds(ENTRIES) == [None], "without a heading it could be anything"
    assert kinds(f"References\n{ENTRIES}", PROSE, ENTRIES) == ["references", None, None]
    assert kinds(f"References\n{ENTRIES}", f"{ENTRIES}\nAppendix A\n{PROSE}") == ["references", None]
    assert kinds(f"References\n{ENTRIES}", f"Table A1. Rain\n{TABLE}", TABLE) == ["references", None, None]
    assert kinds(f"References\n{PROSE}") == [None]


def test_tables_of_contents() -> None:
    assert kinds(CONTENTS, PROSE) == ["contents", None]
    assert kinds(CONTENTS, CONTENTS.removeprefix("Contents\n")) == ["contents", "contents"]
    assert kinds(f"Contents of the data\n{PROSE}", f"Contents\n{PROSE}") == [None, None]


def test_what_skipping_saves_and_what_it_loses(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the human-marked pages: every tenth request could go, with fewer than one in thirty mentions."""
    documents = defaultdict[str, list[dict[str, object]]](list)
    for line in (shared / "gold" / "rcc_pages.jsonl").read_bytes().splitlines():
        row = json.loads(line)
        documents[row["doc_id"]].append(row)
    asked = skipped = mentions = lost = 0
    for rows in documents.values():
        told = PageKinds()
        for row in sorted(rows, key=lambda row: str(row["page"]).zfill(5)):
            found = len(row["mentions"])  # type: ignore[arg-type]
            is_skipped = told.kind(str(row["text"])) is not None
            asked, mentions = asked + bool(str(row["text"]).strip()), mentions + found
            skipped, lost = skipped + is_skipped, lost + found * is_skipped
    with capsys.disabled():
        print(f"\nskipped {skipped} of {asked} requests, with {lost} of {mentions} marked mentions")
    assert skipped / asked > 0.06 and lost / mentions < 0.02


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Wir verwenden die Daten des Haushaltspanels, das seit vielen Jahren im ganzen Land erhoben wird. "),
        ("fr", "Les données proviennent de l'enquête sur les ménages, menée chaque année dans toutes les régions. "),
        ("es", "Los datos provienen de la encuesta de hogares que se realiza cada año en todas las regiones. "),
        ("ru", "Мы используем данные обследования домохозяйств, которое проводится каждый год во всех районах. "),
        ("ar", "نستخدم بيانات مسح الأسر المعيشية الذي يجرى كل عام في جميع مناطق البلاد ويشمل الريف والمدينة. "),
        ("zh", "我们使用每年在全国各地区进行的住户调查数据,并将其与人口普查数据和农业普查数据进行比较和分析。"),
    ],
)
def test_languages(language: str, text: str) -> None:
    assert guess_language(text * 5) == language
    pages = [Page(page=1, text="", language=language), Page(page=2, text="1 2 3"), Page(page=3, text="", language="en")]
    pages[2].language = language
    assert fill_in(pages) == language and pages[1].language == language


def test_tables_of_figures_have_no_language() -> None:
    assert guess_language("12.3 45 -0.67 (1.2)\n" * 100) is None


TEXTS = st.text(st.sampled_from("ab. \nÄ你🙂é!?"), max_size=400) | st.text(max_size=200)


@settings(deadline=None)  # the first count loads the table of tokens
@given(TEXTS, st.integers(1, 60))
def test_pieces_are_the_page_and_none_is_too_long(text: str, most: int) -> None:
    spans = cut(text, "en", most)
    assert "".join(text[start:end] for start, end in spans) == text
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    longest = max(count_tokens(text[start:end]) for start, end in spans)
    single = max((count_tokens(char) for char in text), default=0)
    assert longest <= max(most, single)


def test_long_pages_are_cut_at_sentence_ends() -> None:
    spans = cut(PROSE * 3, "en", 120)
    parts = [(PROSE * 3)[start:end] for start, end in spans]
    assert len(parts) == 5 and all(part.rstrip().endswith(".") for part in parts)


def test_a_page_is_shown_with_what_stands_around_it() -> None:
    shown = ("One two three.", "Four five.", "Six seven.")
    all_pages = [Page(page=number, text=words) for number, words in enumerate(shown, start=1)]
    text = PageText(source="a", file="a.pdf", sha256="", n_pages=3, pages=all_pages)
    around = [
        (piece.before, piece.text, piece.after) for page in all_pages for piece in pieces(text, page, Layout(None, 7))
    ]
    assert around == [
        ("", "One two three.", "Four"), ("three.", "Four five.", "Six"), ("five.", "Six seven.", "")
    ]  # fmt: skip


def test_skipped_pages_are_not_sent_and_said_so(project: Project, server: Server) -> None:
    project.paper("a.pdf", PROSE, CONTENTS, f"References\n{ENTRIES}", "")
    project.run("run_batch.py --process all")
    status = {"1": "answered", "2": "skipped:contents", "3": "skipped:references", "4": "skipped:blank"}
    for process in ("extraction", "judge", "reasoning"):
        assert project.document(process, "a")["page_status"] == status
    asked = len(server.attempts)
    project.configure(SKIP_PAGES=["blank"])
    assert "2 requests for 2 pages" in project.run("run_batch.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"]["3"] == "answered"
    assert len(server.attempts) == asked + 2
    project.configure()
    project.run("run_batch.py --process extraction")
    assert project.document("extraction", "a")["page_status"] == status


def test_a_page_in_parts_counts_as_one(project: Project, server: Server) -> None:
    project.configure(MAX_PAGE_TOKENS=100)
    sentence = "The Korvian Household Survey number {} asks two thousand families about the food that they buy. "
    project.paper("a.pdf", "".join(sentence.format(n) for n in range(1, 13)))
    project.run("run_batch.py --process extraction --wait")
    document = project.document("extraction", "a")
    assert document["usage"]["extraction"]["requests"] == len(server.attempts) == 3
    assert document["page_status"] == {"1": "answered"}
    datasets = [one for mention in document["pages"][0]["data_mentions"] for one in mention["datasets"]]
    assert len({one["start"] for one in datasets}) == len(datasets) >= 3, "each part has its own places"
    project.run("run_batch.py --process judge --wait")
    project.run("run_batch.py --process reasoning --wait")
    final = project.document("reasoning", "a")["pages"][0]
    verdicts = [one["verdicts"] for mention in final["data_mentions"] for one in mention["datasets"]]
    assert all(verdict.keys() == {"judge", "reasoning"} for verdict in verdicts)
    assert final["strategy"].count("\n\n") >= 2
    project.configure(MAX_PAGE_TOKENS=6000)
    project.run("run_batch.py --process extraction --wait --yes")
    assert project.document("extraction", "a")["usage"]["extraction"]["requests"] == 1
    assert "nothing to send: 1 answered" in project.run("run_batch.py --process extraction")


def test_other_settings_leave_alone_what_was_asked_before(project: Project, server: Server) -> None:
    project.paper("a.pdf", PROSE, PROSE)
    project.run("run_batch.py --process extraction")
    project.configure(PAGE_CONTEXT_CHARS=200)
    project.run("retrieve_results.py --process extraction --wait")
    assert set(project.document("extraction", "a")["page_status"].values()) == {"answered"}
    printed = project.run("run_batch.py --process extraction --dry-run")
    assert "2 of these requests are about pages that were asked before: pages are cut or shown differently" in printed


def test_turning_a_setting_back_finds_what_was_paid_for(project: Project, server: Server) -> None:
    project.paper("a.pdf", PROSE, f"References\n{ENTRIES}")
    project.configure(SKIP_PAGES=["blank"])
    project.run("run_batch.py --process extraction")
    project.configure()
    project.run("retrieve_results.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"]["2"] == "answered", "it was asked"
    project.run("run_batch.py --process extraction")
    assert project.document("extraction", "a")["page_status"]["2"] == "skipped:references"
    project.configure(SKIP_PAGES=["blank"])
    asked = len(server.attempts)
    project.run("run_batch.py --process extraction")
    assert project.document("extraction", "a")["page_status"]["2"] == "answered"
    assert len(server.attempts) == asked


def test_other_settings_do_not_drop_parts_when_answers_are_brought_in(project: Project, server: Server) -> None:
    project.configure(MAX_PAGE_TOKENS=100)
    sentence = "The Korvian Household Survey number {} asks two thousand families about the food that they buy. "
    project.paper("a.pdf", "".join(sentence.format(n) for n in range(1, 13)))
    printed = project.run("run_batch.py --process extraction")
    assert "3 requests for 1 pages of 1 documents" in printed
    project.configure(MAX_PAGE_TOKENS=6000)
    (project.folder / "none.jsonl").write_text("")
    project.run(f"retrieve_results.py --process extraction --results {project.folder / 'none.jsonl'}")
    project.run("retrieve_results.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}
    assert len(server.attempts) == 3


def test_pages_of_figures_are_told_apart_in_no_time() -> None:
    """Patterns that look back over many lines would take minutes for these."""
    assert kinds("0.12\n" * 20_000, "\n" * 50_000, "1 2 3\n" * 20_000) == [None, None, None]
