"""Pages that mix a list of references or contents with other text, and pages that are lists only. All are invented."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

NAMES = ("Okafor", "Brandt", "Silva", "Lindqvist", "Mbeki", "Orlov", "Tanaka", "Duarte", "Novak", "Ferreira", "Haile")
TITLES = (
    "Wells and wages in the dry valleys: a panel study of rural firms", "Prices at the mill gate",
    "The demand for school meals after a drought", "Measuring food access with travel times: evidence from two regions",
    "Roads, rice and migration", "A census of wells: counting what nobody owns",
)  # fmt: skip
JOURNALS = ("Journal of Remote Economics", "Korvian Review", "Dry Lands", "World Development", "J Water Stud")

# What follows or precedes a list on a real page. Each names a source of data.
TEXTS = {
    "prose": (
        "The estimates in this paper come from the Korvian Household Panel, which was collected by the\n"
        "National Statistics Office in all nine provinces. Weights follow the sampling frame of the 2011\n"
        "census of dwellings. We matched each household to the rainfall series of the village in 2014.\n"
    ),
    "two lines": (
        "Data are available from the National Statistics Office, which will share the Korvian Household\n"
        "Panel with researchers who have signed its agreement; the code is in the archive of the journal.\n"
    ),
    "appendix with a title": "Appendix A: Data sources\nKorvian Household Panel, waves 1 to 3; census of dwellings.\n",
    "data appendix": "Data appendix\nKorvian Household Panel, waves 1 to 3. Census of dwellings, 2011.\n",
    "numbered appendix": "A.1 Data sources\nKorvian Household Panel, waves 1 to 3. Census of dwellings, 2011.\n",
    "appendix table": "Appendix Table 2\nYield by province\nNorth\n1.2\n3.4\nSouth\n2.2\n3.1\n",
    "caption": "Table 7. Households by province\nNorth\n12\n34\nSouth\n21\n43\n",
    "figure": "Figure 3: Yields in the Korvian Household Panel, 1996-2016\n",
    "cells": "North\n12\n24\n5.5\nSouth\n13\n26\n6.5\nEast\n14\n28\n0.5\nWest\n15\n30\n1.5\n",
    "source": "Source: Korvian Household Panel 2014 and Census of Dwellings 2011, own calculations.\n",
    "article": (
        "INVITED COMMENTARY\nWhat the panel tells us\nThe Korvian Household Panel is the only source that has\n"
        "followed families for so long. It was begun by L. M. Okafor in 1998, and its value is beyond doubt.\n"
    ),
    "authors": (
        "L. M. Okafor is professor of economics in Northgate, where she has led the Korvian Household Panel\n"
        "since 2009. J. Brandt is a statistician at the census office; his work was supported by a grant.\n"
    ),
    "questionnaire": (
        "Food module of the panel\n1. In the last month, have you been worried that your food would run out?\n"
        "2. How often was this the case? 3. Did anyone in the household not eat for a whole day?\n"
    ),
    "German": (
        "Die Schätzungen beruhen auf dem Korvischen Haushaltspanel, das seit 1998 in allen Provinzen erhoben\n"
        "wird. Wir haben die Angaben mit dem Zensus von 2011 verbunden, sodass sie nicht gewichtet werden.\n"
    ),
    "French": (
        "Les estimations proviennent du panel des ménages, qui est mené depuis 1998 dans toutes les provinces.\n"
        "Nous avons ajouté les précipitations des villages que cette enquête ne couvre pas avant 2011.\n"
    ),
    "Spanish": (
        "Las estimaciones provienen del panel de hogares, que se realiza desde 1998 en todas las provincias.\n"
        "Los datos fueron ponderados con el censo de 2011, y no se han usado los años que faltan en este panel.\n"
    ),
}  # fmt: skip


def apa(chance: random.Random) -> str:
    one, other, start = chance.choice(NAMES), chance.choice(NAMES), chance.randrange(1, 400)
    return (
        f"{one}, L. M., & {other}, J. ({chance.randrange(1985, 2021)}). {chance.choice(TITLES)}.\n"
        f"{chance.choice(JOURNALS)}, {chance.randrange(1, 40)}({chance.randrange(1, 5)}), {start}–{start + 18}.\n"
    )


def vancouver(chance: random.Random) -> str:
    one, other = chance.choice(NAMES), chance.choice(NAMES)
    return (
        f"{chance.randrange(1, 99)}. {one} AB, {other} CD. {chance.choice(TITLES)}.\n"
        f"{chance.choice(JOURNALS)}. {chance.randrange(1985, 2021)};{chance.randrange(1, 40)}:114–9.\n"
    )


def report(chance: random.Random) -> str:
    """An entry of a book or a report, which has fewer initials."""
    return (
        f"{chance.choice(NAMES)}, K. {chance.randrange(1985, 2021)}. {chance.choice(TITLES)}.\n"
        f"Northgate: University Press. https://example.org/{chance.randrange(1000)}\n"
    )


STYLES: tuple[Callable[[random.Random], str], ...] = (apa, vancouver, report)


def references(chance: random.Random, entries: int) -> str:
    style = chance.choice(STYLES)
    return "".join(style(chance) for _ in range(entries))


def contents(chance: random.Random, entries: int, first: int) -> tuple[str, int]:
    """Lines of a table of contents, and the number of the last page in it."""
    gap = chance.choice((" . . . . . . ", "\n", " ........ ", "  "))
    lines = []
    for number in range(1, entries + 1):
        first += chance.randrange(1, 6)
        lines.append(f"{number} {chance.choice(TITLES)}{gap}{first}\n")
    return "".join(lines), first


def mixed_references(chance: random.Random) -> Iterator[tuple[str, list[str]]]:
    """A name, and the pages of a document whose last page mixes references with other text."""
    for name, text in TEXTS.items():
        for place in ("start", "middle", "end"):
            before = {"start": 0, "middle": chance.randrange(4, 12), "end": chance.randrange(8, 20)}[place]
            after = 0 if place == "end" else chance.randrange(6, 14)
            page = references(chance, before) + text + references(chance, after)
            yield f"{name} at the {place} of references", ["References\n" + references(chance, 18), page]


def mixed_contents(chance: random.Random) -> Iterator[tuple[str, list[str]]]:
    """A name, and the pages of a document whose last page mixes a table of contents with other text."""
    for name, text in TEXTS.items():
        lines, last = contents(chance, chance.randrange(5, 15), 1)
        yield f"{name} below contents", [f"Contents\n{lines}{text}"]
        yield f"{name} on the page after contents", [f"Contents\n{lines}", text * 3]
        more, _ = contents(chance, chance.randrange(4, 10), last)
        yield f"{name} below contents that go on", [f"Contents\n{lines}", more + text]
