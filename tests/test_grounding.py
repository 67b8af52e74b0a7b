"""Grounding: quotations are found although models change them, and never in a wrong place."""

from __future__ import annotations

import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from pipeline.text.grounding import PageIndex, Span
from pipeline.text.normalize import normalized

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
def test_changed_quotation_is_found(quote: str, expected: tuple[str, str]) -> None:
    assert found(quote) == expected


@pytest.mark.parametrize("quote", ["HS", "Survey (DH", "and Heal", "Labour Force Survey", "", " ", "-"])
def test_missing_name_is_not_found(quote: str) -> None:
    assert found(quote) is None


def test_name_within_a_longer_word_is_skipped() -> None:
    text = "IDHS and DHS."
    span = PageIndex(text).locate("DHS")
    assert span and span.start == text.index(" DHS") + 1


def test_name_with_a_footnote_number_is_found() -> None:
    assert found("Living Standards Survey", "the Living Standards Survey7 of") == ("Living Standards Survey", "exact")
    assert found("Census 199", "the Census 1998") is None


def test_name_is_found_in_its_passage() -> None:
    text = "The DHS is old. We use the DHS here."
    index = PageIndex(text)
    passage = index.locate("We use the DHS here.")
    span = index.locate("DHS", passage)
    assert span and span.start == text.rindex("DHS")


def test_long_quotation_that_ends_within_a_word_gets_the_whole_sentence() -> None:
    sentence = (
        "We merge the second wave of the panel of farms with records of rainfall over thirty years of measurement"
    )
    span = PageIndex(sentence + ".").locate_passage(sentence[:-4])
    assert span and (span.start, span.end, span.kind) == (0, len(sentence) + 1, "exact")


def test_sentence_around_a_name() -> None:
    index = PageIndex("First, see Fig. 3 by Smith et al. (2010). We use the\nDHS data. Last one.")
    span = index.locate("DHS")
    assert span is not None
    sentence = index.sentence(span)
    assert index.text[sentence.start : sentence.end] == "We use the\nDHS data."


def test_table_is_not_part_of_a_sentence() -> None:
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
def test_quotation_with_other_spaces_and_case_is_found(tokens: list[str], data: st.DataObject) -> None:
    """The page has any white space between its words. The quotation has single spaces and upper case."""
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
def test_any_text_and_quotation_give_a_valid_span(text: str, quote: str) -> None:
    index = PageIndex(text)
    span = index.locate(quote)
    if span:
        assert 0 <= span.start < span.end <= len(text)
        sentence = index.sentence(span)
        assert sentence.start <= span.start and span.end <= sentence.end


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("Demographic and Heolth Survey", ("Demographic and\nHealth Survey", "fuzzy")),
        ("Demographic and Health Surveys (DHS)", ("Demographic and\nHealth Survey (DHS)", "fuzzy")),
        ("emographic and Health Survey", ("Demographic and\nHealth Survey", "fuzzy")),
        ("Demographic and Health Survex", ("Demographic and\nHealth Survey", "fuzzy")),
        ("Dmographic and Health Survey", ("Demographic and\nHealth Survey", "fuzzy")),
        ("Demographic0\n\n0and Health Survey", ("Demographic and\nHealth Survey", "normalized")),
    ],
)
def test_quotation_with_one_letter_changed_is_found(quote: str, expected: tuple[str, str]) -> None:
    assert found(quote) == expected


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("Population Census 2011", "The Population Census 2001 is used."),
        ("Labour Force Survey 1", "We use the Labour Force Survey and 7 others."),
        ("Survey of Firm Owners", "We use the Survey of Farm Owners here."),
        ("Living Standards Survey GLSS", "The Living Standards Survey GHSS is used."),
        ("DHX", "We use the DHS here."),
    ],
)
def test_different_name_is_not_accepted(quote: str, text: str) -> None:
    assert found(quote, text) is None


