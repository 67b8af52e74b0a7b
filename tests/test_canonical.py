"""Which names are taken for the same dataset, and which are not."""

from __future__ import annotations

import pytest
from canonical_names import ALIASES, alias_groups, pairwise, registry
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.canonical import Canonical, CanonicalNames, NameUse
from pipeline.export.registry import Override, RegisteredDataset, Registry
from pipeline.records import Dataset

DHS = "Demographic and Health Survey"


def use(name: str, text: str = "") -> NameUse:
    """A mention of `name` in `text`, or in a text that says nothing else."""
    text = text or name
    start = text.index(name)
    return NameUse.of(Dataset(raw_name=name, start=start, end=start + len(name)), text)


def canonical(
    *documents: list[NameUse], known: Registry | None = None, overrides: list[Override] | None = None
) -> list[list[Canonical]]:
    """The canonical names of the documents d0, d1, …"""
    names = CanonicalNames(known, overrides or [])
    for uses in documents:
        names.add(uses)
    return [[names.in_document(f"d{number}", uses).of(one) for one in uses] for number, uses in enumerate(documents)]


def same(*names: str) -> bool:
    """Whether all names, each in a document of its own, get the same canonical name."""
    found = canonical(*([use(name)] for name in names))
    return len({one.name for (one,) in found}) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("DHS", f"{DHS} (DHS)", "DHS data 2014", DHS, f"the {DHS}s", "Demographic and\nHealth Survey, 2014–15"),
        (
            "National Survey of Family Growth",
            "National Survey on Family Growth data",
            "NATIONAL SURVEY OF FAMILY GROWTH",
        ),
        ("Labour Force Survey", "Labor Force Surveys", "Labour force survey"),
        ("Survey of Household Income", "Household Income Survey"),
        ("Ohio Supplemental Nutrition Assistance Program", "Ohio SNAP"),
        ("OHLCS’s data", "OHLCS"),
        ("Enquête emploi", "Enquete Emploi"),
    ],
)
def test_variants_of_a_name(names: tuple[str, ...]) -> None:
    assert same(*names)


@pytest.mark.parametrize(
    "names",
    [
        ("DHS", "Demographic Surveillance"),
        ("Panel Study Wave 1", "Panel Study Wave 2"),
        ("NHANES II", "NHANES III"),
        ("Farm Survey", "Firm Survey"),
        ("Survey of Employers", "Survey of Employees"),
        ("Austrian Household Panel", "Australian Household Panel"),
        ("SHARE", "SHARP"),
        ("Labour Force Survey", "Swedish Labour Force Survey"),
        ("National Rural Survey", "National Urban Survey"),
        ("Household Survey", "Household Census"),
        ("Uganda School Census", "US Census"),
        ("Urban Sanitation Survey", "US Survey"),
        ("Influenza Registry", "Influenza A Registry"),
        ("Medicaid Claims", "IN Medicaid Claims"),
        ("C Corpus", "C++ Corpus"),
        ("C Corpus", "C# Corpus"),
        ("2005", "2006"),
        ("Mexico to US Migration Survey", "US to Mexico Migration Survey"),
    ],
)
def test_names_that_only_look_alike(names: tuple[str, ...]) -> None:
    assert not same(*names)


def test_an_acronym_means_what_its_document_says() -> None:
    text = "the Annual Business Survey (ABS). ABS"
    first = [use("Annual Business Survey", text), use("ABS")]
    second = [use("Austrian Budget Statistics (ABS)"), use("ABS")]
    third = [use("ABS")]
    (_, in_first), (_, in_second), (alone,) = canonical(first, second, third)
    assert (in_first.name, in_first.reason) == ("Annual Business Survey", "acronym defined in the same document")
    assert in_second.name == "Austrian Budget Statistics"
    assert (alone.name, alone.reason) == ("ABS", "acronym with 2 meanings")


def test_a_short_form_means_the_only_longer_name_of_its_document() -> None:
    first = [use("Ghana Living Standards Survey"), use("Living Standards Survey")]
    second = [use("Living Standards Survey")]
    third = [use("Peru Household Survey"), use("Chile Household Survey"), use("Household Survey")]
    (_, short), (alone,), (_, _, ambiguous) = canonical(first, second, third)
    assert (short.name, short.reason) == (
        "Ghana Living Standards Survey",
        "short form of a name in the same document",
    )
    assert alone.name == "Living Standards Survey"
    assert ambiguous.name == "Household Survey"


