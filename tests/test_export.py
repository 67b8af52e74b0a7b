"""export_mentions.py: tables as pandas, DuckDB and a spreadsheet read them."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import openpyxl
import pandas
import pymupdf
import pytest
from conftest import Project
from hypothesis import given
from hypothesis import strategies as st
from server import Server

from pipeline.config import ROOT
from pipeline.export.columns import DATASET_COLUMNS, MENTION_COLUMNS, documented
from pipeline.export.guessing import guessed
from pipeline.export.tables import protected, unprotected
from pipeline.records import Page, PageText

FIRST = "We use the Korvian Household Survey (KHS) of 2011. The KHS covers rural areas."
SECOND = "Prices come from the Farm Register of the ministry. Café «Müller» is not a data source."
TITLE = "Farm prices in Korvia"
HOSTILE = '=HYPERLINK("http://x.example","click")'


@pytest.fixture
def done(project: Project, server: Server) -> Project:
    """Two documents that all stages have answered."""
    server.polls_to_complete = 0
    project.paper("a.pdf", FIRST, SECOND)
    project.paper("sub/b.pdf", "The Korvian Household Survey is known to many.")
    project.run("run_batch.py --process all")
    return project


def edited(project: Project, source: str, page: int, **fields: Any) -> None:
    """Change the first mention of a page in the final document file, as other answers of a model would."""
    path = project.output / "reasoning" / f"{source}.json"
    document = json.loads(path.read_text())
    number = next(i for i, one in enumerate(document["pages"]) if one["page"] == page)
    document["pages"][number]["data_mentions"][0]["datasets"][0].update(fields)
    path.write_text(json.dumps(document))


def all_named(project: Project) -> None:
    for path in (project.output / "reasoning").rglob("*.json"):
        path.write_text(re.sub(r'"specificity": *"\w+"', '"specificity": "properly_named"', path.read_text()))


def exported(project: Project, arguments: str = "") -> list[dict[str, Any]]:
    """The rows of mentions.jsonl."""
    project.run(f"export_mentions.py --format jsonl {arguments}")
    return [json.loads(line) for line in (project.output / "export" / "mentions.jsonl").read_text().splitlines()]


def datasets(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.output / "export" / "datasets.jsonl").read_text().splitlines()]


def text_of(project: Project, source: str, page: int) -> str:
    return json.loads((project.output / "text" / f"{source}.json").read_text())["pages"][page - 1]["text"]


def label(project: Project, source: str, page: int, decisions: dict[str, str], complete: bool = False) -> None:
    """Add a page's label, as the review page does. `decisions`: by the name on the page."""
    from pipeline.review.labels import PageLabel, add_labels, text_hash
    from pipeline.store import load_text
    from pipeline.workspace import Workspace

    workspace = Workspace(project.output)
    known = load_text(workspace, source).pages[page - 1]
    mentions = [
        {
            "decision": decision,
            "start": known.text.index(name),
            "end": known.text.index(name) + len(name),
            "quote": name,
        }
        for name, decision in decisions.items()
    ]
    row = {"source": source, "page": page, "text_sha256": text_hash(known), "annotator": "Ada"}
    row |= {"time": "2026-01-01T00:00:00Z", "page_complete": complete, "mentions": mentions}
    add_labels([PageLabel.model_validate(row)], workspace)


def test_a_row_says_where_what_and_who(done: Project) -> None:
    rows = exported(done)
    assert [list(row) for row in rows] == [[column.name for column in MENTION_COLUMNS]] * len(rows)
    for row in rows:
        text = text_of(done, row["document"], row["page"])
        if row["start"] is not None:
            assert text[row["start"] : row["end"]] == row["raw_name"]
            assert row["raw_name"] in row["sentence"]
        assert (row["stage"], row["model"]) == ("reasoning", "gpt-4o-mini")
        assert len(row["prompt_sha256"]) == 64
        assert row["judge_valid"] is not None
    assert len({row["mention_id"] for row in rows}) == len(rows)
    costs = sum(row["cost_usd"] for row in rows)
    usages = [done.document("reasoning", source)["usage"].values() for source in ("a", "sub/b")]
    assert costs == pytest.approx(sum(one["cost_usd"] for usage in usages for one in usage))