def test_more_changes_are_accepted_within_the_quoted_passage() -> None:
    text = "Other surveys are older. We use the PIRLS data of 2011 here."
    index = PageIndex(text)
    passage = index.locate_passage("We use the PIRLS dato of 2011 here.")
    assert passage and passage.kind == "fuzzy"
    assert text[passage.start : passage.end] == "We use the PIRLS data of 2011 here."
    span = index.locate_in_passage("PIRLT", passage)
    assert span and text[span.start : span.end] == "PIRLS"
    assert index.locate("PIRLT") is None
    assert index.locate_in_passage("data of 2012", passage) is None


def test_name_in_the_quoted_sentence_is_preferred() -> None:
    text = "The DHS is old. Nobody likes the DHS of the north. We merge the DHS with the census."
    span = PageIndex(text).locate("DHS", near="We have merged the DHS with that census.")
    assert span and span.start == text.rindex("DHS")


NAMES = (
    "They took the Korvian Health & Nutrition Survey (KHNS) of 2012, the Velmar® World Poll and the Estadı́stica "
    "Agrı́cola. The Official Price Series began in the O\ufb00icial Gazette. The Staf� Register covers Wave 2a."
)


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("the data set Korvian Health & Nutrition Survey", "Korvian Health & Nutrition Survey"),
        ("Data from the Korvian Health and Nutrition Survey", "the Korvian Health & Nutrition Survey"),
        ("Velmar World Poll dataset", "Velmar® World Poll"),
        ("[Velmar World Poll](https://example.org)", "Velmar® World Poll"),
        ("__Velmar__ *World* **Poll**", "Velmar® World Poll"),
        ("<i>Velmar</i> World&nbsp;Poll", "Velmar® World Poll"),
        ("Korvian Health &amp;amp; Nutrition Survey", "Korvian Health & Nutrition Survey"),
        ("Korvian … Survey", "Korvian Health & Nutrition Survey"),
        ("Korvian Health [...] Survey", "Korvian Health & Nutrition Survey"),
        ("KHNS (Korvian Health and Nutrition Survey)", "Korvian Health & Nutrition Survey (KHNS)"),
        ("Korvian Health and Nutrition Survey of 2012 (KHNS)", "Korvian Health & Nutrition Survey (KHNS) of 2012"),
        ("Korvian Health and Nutrition Survey of 2012", "Korvian Health & Nutrition Survey (KHNS) of 2012"),
        ("Estadística Agrícola", "Estadı́stica Agrı́cola"),
        ("Official Gazette", "O\ufb00icial Gazette"),
        ("Staff Register", "Staf� Register"),
    ],
)
def test_name_in_other_words_is_found(quote: str, expected: str) -> None:
    place = found(quote, NAMES)
    assert place and place[0].removeprefix("the ") == expected.removeprefix("the ")


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("Zambia Household Panel Survey", "We use the Gambia Household Panel Survey here."),
        ("Austria Household Panel Survey", "We use the Australia Household Panel Survey here."),
        ("Niger Living Conditions Survey of Households", "The Nigeria Living Conditions Survey of Households is used."),
        ("Macro Indicators of Regional Trade", "The Micro Indicators of Regional Trade are used."),
        ("Farm Household Surveys", "The Farm Household Survey is used."),
        ("Farm Household Survey", "The Farm Household Surveys are used."),
        ("Farm Household Panel 2012", "The Farm Household Panel (2010) is used."),
        ("Farm Household Panel Wave II", "The Farm Household Panel Wave III is used."),
        ("Farm Household Panel Wave 2", "The Farm Household Panel Wave 2a is used."),
        ("Land Cover Grid version 2", "The Land Cover Grid version 2.1 is used."),
        ("Panel of Countries", "We use the Panel of 13 Countries."),
        ("Labour Force data", "The Labour Force Survey is used."),
        ("text8", "The text is long."),
        ("Health Survey", "It is about Health. Survey methods follow."),
        ("パン調査", "ハン調査を使う。"),
        ("はな調査", "ばな調査を使う。"),
        ("SHARE", "They share it."),
        ("DHS", "We read (dhs.example.org) first."),
    ],
)
def test_look_alike_is_not_found(quote: str, text: str) -> None:
    assert found(quote, text) is None
    assert found(f"**{quote}**", text) is None
    assert found(f"the {quote} dataset", text) is None


