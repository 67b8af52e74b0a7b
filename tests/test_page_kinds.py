"""A page is skipped only if all of it is a list. Pages that mix a list with text, and pages that only resemble one."""

from __future__ import annotations

import random
from pathlib import Path

import mixed_pages
import pymupdf
import pytest

from pipeline.pdf.page_kinds import PageClassifier

TABLE = (
    "Households by province\nNorth\n12\n34\n56\nSouth\n21\n43\n65\nEast\n13\n35\n57\nCentre\n14\n36\n58\n"
    "Korvian Household Panel 2014 and Census of Dwellings 2011, own calculations.\n"
)
CONTENTS = "Contents\n1 Introduction\n3\n2 Data and sources\n7\n3 Findings\n15\n4 Discussion\n28\nReferences\n41\n"
ROWS = "".join(
    f"{name}, L. M., & Brandt, J. ({year})\nKorvia\n{year % 700} households\nPositive effect\n"
    for name, year in zip(mixed_pages.NAMES, range(2003, 2014), strict=True)
)


def kinds(*pages: str) -> list[str | None]:
    classifier = PageClassifier()
    return [classifier.kind(page) for page in pages]


def test_no_page_with_text_beside_a_list_is_skipped() -> None:
    skipped, tried = [], 0
    for seed in range(4):
        chance = random.Random(seed)
        for name, pages in [*mixed_pages.mixed_references(chance), *mixed_pages.mixed_contents(chance)]:
            tried += 1
            if kinds(*pages)[-1] is not None:
                skipped.append(f"{name} (seed {seed})")
    assert tried > 200 and skipped == []


def test_pages_that_are_lists_only_are_skipped() -> None:
    found = []
    for seed in range(50):
        chance = random.Random(seed)
        found += kinds("References\n" + mixed_pages.references(chance, 18), mixed_pages.references(chance, 18))
        first, last = mixed_pages.contents(chance, 10, 1)
        found += kinds(f"Contents\n{first}", mixed_pages.contents(chance, 10, last)[0])
    assert found.count("references") + found.count("contents") >= 0.95 * len(found)


def test_references_go_on_after_a_page_that_also_has_text() -> None:
    entries = mixed_pages.references(random.Random(0), 18)
    page = mixed_pages.TEXTS["prose"] + entries
    assert kinds(f"References\n{entries}", page, entries) == ["references", None, "references"]


@pytest.mark.parametrize(
    "head", ["Reference\nCountry\nSample\nFindings\n", "References\nSample\n", "Study\nReferences\n"]
)
def test_review_table_is_not_a_list_of_references(head: str) -> None:
    assert kinds(head + ROWS) == [None]


def test_tables_after_the_contents_are_text() -> None:
    assert kinds(CONTENTS, TABLE, TABLE) == ["contents", None, None]
    listed = "List of tables\n" + "".join(f"Table {n}. Households by province\n{n + 3}\n" for n in range(1, 9))
    assert kinds(listed, f"Table 1. Households by province\n{TABLE}") == ["contents", None]


def test_index_of_prices_is_no_table_of_contents() -> None:
    months = "Índice\nEnero\n102\nFebrero\n103\nMarzo\n105\nAbril\n107\nMayo\n108\n"
    assert kinds(months) == kinds(f"{months}Fuente: Encuesta Nacional de Precios al Consumidor 2014.\n") == [None]
    assert kinds("Índice\n1 Introducción\n3\n2 Datos\n7\n3 Resultados\n15\n") == ["contents"]
    assert kinds("Índice general\nLos hogares\n3\nLos precios\n7\nLos salarios\n15\n") == ["contents"]


def test_real_pages_that_are_skipped(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 20 papers, 23 pages of references or contents were skipped when the mean of a page decided."""
    skipped = []
    for paper in sorted((shared / "pdfs").glob("*.pdf")):
        with pymupdf.open(paper) as document:
            found = kinds(*(page.get_text() for page in document))
        skipped += [f"{paper.stem} {number}" for number, kind in enumerate(found, start=1) if kind]
    with capsys.disabled():
        print(f"\nskipped {len(skipped)} pages of references or contents")
    assert len(skipped) >= 16
    assert "rcm-110d4449 10" not in skipped, "it ends with a note on copyright"