def read_by_pandas(path: Path) -> list[dict[str, Any]]:
    readers = {
        ".csv": lambda: pandas.read_csv(path, dtype=object, keep_default_na=False, na_values=[""]),
        ".parquet": lambda: pandas.read_parquet(path),
        ".jsonl": lambda: pandas.read_json(path, lines=True, dtype=False),
    }
    frame = readers[path.suffix]().astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def read_by_duckdb(path: Path) -> list[dict[str, Any]]:
    reader = {".csv": "read_csv('{}', all_varchar=true)", ".parquet": "'{}'", ".jsonl": "read_json('{}')"}[path.suffix]
    found = duckdb.sql(f"select * from {reader.format(path)}")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def read_by_openpyxl(path: Path) -> list[dict[str, Any]]:
    sheet = openpyxl.load_workbook(path).active
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
    header, *rows = sheet.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


READERS = [
    ("csv", read_by_pandas), ("csv", read_by_duckdb), ("parquet", read_by_pandas), ("parquet", read_by_duckdb),
    ("jsonl", read_by_pandas), ("jsonl", read_by_duckdb), ("xlsx", read_by_openpyxl),
]  # fmt: skip


@pytest.mark.parametrize(("form", "read"), READERS)
def test_other_programs_read_what_was_written(done: Project, form: str, read: Any) -> None:
    edited(done, "a", 1, producer='Łódź «Ω», "quoted"\nsecond line', note=HOSTILE, data_type="-1+1", year="@2011")
    expected = exported(done)
    done.run(f"export_mentions.py --format {form}")
    found = read(done.output / "export" / f"mentions.{form}")
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert list(row) == list(wanted)
        for name, value in wanted.items():
            cell = row[name]
            if isinstance(value, bool):
                assert str(cell).lower() == str(value).lower(), name
            elif isinstance(value, int | float):
                assert float(cell) == pytest.approx(value), name
            else:
                assert (unprotected(cell) if form == "csv" and cell else cell) == value, name