SENTENCE = (
    "We take consumption from the Korvian Living Conditions Panel (KLCP), which follows\nfour thousand farms [7]."
)
AROUND = f"Rain fell in 2008. {SENTENCE} Prices come from market reports."


@pytest.mark.parametrize(
    "quote",
    [
        "ake consumption from the Korvian Living Conditions Panel (KLCP), which follows four thousand fa",
        "We take consumption from the Korvian Living Conditions Panel, which follows four thousand farms.",
        "As they say, we take consumption from the Korvian Living Conditions Panel, which follows four thousand farms.",
        "We take consumption from the Korvian Living ... follows four thousand farms.",
        "We take consumption … Panel (KLCP), which follows four thousand farms [7].",
        "We take **consumption** from the `Korvian Living Conditions Panel` (KLCP), which follows four thousand farms.",
        "We take consumption from the <b>Korvian</b> Living Conditions Panel &#40;KLCP&#41;, four thousand farms.",
        "We use consumption from the Korvian Living Conditions Panel [3], which follows four thousand farms.",
        "They take consumption from the Korvian Living Conditions Panel (KLCP), which tracks four thousand farms.",
        "We take consumption from the Korvian Living Conditions Panel, which follows four thousand farms. They say so.",
    ],
)
def test_passage_in_other_words_is_the_whole_sentence(quote: str) -> None:
    span = PageIndex(AROUND).locate_passage(quote)
    assert span and AROUND[span.start : span.end] == SENTENCE


def test_passage_goes_to_the_sentence_with_its_numbers_or_nowhere() -> None:
    rows = [
        f"In wave {wave} of the panel, {size} farms were asked about the prices." for wave, size in ((1, 40), (2, 55))
    ]
    index = PageIndex(" ".join(rows))
    span = index.locate_passage("In wave 2 of the panel, 55 farms were asked for the prices.")
    assert span and index.text[span.start : span.end] == rows[1]
    assert index.locate_passage("In wave 3 of the panel, 55 farms were asked for the prices.") is None
    assert index.locate_passage("In wave 3 of the panel, 61 farms were asked about the prices.") is None


@pytest.mark.parametrize("quote", ["ff", "ices", "of\ufb01ces closed in the north and in the south of the cou"])
def test_half_of_a_ligature_or_of_a_hyphenated_word_is_no_word(quote: str) -> None:
    text = "The of-\n\ufb01ces closed in the north and in the south of the coun-\ntry."
    span = PageIndex(text).locate_passage(quote)
    assert span is None or text[span.end - 1 : span.end] in ".y"


