"""Files that come back from Windows programs, and files that are something else: they are read, or a sentence says why
not. No line is left out silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from hypothesis import given
from hypothesis import strategies as st
from test_evaluation import brat_folder, gold_row, write_gold
from test_export import all_named
from test_labels_alone import offline, stored
from test_review import annotation, label, page_text, part

from pipeline.errors import LabelError
from pipeline.evaluation import load_gold
from pipeline.review.label_studio import region_span
from pipeline.user_files import json_rows, read_text

__all__ = ["offline"]  # the fixture

SAVED_AGAIN: dict[str, Callable[[str], bytes]] = {
    "utf-8-bom": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-be": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "utf-16-without-bom": lambda text: text.encode("utf-16-le"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "bom-crlf": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "cr": lambda text: text.replace("\n", "\r").encode(),
}
AS_JSON: dict[str, Callable[[list[Any]], str]] = {
    "array": json.dumps,
    "pretty-array": lambda rows: json.dumps(rows, indent=2),
    "pretty-rows": lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
    "one-line": lambda rows: " ".join(map(json.dumps, rows)),
}


def export_of(project: Project) -> str:
    """An export of Label Studio with one complete page."""
    data = {"source": "a", "page": 1, "text": page_text(project, "a", 1), "text_sha256": "x"}
    results = [
        part("mention", "labels", start=0, end=2, text="We", labels=["dataset"]),
        part("page_complete", "choices", region="y", choices=["complete"]),
    ]
    return json.dumps([{"data": data, "annotations": [annotation(results)]}], indent=1)


def saved(project: Project, name: str, content: bytes) -> Path:
    path = project.folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("way", SAVED_AGAIN)
def test_label_files_that_were_saved_again(offline: Project, way: str) -> None:
    rows = "".join(f"{label(offline, page)}\n" for page in (1, 2))
    gold = write_gold(offline, gold_row("a", 1, page_text(offline, "a", 1), "KHS")).read_text()
    for content, count in ((rows, 2), (export_of(offline), 3), (gold, 4)):
        offline.run(f"review_labels.py --import {saved(offline, 'again', SAVED_AGAIN[way](content))}")
        assert len(stored(offline)) == count
    labels = offline.output / "labels.jsonl"
    labels.write_bytes(SAVED_AGAIN[way](labels.read_text()))
    assert "0 new rows, 0 replaced, 2 unchanged" in offline.run(
        f"review_labels.py --import {saved(offline, 'again', rows.encode())}"
    )


@pytest.mark.parametrize("way", SAVED_AGAIN)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_that_were_saved_again(offline: Project, way: str, delimiter: str) -> None:
    gold = write_gold(offline, gold_row("paper-17", 1, page_text(offline, "b", 1), "Lake Fishing Survey"))
    table = saved(offline, "map.csv", SAVED_AGAIN[way](f"gold{delimiter}document\npaper-17{delimiter}b\n"))
    offline.run(f"review_labels.py --import {gold} --documents-map {table}")
    assert [row["source"] for row in stored(offline)] == ["b"]


@pytest.mark.parametrize("way", SAVED_AGAIN)
def test_a_registry_that_was_saved_again(project: Project, way: str) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey here.")
    project.run("run_batch.py --process all")
    all_named(project)
    registry = "id,canonical_name\n7,Korvian Household Survey of Äland\n8,x\n"
    names = "name,canonical_name,canonical_id\nKorvian Household Survey,The Survey of Äland,7\n"
    saved(project, "registry.csv", SAVED_AGAIN[way](registry))
    canonical = saved(project, "names.csv", SAVED_AGAIN[way](names))
    project.configure(DATASET_REGISTRY="registry.csv")
    project.run(f"export_mentions.py --format jsonl --canonical {canonical}")
    row = json.loads((project.output / "export" / "mentions.jsonl").read_text())
    assert (row["canonical_name"], row["canonical_id"]) == ("The Survey of Äland", "7")


@pytest.mark.parametrize("way", ["utf-8-bom", "utf-16", "crlf", "bom-crlf"])
def test_brat_files_that_were_saved_again(offline: Project, way: str) -> None:
    folder = brat_folder_of(offline)
    offline.run(f"review_labels.py --import {folder}")
    before = stored(offline)
    for file in folder.iterdir():
        file.write_bytes(SAVED_AGAIN[way](file.read_text()))
    assert "0 new rows, 0 replaced, 3 unchanged" in offline.run(f"review_labels.py --import {folder}")
    assert stored(offline) == before


def brat_folder_of(project: Project) -> Path:
    """BRAT files whose mentions come after the end of a line."""
    write_gold(project)
    folder = brat_folder(project, "pages")
    for text in folder.glob("*.txt"):
        text.write_text("\n" + text.read_text())
        file = text.with_suffix(".ann")
        lines = []
        for line in file.read_text().split("\n"):
            cells = line.split("\t")
            if line.startswith("T"):
                kind, start, end = cells[1].split()
                cells[1] = f"{kind} {int(start) + 1} {int(end) + 1}"
            lines.append("\t".join(cells))
        file.write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("way", AS_JSON)
def test_labels_and_gold_as_other_json(offline: Project, way: str) -> None:
    rows = [json.loads(label(offline, page)) for page in (1, 2)]
    gold = [gold_row("a", 1, page_text(offline, "a", 1), "KHS"), gold_row("b", 1, page_text(offline, "b", 1))]
    for content, count in ((rows, 2), (gold, 4)):
        offline.run(f"review_labels.py --import {saved(offline, 'other.json', AS_JSON[way](content).encode())}")
        assert len(stored(offline)) == count


def test_rows_that_excel_has_saved_as_cells(offline: Project) -> None:
    cells = [
        '"' + label(offline, page, ("add", name)).replace('"', '""') + '"' for page, name in ((1, "KHS"), (2, "KHS"))
    ]
    file = saved(offline, "labels.txt", "\r\n".join(cells).encode("utf-16"))
    assert "labels of 2 pages with 2 mentions" in offline.run(f"review_labels.py --import {file}")
    file.write_text("\n".join([*cells, cells[0][:40] + '"']))
    printed = offline.run(f"review_labels.py --import {file}", expect=1)
    assert "line 3, is not valid JSON" in printed and "1 of 3 lines cannot be read" in printed


def test_the_tasks_instead_of_the_export(offline: Project) -> None:
    offline.run("review_labels.py --export label-studio --all-pages")
    tasks = offline.output / "review" / "label-studio.json"
    for command in (f"review_labels.py --import {tasks}", f"evaluate.py --gold {tasks}"):
        printed = " ".join(offline.run(command, expect=1).split())
        assert (
            f"{tasks} has tasks for Label Studio and no annotations: import it into a Label Studio project" in printed
        )
        assert "give the project's JSON export" in printed


def test_lines_that_cannot_be_read_are_counted(offline: Project) -> None:
    lines = [label(offline, 1), "broken", label(offline, 2), '{"source": "a",']
    for content in ("\n".join(lines), "\r\n".join(lines)):
        file = saved(offline, "labels.jsonl", content.encode())
        printed = offline.run(f"review_labels.py --import {file}", expect=1)
        assert "labels.jsonl, line 2, is not valid JSON (Expecting value; 2 of 4 lines cannot be read)" in printed
    lines[1], lines[3] = '{"source": "a"}', "{}"
    file = saved(offline, "labels.jsonl", "\n".join(lines).encode())
    printed = offline.run(f"review_labels.py --import {file}", expect=1)
    assert "line 2, is not a valid label (page: Field required; 2 of 4 rows)" in printed
    assert not (offline.output / "labels.jsonl").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
ROWS = st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON), min_size=1)


def parsed(text: str) -> list[Any]:
    return [value for _, value in json_rows(text, Path("file"), "a file", LabelError)]


@given(ROWS, st.booleans(), st.sampled_from([None, 0, 3]))
def test_rows_are_the_same_in_all_layouts(rows: list[Any], ascii_only: bool, indent: int | None) -> None:
    made = [json.dumps(row, ensure_ascii=ascii_only, indent=indent) for row in rows]
    for separator in ("\n", "\r\n", "\r", "\n\n"):
        assert parsed(separator.join(made)) == rows
    assert parsed(json.dumps(rows, indent=indent, ensure_ascii=ascii_only)) == rows


@given(ROWS, st.data())
def test_a_damaged_line_is_never_left_out(rows: list[Any], data: st.DataObject) -> None:
    lines = [json.dumps(row) for row in rows]
    place = data.draw(st.integers(0, len(lines) - 1))
    cut = data.draw(st.integers(1, len(lines[place]) - 1))
    lines[place] = lines[place][:cut]
    with pytest.raises(LabelError, match=r"^file, "):
        parsed("\n".join(lines))


@given(st.binary())
def test_any_content_is_text_or_an_error_in_one_sentence(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content)
    try:
        parsed(read_text(path, "a file", LabelError))
    except LabelError as error:
        assert str(path) in str(error) or str(error).startswith("file, ")


# ---- Regions of Label Studio whose offsets and text disagree

TEXTS = st.text(st.sampled_from("ab 🙂𝒜\nü"), min_size=1, max_size=40)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@given(TEXTS, st.data())
def test_offsets_in_utf16_code_units_are_converted(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    region = {"start": units(text[:start]), "end": units(text[:end]), "text": text[start:end]}
    assert region_span(text, region) == ((start, end) if text[start:end].strip() else None)
    own = {"start": start, "end": end, "text": text[start:end]}
    assert region_span(text, own, as_shown=True) == ((start, end) if text[start:end].strip() else None)


@given(TEXTS, st.integers(-3, 90), st.integers(-3, 90), TEXTS)
def test_a_region_is_where_its_text_is_or_nowhere(text: str, start: int, end: int, quote: str) -> None:
    span = region_span(text, {"start": start, "end": end, "text": quote})
    if quote.strip() and quote in text:
        assert span
    if span:
        # `PageIndex` ignores what changes when text is copied: white space and accents.
        assert text[slice(*span)].split() == quote.split() or quote not in text


def test_regions_of_other_label_studio_projects(tmp_path: Path) -> None:
    text = "🙂🙂 We use the DHS."
    regions = [{"start": 16, "end": 19, "text": "DHS"}, {"start": 14, "end": 17, "text": "DHS"}]
    results = [part("mention", "labels", region=str(number), **one) for number, one in enumerate(regions)]
    lost = part("mention", "labels", region="z", start=0, end=3, text="A survey elsewhere")
    file = tmp_path / "project-2.json"
    for result, expected in (
        (results, [("DHS", 14, 17)] * 2),
        ([lost], [("A survey elsewhere", 0, 3)]),  # it is reported as not found when it is placed
    ):
        file.write_text(json.dumps([{"data": {"doc_id": "a", "text": text}, "annotations": [annotation(result)]}]))
        (page,) = load_gold(file).pages
        assert [(one.name, one.start, one.end) for one in page.mentions] == expected