def test_no_cell_of_a_csv_begins_like_a_formula(done: Project) -> None:
    edited(done, "a", 1, producer=HOSTILE, acronym="+1", harmonized_name="@x", year="-2", note="\tx", data_type="'=1")
    done.run("export_mentions.py")
    content = (done.output / "export" / "mentions.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    with (done.output / "export" / "mentions.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n＝＋－＠") and cell]
    assert {"'" + HOSTILE, "'+1", "'@x", "'-2", "'\tx", "''=1"} <= set(cells)


@given(st.text())
def test_protection_against_formulas_can_be_reversed(text: str) -> None:
    assert unprotected(protected(text)) == text
    assert protected(text)[:1] not in tuple("=+-@\t\r\n＝＋－＠") or not text


def test_the_meaning_of_a_column_is_in_the_parquet_file_and_in_the_documentation(done: Project) -> None:
    import pyarrow.parquet

    done.run("export_mentions.py --format parquet")
    for name, columns in (("mentions", MENTION_COLUMNS), ("datasets", DATASET_COLUMNS)):
        schema = pyarrow.parquet.read_schema(done.output / "export" / f"{name}.parquet")
        described = {field.name: field.metadata[b"description"].decode() for field in schema}
        assert described == {column.name: column.meaning for column in columns}
        assert documented(columns) in (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def test_people_override_the_stages(done: Project) -> None:
    before = {(row["page"], row["raw_name"]): row for row in exported(done, "--documents a")}
    (name, *_) = [name for page, name in before if page == 1]
    label(done, "a", 1, {name: "reject", "rural areas": "add"})
    rows = {(row["page"], row["raw_name"]): row for row in exported(done, "--documents a")}
    assert before.keys() < rows.keys()
    rejected, added = rows[1, name], rows[1, "rural areas"]
    assert (rejected["valid"], rejected["review_decision"], rejected["reviewer"]) == (False, "reject", "Ada")
    assert (added["valid"], added["review_decision"], added["stage"]) == (True, "add", None)
    assert added["sentence"] == "The KHS covers rural areas."
    assert (1, name) not in {(row["page"], row["raw_name"]) for row in exported(done, "--documents a --valid-only")}


def test_a_mention_that_is_missing_on_a_completed_page_counts_as_rejected(done: Project) -> None:
    label(done, "a", 1, {"rural areas": "add"}, complete=True)
    rows = [row for row in exported(done, "--documents a") if row["page"] == 1]
    assert {row["raw_name"]: row["valid"] for row in rows if row["valid"]} == {"rural areas": True}
    others = [row for row in rows if not row["valid"]]
    assert others and {row["review_decision"] for row in others} == {"reject"}


def test_variants_of_a_name_are_one_dataset(done: Project) -> None:
    all_named(done)
    rows = [row for row in exported(done) if "Korvian" in row["raw_name"] or "KHS" in row["raw_name"]]
    assert len(rows) >= 2
    assert {row["canonical_name"] for row in rows if row["valid"]} == {"Korvian Household Survey"}


def test_registry_and_overrides(done: Project) -> None:
    all_named(done)
    registry = done.folder / "registry.csv"
    registry.write_text(
        "id,canonical_name,aliases,producer,url\n"
        "doi:10.1/khs,Household Survey of Korvia,KHS | Korvian Household Survey,Statistics Korvia,\n"
    )
    done.configure(DATASET_REGISTRY=str(registry))
    rows = [row for row in exported(done) if row["canonical_id"]]
    assert {(row["canonical_name"], row["canonical_id"]) for row in rows} == {
        ("Household Survey of Korvia", "doi:10.1/khs")
    }
    assert {row["repository"] for row in datasets(done) if row["dataset"]} == {"Statistics Korvia"}
    overrides = done.folder / "names.csv"
    overrides.write_text("name,canonical_name,canonical_id,document\nkorvian  household survey,KHS of b,own:1,sub/b\n")
    rows = exported(done, f"--canonical {overrides}")
    in_b = [row for row in rows if row["document"] == "sub/b" and row["valid"]]
    assert {(row["canonical_name"], row["canonical_id"], row["canonical_reason"]) for row in in_b} == {
        ("KHS of b", "own:1", "set by a person")
    }
    overrides.write_text("name,canonical_name\nKHS,x\nkhs,y\n")
    assert "names 'khs' twice" in done.run(f"export_mentions.py --canonical {overrides}", expect=1)
    assert "KHS of b" not in {row["canonical_name"] for row in rows if row["document"] == "a"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,canonical_name\n,x\n", "line 2, is invalid (id: "),
        ("name\nx\n", "line 2, is invalid (canonical_name: Field required)"),
        (b"id,canonical_name\n1,\xff\n", "is not a text file in UTF-8"),
        (None, "Cannot read "),
    ],
)
def test_an_invalid_registry_is_reported_with_its_line(
    done: Project, content: str | bytes | None, message: str
) -> None:
    registry = done.folder / "registry.csv"
    if content is not None:
        registry.write_bytes(content if isinstance(content, bytes) else content.encode())
    done.configure(DATASET_REGISTRY="registry.csv")
    if isinstance(content, str) and content.startswith("name"):
        message = message.replace("canonical_name", "id")
    assert message in done.run("export_mentions.py", expect=1)


def test_metadata_of_papers_joins_every_table(done: Project) -> None:
    (done.input / "metadata.csv").write_text(
        "\ufeffDocument;Title;Authors;Year;DOI;Country;Series\r\n"
        "a;A study;Lovelace, A.;2019;https://doi.org/10.1234/ABC;KE;WP 7\r\n"
        "c.pdf;No such paper;;;;;\r\n",
        encoding="utf-8",
    )
    rows = [row for row in exported(done) if row["document"] == "a"]
    paper = {name: value for name, value in rows[0].items() if name.startswith("paper_")}
    assert paper == {
        "paper_title": "A study", "paper_authors": "Lovelace, A.", "paper_year": 2019, "paper_doi": "10.1234/ABC",
        "paper_country": "KE", "paper_guessed": None, "paper_series": "WP 7",
    }  # fmt: skip
    (publication,) = {(row["publication"], row["publishedDate"]) for row in datasets(done) if row["document"] == "a"}
    assert publication == ("10.1234/ABC", "2019")
    (done.input / "metadata.csv").write_text("document,title\na,x\na,y\n")
    assert "line 3, names the document 'a' again" in done.run("export_mentions.py", expect=1)
    (done.input / "metadata.csv").write_text('document,title\na,"x' + "\nb,y" * 40_000)
    assert "is not valid CSV near line" in done.run("export_mentions.py", expect=1)
    (done.input / "metadata.csv").write_text("document,guessed\na,x\n")
    assert "has a column 'guessed'" in done.run("export_mentions.py", expect=1)
    (done.input / "metadata.csv").write_text("\n\ndocument\ttitle\na\tTabs\n\t\n")
    assert {row["paper_title"] for row in exported(done) if row["document"] == "a"} == {"Tabs"}
    (done.input / "metadata.csv").write_text("title\nx\n")
    assert "add a column 'document'" in done.run("export_mentions.py", expect=1)


def first_page(text: str, title: str | None = None, year: int | None = None) -> dict[str, Any]:
    """What is guessed from a paper with this first page and these metadata."""
    page = Page(page=1, text=text)
    return guessed(
        PageText(source="a", file="a.pdf", sha256="", n_pages=1, pages=[page], pdf_title=title, pdf_year=year)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Farm prices\nin Korvia. 2019. doi: 10.1234/abc.5", {"title": TITLE, "year": 2019, "doi": "10.1234/abc.5"}),
        ("FARM PRICES IN KORVIA, 2018", {"title": TITLE, "year": 2018}),
        ("Farm prices in 2011. Received 2020.", {}),
        ("https://doi.org/10.1177/2053168Research & Politics 10.1177/2053168", {"doi": "10.1177/2053168"}),
        ("10.1234/one.1 and 10.1234/two.2", {}),
        ("doi:10.1186/1747-597X-3-\n25", {}),
    ],
)  # fmt: skip
def test_what_is_certain_about_a_paper_is_guessed_from_its_pdf(text: str, expected: dict[str, Any]) -> None:
    assert first_page(text, TITLE, 2019) == expected


@pytest.mark.parametrize("title", [None, "untitled", "Microsoft Word - draft.doc", "a.fm"])
def test_a_title_that_the_first_page_does_not_have_is_none(title: str | None) -> None:
    assert "title" not in first_page("untitled a.fm draft", title, 2019)


def test_guesses_are_marked(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    path = project.paper("a.pdf", "Farm prices in Korvia, 2019. " + FIRST)
    with pymupdf.open(path) as paper:
        paper.set_metadata({"title": "Farm prices in Korvia", "creationDate": "D:20190104"})
        paper.saveIncr()
    project.run("run_batch.py --process all")
    row = exported(project)[0]
    assert (row["paper_title"], row["paper_year"], row["paper_guessed"]) == (
        "Farm prices in Korvia",
        2019,
        "title, year",
    )
    (project.input / "metadata.csv").write_text("document,year\na,2020\n")
    row = exported(project)[0]
    assert (row["paper_title"], row["paper_year"], row["paper_guessed"]) == ("Farm prices in Korvia", 2020, "title")


# What api.openalex.org replies, shortened: the shapes of its documentation.
WORK = {
    "title": "The Household Survey of Korvia",
    "publication_year": 2018,
    "authorships": [
        {"author_position": "first", "author": {"id": "https://openalex.org/A1", "display_name": "Ada Lovelace"}},
        {"author_position": "last", "author": {"id": "https://openalex.org/A2", "display_name": "Mary Somerville"}},
    ],
}


class OpenAlexServer:
    """Replies with `replies` in turn, the last one again and again. `seen`: the paths that were asked for."""

    def __init__(self, *replies: tuple[int, Any]) -> None:
        self.replies, self.seen = list(replies), list[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append(self.path)
                status, content = outer.replies.pop(0) if len(outer.replies) > 1 else outer.replies[0]
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> OpenAlexServer:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def with_doi(project: Project, server: Server) -> Project:
    server.polls_to_complete = 0
    project.paper("a.pdf", FIRST)
    (project.input / "metadata.csv").write_text("document,doi,year\na,10.1234/KHS(1),2017\n")
    project.run("run_batch.py --process all")
    return project


def test_openalex_fills_gaps_and_is_asked_once(with_doi: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENALEX_API_KEY", "openalex-secret")
    with OpenAlexServer((429, {}), (200, WORK)) as openalex:
        with_doi.configure(OPENALEX_URL=openalex.url)
        row = exported(with_doi, "--openalex")[0]
        assert (row["paper_title"], row["paper_year"]) == (WORK["title"], 2017), "metadata.csv decides"
        assert row["paper_authors"] == "Ada Lovelace; Mary Somerville"
        assert len(openalex.seen) == 2
        assert urlsplit(unquote(openalex.seen[-1])).path == "/works/doi:10.1234/khs(1)"
        assert "api_key=openalex-secret" in openalex.seen[-1]
        exported(with_doi, "--openalex")
        assert len(openalex.seen) == 2
    assert all(b"openalex-secret" not in content for content in with_doi.files().values())


@pytest.mark.parametrize("reply", [(404, {"error": "not found"}), (200, b"<html>"), (200, [1]), (401, {}), (500, b"")])
def test_openalex_that_does_not_help(with_doi: Project, reply: tuple[int, Any]) -> None:
    with OpenAlexServer(reply) as openalex:
        with_doi.configure(OPENALEX_URL=openalex.url)
        printed = with_doi.run("export_mentions.py --openalex")
        assert ("OpenAlex does not answer" in printed) is (reply[0] != 404)
        assert "1 of 1 paper" in printed
        asked = len(openalex.seen)
        with_doi.run("export_mentions.py --openalex")
        assert (len(openalex.seen) > asked) is (reply[0] != 404), "only an answer is remembered"


def test_openalex_that_cannot_be_reached(with_doi: Project) -> None:
    with_doi.configure(OPENALEX_URL="http://127.0.0.1:9")
    assert "OpenAlex does not answer (ConnectError)" in with_doi.run("export_mentions.py --openalex")


def test_one_row_per_document_and_dataset(done: Project) -> None:
    rows = [row for row in exported(done) if row["valid"]]
    tables = datasets(done)
    assert sum(row["mentions"] for row in tables) == len(rows)
    for row in tables:
        assert row["mentions"] == row["primary"] + row["supporting"] + row["background"]
        assert row["used"] is (row["primary"] + row["supporting"] > 0)
    assert len({(row["document"], row["title"]) for row in tables}) == len(tables)


def test_removed_papers_are_in_no_table(done: Project) -> None:
    assert {row["document"] for row in exported(done)} == {"a", "sub/b"}
    (done.input / "sub" / "b.pdf").unlink()
    done.run("run_batch.py --check")
    assert {row["document"] for row in exported(done)} == {"a"}


def test_results_of_removed_papers_are_listed_and_deleted(done: Project, server: Server) -> None:
    assert "No results of removed papers." in done.run("batch_status.py --removed")
    paper = (done.input / "sub" / "b.pdf").rename(done.folder / "b.pdf")
    before = done.files()
    printed = done.run("batch_status.py --removed")
    assert "\nsub/b\nThere are results of 1 paper no longer in" in printed
    assert done.files().keys() == before.keys()
    done.run("batch_status.py --removed delete")
    gone = before.keys() - done.files().keys()
    assert gone == {f"{folder}/sub/b.json" for folder in ("text", "extraction", "judge", "reasoning")}
    requests = len(server.seen)
    (done.input / "sub").mkdir(exist_ok=True)
    paper.rename(done.input / "sub" / "b.pdf")
    done.run("run_batch.py --process all")
    assert len(server.seen) == requests, "the answers were kept"
    assert done.files().keys() == before.keys()


def test_stage_and_specificity(done: Project) -> None:
    rows = exported(done, "--stage extraction")
    assert {row["stage"] for row in rows} == {"extraction"}
    assert {row["valid"] for row in rows} == {None}
    all_named(done)
    edited(done, "a", 1, specificity="vague_generic")
    assert len(exported(done, "--min-specificity properly_named")) == len(exported(done)) - 1


def test_the_summary_counts_named_datasets(done: Project) -> None:
    all_named(done)
    named = len({row["canonical_name"] for row in exported(done)})
    assert f"2 mentions of {named} named dataset" in done.run("export_mentions.py")


def test_the_summary_counts_what_was_written(done: Project) -> None:
    printed = done.run("export_mentions.py")
    rows = exported(done)
    valid = [row for row in rows if row["valid"]]
    named = {row["canonical_name"] for row in valid if row["canonical_name"]}
    papers = {row["document"] for row in valid}
    assert len(valid) == 2 and not named
    assert "2 mentions without a name " in printed
    assert f"in {len(papers)} of 2 papers after reasoning" in printed
    for command in ("retrieve_results.py --process reasoning", "batch_status.py"):
        found = done.run(command)
        assert "reasoning: found 2 mentions without a name " in found
        assert f"on {len({(row['document'], row['page']) for row in valid})} of 3 pages; " in found
    gold = done.folder / "gold.jsonl"
    lines = [
        {"doc_id": source, "page": page, "text": text_of(done, source, page), "mentions": []}
        for source, pages in (("a", 2), ("sub/b", 1))
        for page in range(1, pages + 1)
    ]
    gold.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done.run(f"evaluate.py --gold {gold}")
    report = json.loads((done.output / "evaluation" / "evaluation.json").read_text())
    assert report["stages"]["reasoning"]["levels"]["mention"]["predicted"] == len(valid)


def test_the_summaries_say_what_each_stage_found(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    project.paper("a.pdf", FIRST, SECOND)
    project.paper("b.pdf", "The Korvian Household Survey is known to many.")
    for process in ("extraction", "judge", "reasoning"):
        project.run(f"run_batch.py --process {process}")
        printed = project.run(f"retrieve_results.py --process {process}")
        rows = exported(project)
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{process}: found ")]
        rejected = sum(row["valid"] is False for row in rows)
        kept = len(rows) - rejected
        assert (f"found {kept} mention" if kept else "found no mentions") in line
        assert (f"; {rejected} rejected" in line) is (process != "extraction")
        if process == "reasoning":
            changed = sum(row["judge_valid"] is not row["reasoning_valid"] for row in rows)
            assert re.search(rf"; {changed} verdicts? of judge overruled(: |$)", line)
        assert line in project.run("batch_status.py")
    named = {row["canonical_name"] for row in rows if row["valid"] and row["canonical_name"]}
    assert ("most frequent datasets:" in printed) is bool(named)
    for name in named:
        mentions = sum(bool(row["valid"] and row["canonical_name"] == name) for row in rows)
        papers = {row["document"] for row in rows if row["valid"] and row["canonical_name"] == name}
        assert re.search(rf"^{re.escape(str(name))} +{mentions} +{len(papers)}$", printed, re.MULTILINE)


def test_a_folder_of_the_previous_version_is_counted_too(done: Project) -> None:
    """Version 4 of the ledger did not keep what was found."""
    expected = done.run("batch_status.py")
    with sqlite3.connect(done.output / "ledger.sqlite") as ledger:
        ledger.execute("ALTER TABLE merged DROP COLUMN found")
        ledger.execute("PRAGMA user_version=4")
    ledger.close()
    before = done.files()
    done.run("retrieve_results.py --process reasoning")
    assert done.run("batch_status.py") == expected
    assert done.files() == before, "no document is written again"


def test_nothing_to_export(project: Project) -> None:
    assert "run_batch.py --check" in project.run("export_mentions.py", expect=1)
    project.paper("a.pdf", FIRST)
    project.run("run_batch.py --check")
    assert "no results of extraction to export yet" in project.run("export_mentions.py", expect=1)