DAMAGES = {
    "quotes": lambda text: text.replace("’", "'").replace("“", '"').replace("”", '"'),
    "dashes": lambda text: text.replace("–", "-").replace("—", "-"),
    "no-break spaces": lambda text: text.replace("\u00a0", " "),
    "control characters": lambda text: text.replace("’", "\x19").replace("–", "\x13"),
    "line-end hyphens": lambda text: re.sub(r"-\s*\n\s*", "", text),
    "white space": lambda text: " ".join(text.split()),
    "dropped white space": lambda text: re.sub(r"\s+", "", text, count=1),
    "case": str.upper,
}


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_real_sentences_are_found(shared: Path, data: st.DataObject) -> None:
    """`text[start:end]` is the quoted sentence as it is on the page, whatever was changed in the quotation."""
    text = data.draw(st.sampled_from(real_pages(shared)), label="page")
    index = PageIndex(text)
    start = data.draw(st.integers(0, len(text) - 1))
    sentence = index.sentence(Span(start, start + 1, "exact"))
    quote = text[sentence.start : sentence.end]
    assume(len(normalized(quote)) > 20)
    for name in data.draw(st.sets(st.sampled_from(sorted(DAMAGES))), label="damages"):
        quote = DAMAGES[name](quote)
    if len(normalized(quote)) > 80 and data.draw(st.booleans(), label="a letter changed"):
        place = data.draw(st.integers(0, len(quote) - 1))
        assume(quote[place].isalpha())
        quote = quote[:place] + ("x" if quote[place] not in "xX" else "y") + quote[place + 1 :]
    span = index.locate_passage(quote)
    assert span is not None
    found_there = normalized(text[span.start : span.end])
    assert Levenshtein.distance(found_there, normalized(quote)) <= max(2, len(found_there) // 10)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_place_on_a_real_page_is_whole_words(shared: Path, data: st.DataObject) -> None:
    """Any part of a page, cut anywhere and with words dropped, added or changed, is found in whole words or not."""
    text = data.draw(st.sampled_from(real_pages(shared)), label="page")
    start = data.draw(st.integers(0, len(text) - 1))
    words = text[start : start + data.draw(st.integers(20, 400))].split()
    for _ in range(data.draw(st.integers(0, 3)) if words else 0):
        place = data.draw(st.integers(0, len(words) - 1))
        words[place : place + 1] = data.draw(
            st.sampled_from([["…"], [], ["[12]"], ["**new**", words[place]], ["xyzzy"]])
        )
        if not words:
            break
    quote = " ".join(words)
    index = PageIndex(text)
    for span in (index.locate_passage(quote), index.locate(quote)):
        if span:
            assert not grounding_benchmark().is_cut(text, span.start), text[span.start - 20 : span.start + 20]
            assert not grounding_benchmark().is_cut(text, span.end), text[span.end - 20 : span.end + 20]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_sentence_of_a_real_page_is_found_in_its_place(shared: Path, data: st.DataObject) -> None:
    """If a place is found for a sentence that was changed like models change it, it is the sentence's own place."""
    benchmark = grounding_benchmark()
    text = data.draw(st.sampled_from(real_pages(shared)), label="page")
    start = data.draw(st.integers(0, len(text) - 1))
    sentence = PageIndex(text).sentence(Span(start, start + 1, "exact"))
    original = text[sentence.start : sentence.end]
    letters = "".join(filter(str.isalnum, original))
    is_unique = "".join(filter(str.isalnum, text)).count(letters) == 1  # also without its line breaks and hyphens
    assume(len(original.split()) > 10 and original[0].isupper() and original[-1] == "." and is_unique)
    kind = data.draw(st.sampled_from(sorted(benchmark.KINDS_OF_CHANGES)), label="kind")
    case = benchmark.Case(text, sentence.start, sentence.end, " ".join(original.split()))
    changed = benchmark.KINDS_OF_CHANGES[kind](case, data.draw(st.randoms(use_true_random=False)), False)
    assume(changed is not None)
    span = PageIndex(changed.page).locate_passage(changed.quote)
    if span:
        shared_part = min(span.end, changed.end) - max(span.start, changed.start)
        assert shared_part >= 0.5 * min(span.end - span.start, changed.end - changed.start)


def grounding_benchmark() -> Any:
    import grounding

    return grounding


@cache
def real_pages(shared: Path) -> list[str]:
    rows = (json.loads(line) for line in (shared / "gold" / "rcc_pages.jsonl").read_bytes().splitlines())
    return [row["text"] for row in rows if len(row["text"]) > 500]


def test_recall_and_errors_on_annotated_names(shared: Path) -> None:
    """At least 99 % are found, and less than 0.5 % in a wrong place (see benchmarks/grounding.py)."""
    import grounding

    pages, marked = grounding.load(shared)
    for damage in grounding.DAMAGES:
        counts = grounding.measure(pages, marked, damage)
        found_of_100 = 100 * (1 - counts["name missing"] / len(marked))
        assert 100 * counts["name wrong"] / len(marked) < 0.5, damage
        assert 100 * counts["sentence wrong"] / len(marked) < 0.5, damage
        if damage != "a letter changed":  # an acronym with another letter is a different name
            assert found_of_100 >= 99, damage
    absent = grounding.measure_absent(pages, marked)
    assert absent["found elsewhere"] / absent["searched elsewhere"] < 0.005
    assert absent["found with a digit changed"] == 0 < absent["with a digit changed"]


def test_kinds_of_changes(shared: Path) -> None:
    """95 % of the sentences and 90 % of the names of each kind are right. Hardly a name is found where it is not."""
    benchmark = grounding_benchmark()
    dice, pages = random.Random(1), real_pages(shared)
    names = benchmark.printed_names(pages)
    sentences = benchmark.sentences(pages, dice, 150)
    for is_name, places, least in ((True, names, 0.9), (False, sentences, 0.93)):
        for kind in benchmark.KINDS_OF_CHANGES:
            counts = benchmark.measure_kind(pages, places, kind, is_name)
            assert not counts["cut"]
            assert counts["right"] >= least * counts.total() - 2, (kind, is_name, counts)
    printed = sorted(
        {" ".join(pages[one.page][one.start : one.end].split()) for one in names} | set(benchmark.ACRONYMS)
    )
    looked_up = benchmark.measure_look_ups(pages, printed, dice, 300)
    assert sum(one["found"] for one in looked_up.values()) <= 0.001 * sum(one["searched"] for one in looked_up.values())


def test_quotations_of_real_answers_are_found(shared: Path) -> None:
    """In answers of gpt-4o-mini all passages are found, and all 27 names but three that are not in the paper."""
    name = "The-local-socioeconomic-effects-of-gold-mining-evidence-from-Ghana.json"
    texts = json.loads((shared / "llm_outputs" / "output" / "raw_text" / name).read_bytes())["pages"]
    for stage in ("extracted_data", "llm_judge_validation"):
        missing, passages = [], 0
        for page in json.loads((shared / "llm_outputs" / "output" / stage / name).read_bytes())["pages"]:
            index = PageIndex(texts[str(page["page"])])
            for mention in page["data_mentions"]:
                passage = index.locate_passage(mention["mentioned_in"])
                passages += passage is not None
                for dataset in mention["datasets"]:
                    place = passage and index.locate_in_passage(dataset["raw_name"], passage)
                    if not (place or index.locate(dataset["raw_name"], near=mention["mentioned_in"])):
                        missing.append(dataset["raw_name"])
        assert passages == 21
        not_in_paper = [
            "InterraRMG dataset",
            "Ghana Statistical Services (GSS) geographical coordinates",
            "MineAtlas data",
        ]
        assert missing == not_in_paper


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u202f", "\u3000"])
def test_text_that_crashes_the_sentence_splitter(space: str) -> None:
    text = f"Let Z be in X{space}. We use the DHS here. It is old."
    index = PageIndex(text)
    span = index.locate("DHS")
    assert span is not None
    sentence = index.sentence(span)
    assert text[sentence.start : sentence.end] == "We use the DHS here."


def test_heading_in_capitals_without_its_space_is_no_acronym() -> None:
    text = "Nicht-technische Zusammenfassung\nWir fragen nach den Daten."
    found = PageIndex(text, "de").locate_passage("NICHT-TECHNISCHEZUSAMMENFASSUNG")
    assert found and text[found.start : found.end] == "Nicht-technische Zusammenfassung"
    assert PageIndex("who is at us", "en").locate("WHO") is None