def test_two_letters_are_an_abbreviation_in_the_same_document() -> None:
    (_, short), (alone,) = canonical([use("Ohio Unemployment Insurance"), use("Ohio UI")], [use("Ohio UI")])
    assert (short.name, short.reason) == ("Ohio Unemployment Insurance", "abbreviates a part of this name")
    assert alone.name == "Ohio UI"


@pytest.mark.parametrize(
    "name",
    ["Current Population Survey Food Security Supplement", "Current Population Survey 2", "Survey of the Population"],
)
def test_a_supplement_is_no_longer_form_of_a_name(name: str) -> None:
    (short, _) = canonical([use("Current Population Survey"), use(name)])[0]
    assert short.name == "Current Population Survey"


def test_a_name_that_was_not_added_has_a_name_too() -> None:
    """Another command can change a document between the two passes over the documents."""
    names = CanonicalNames()
    assert names.in_document("d", []).of(use("Farm Register")).name == "farm register"
    assert canonical([use("\uff9e survey of health")])[0][0].name


def test_the_letters_must_confirm_what_a_model_says() -> None:
    right = NameUse.of(Dataset(raw_name="KHS", harmonized_name="Korvian Household Survey"), "")
    wrong = NameUse.of(Dataset(raw_name="KHS", harmonized_name="Farm Register"), "")
    assert right.long_forms == ["Korvian Household Survey"]
    assert wrong.long_forms == []


def test_a_name_with_its_acronym_in_parentheses_has_one_long_form() -> None:
    """Models give the acronym as a field too."""
    full = "Orvale Household Living Conditions Survey"
    said = Dataset(raw_name=f"{full}\n(OHLCS)", acronym="OHLCS", harmonized_name=f"{full} (OHLCS)")
    one = NameUse.of(said, "")
    assert one.forms == (full, "OHLCS")
    (found,) = canonical([one, use("OHLCS")])
    assert {name.name for name in found} == {full}


def test_the_registry_decides_first() -> None:
    known = Registry(
        [
            RegisteredDataset.model_validate(
                {"id": "w:1", "canonical_name": f"{DHS} Program", "aliases": ["DHS", DHS, "EDS"], "url": ""}
            ),
            RegisteredDataset.model_validate(
                {"id": "w:2", "canonical_name": "Data Household Scheme", "aliases": "X|Y"}
            ),
        ]
    )
    names = [use("EDS"), use(f"{DHS}s 2014"), use("DHS"), use("Danish Housing Statistics (DHS)"), use("Y")]
    names += [use("the DHS"), use("DHS 2014"), use("DHS data")]
    found = canonical(*([name] for name in names), known=known)
    assert [one.id for (one,) in found] == ["w:1", "w:1", "w:1", None, "w:2", "w:1", "w:1", "w:1"]


def test_overrides_merge_and_split() -> None:
    overrides = [
        Override(name="DHS", canonical_name="DHS of d1", document="d1"),
        Override(name=f"{DHS}", canonical_name="Demographic Surveys"),
    ]
    first, second = [use("DHS"), use(f"{DHS} (DHS)")], [use("DHS")]
    (short, long), (other,) = canonical(first, second, overrides=overrides)
    assert short.name == long.name == "Demographic Surveys"
    assert (other.name, other.reason) == ("DHS of d1", "set by a person")


def test_an_id_that_a_person_gives_holds_for_the_whole_dataset() -> None:
    overrides = [Override(name="ABC Households Poll", canonical_name="XYZ Household Survey", canonical_id="10.1/x")]
    ((one, other),) = canonical([use("XYZ Household Survey"), use("ABC Households Poll")], overrides=overrides)
    assert (one.name, one.id) == (other.name, other.id) == ("XYZ Household Survey", "10.1/x")


def test_the_measured_quality_on_real_names() -> None:
    """The figures in docs/export.md are those of the benchmark; this is the least that must hold."""
    import json

    groups = alias_groups(json.loads(line) for line in ALIASES.read_text(encoding="utf-8").splitlines())
    _, precision, recall = pairwise(groups, None)
    assert precision >= 0.95 and recall >= 0.15
    _, precision, recall = pairwise(groups, registry(groups, 1.0))
    assert precision >= 0.95 and recall >= 0.8


@given(st.lists(st.text(min_size=1).filter(lambda name: any(char.isalnum() for char in name)), max_size=8))
def test_every_name_gets_a_canonical_name(names: list[str]) -> None:
    uses = [NameUse.of(Dataset(raw_name=name), name) for name in names]
    (found,) = canonical(uses)
    assert len(found) == len(names) and all(one.name for one in found)
