"""A quotation's place: found through the damage that models do, and never where it does not stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.documents.grounding import PageIndex

PAGE = (
    "Our data come from the Demographic and\nHealth Survey (DHS) of 2008. The women’s survey – part of\u00a0it – is "
    "used. A house-\nhold panel followed. IDHS is a diﬀerent source. Source: DHS2 and\nDHS, own work."
)


def found(quote: str, text: str = PAGE) -> tuple[str, str] | None:
    span = PageIndex(text).locate(quote)
    return (text[span.start : span.end], span.kind) if span else None


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("Demographic and\nHealth Survey", ("Demographic and\nHealth Survey", "exact")),
        ("Demographic and Health Survey (DHS)", ("Demographic and\nHealth Survey (DHS)", "normalized")),
        ("demographic and health survey", ("Demographic and\nHealth Survey", "normalized")),
        ("women's survey", ("women’s survey", "normalized")),
        ("women\x19s survey", ("women’s survey", "normalized")),
        ("survey - part of it -", ("survey – part of\u00a0it", "normalized")),
        ("household panel", ("house-\nhold panel", "normalized")),
        ("different source", ("diﬀerent source", "normalized")),
        ("  DHS ", ("DHS", "exact")),
    ],
)
def test_damage_is_looked_through(quote: str, expected: tuple[str, str]) -> None:
    assert found(quote) == expected


@pytest.mark.parametrize("quote", ["HS", "Survey (DH", "and Heal", "Labour Force Survey", "", " ", "-"])
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert found(quote) is None


def test_a_name_inside_a_longer_word_is_passed_over() -> None:
    text = "IDHS and DHS."
    span = PageIndex(text).locate("DHS")
    assert span and span.start == text.index(" DHS") + 1


def test_a_footnote_mark_does_not_hide_a_name() -> None:
    assert found("Living Standards Survey", "the Living Standards Survey7 of") == ("Living Standards Survey", "exact")
    assert found("Census 199", "the Census 1998") is None


def test_a_name_is_looked_for_in_its_passage() -> None:
    text = "The DHS is old. We use the DHS here."
    index = PageIndex(text)
    passage = index.locate("We use the DHS here.")
    span = index.locate("DHS", passage)
    assert span and span.start == text.rindex("DHS")


def test_a_long_quotation_may_end_within_a_word() -> None:
    sentence = (
        "We merge the second wave of the panel of farms with records of rainfall over thirty years of measurement"
    )
    assert found(sentence[:-4], sentence + ".") == (sentence[:-4], "exact")


def test_the_sentence_around_a_name() -> None:
    index = PageIndex("First, see Fig. 3 by Smith et al. (2010). We use the\nDHS data. Last one.")
    span = index.locate("DHS")
    assert span is not None
    sentence = index.sentence(span)
    assert index.text[sentence.start : sentence.end] == "We use the\nDHS data."


def test_a_table_is_not_taken_for_a_sentence() -> None:
    cells = "\n".join(["All", "Girls", "0.03", "(0.01)"] * 30)
    note = "Source: DHS 2019, own calculations with sampling\nweights of the survey, all columns."
    text = f"Table 1. Time and entry\n{cells}\n{note} Next sentence is here."
    index = PageIndex(text)
    span = index.locate("DHS")
    assert span is not None
    sentence = index.sentence(span)
    assert text[sentence.start : sentence.end] == note


def test_scripts_without_spaces_between_words() -> None:
    assert found("人口普查", "我们使用人口普查数据。") == ("人口普查", "exact")


words = st.text(alphabet="abcdefgh", min_size=1, max_size=6)


@given(st.lists(words, min_size=8, max_size=40), st.data())
def test_a_retyped_quotation_is_found_where_it_was_taken(tokens: list[str], data: st.DataObject) -> None:
    """Between the words of the page stands any white space; the quotation has single spaces and other capitals."""
    gaps = data.draw(
        st.lists(st.sampled_from([" ", "\n", " \n", "\u00a0"]), min_size=len(tokens), max_size=len(tokens))
    )
    unique = [f"{number}{token}" for number, token in enumerate(tokens)]
    text = "".join(word + gap for word, gap in zip(unique, gaps, strict=True))
    first = data.draw(st.integers(0, len(tokens) - 3))
    last = data.draw(st.integers(first + 1, len(tokens) - 1))
    quote = " ".join(unique[first : last + 1]).upper()
    span = PageIndex(text).locate(quote)
    assert span is not None
    assert text[span.start : span.end].split() == unique[first : last + 1]


@given(st.text(max_size=200), st.text(max_size=30))
def test_no_text_breaks_it(text: str, quote: str) -> None:
    index = PageIndex(text)
    span = index.locate(quote)
    if span:
        assert 0 <= span.start < span.end <= len(text)
        sentence = index.sentence(span)
        assert sentence.start <= span.start and span.end <= sentence.end
