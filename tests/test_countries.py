"""The countries in the places that a dataset covers."""

from __future__ import annotations

import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.countries import country_codes, country_name

CLEAR = {
    "Ghana": "GHA", "northern Ghana": "GHA", "Accra, Ghana": "GHA", "rural areas of Ghana": "GHA",
    "GHANA 2010": "GHA", "villages in Kenya": "KEN", "Kenya's counties": "KEN", "Kenya/Uganda": "KEN UGA",
    "Bihar (India)": "IND", "China, India and Brazil": "CHN IND BRA", "Ghana and Ghana": "GHA",
    "Guinea-Bissau": "GNB", "Papua New Guinea": "PNG", "Guinea": "GIN", "Equatorial Guinea": "GNQ", "Niger": "NER",
    "Nigeria": "NGA", "Sudan": "SDN", "South Sudan": "SSD", "American Samoa": "ASM", "Samoa": "WSM",
    "Dominica": "DMA", "Dominican Republic": "DOM", "Ireland": "IRL", "Northern Ireland": "GBR",
    "Mali, Malawi": "MLI MWI", "South Wales": "GBR", "Trinidad and Tobago and Barbados": "TTO BRB",
    "Korea, Rep.": "KOR", "Republic of Korea": "KOR", "North Korea": "PRK", "Congo, Dem. Rep.": "COD",
    "Republic of the Congo": "COG", "Hong Kong SAR, China": "HKG", "COTE D'IVOIRE": "CIV", "Côte d’Ivoire": "CIV",
    "Viet Nam": "VNM", "Vietnam": "VNM", "Lao PDR": "LAO", "Türkiye": "TUR", "U.S.": "USA",
    "the U.K. and the US": "GBR USA", "U.S. Virgin Islands": "VIR", "St. Lucia": "LCA", "Gambia, The": "GMB",
    "West Bank and Gaza": "PSE", "Republic of Georgia": "GEO", "Georgia and Armenia": "GEO ARM",
    "Georgia, USA": "USA",
}  # fmt: skip
UNCLEAR = [
    "", "Congo", "Georgia", "Korea", "Macedonia", "New Mexico", "New South Wales", "Niger Delta", "Gulf of Guinea",
    "Lake Chad", "Jordan Valley", "Inner Mongolia", "sub-Saharan Africa", "OECD countries", "University of Ghana",
    "US states", "Accra",
]  # fmt: skip


@pytest.mark.parametrize(("printed", "codes"), CLEAR.items())
def test_countries_that_are_clear(printed: str, codes: str) -> None:
    assert country_codes(printed) == codes.split()


@pytest.mark.parametrize("printed", UNCLEAR)
def test_places_whose_country_is_not_clear(printed: str) -> None:
    assert country_codes(printed) == []


def test_names_in_the_language_of_the_page() -> None:
    assert country_codes("Brésil et Allemagne", "fr") == ["BRA", "DEU"]
    assert country_codes("Estados Unidos y México", "es") == ["USA", "MEX"]
    assert country_codes("Allemagne") == []
    assert country_codes("Ghana", "a language that nobody speaks") == ["GHA"]


@pytest.mark.parametrize("country", list(pycountry.countries), ids=lambda one: one.alpha_3)
def test_every_country_is_found_by_its_name(country: object) -> None:
    name = country_name(country.alpha_3)  # type: ignore[attr-defined]
    expected = [] if country.alpha_3 in ("COG", "GEO") else [country.alpha_3]  # type: ignore[attr-defined]
    assert country_codes(name) == expected


@given(st.text(), st.sampled_from([None, "en", "fr", "ar", "zh", "../x", "\0"]))
def test_any_text_has_codes_of_countries(printed: str, language: str | None) -> None:
    assert all(pycountry.countries.get(alpha_3=code) for code in country_codes(printed, language))
