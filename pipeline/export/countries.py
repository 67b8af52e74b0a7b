"""From the places that a dataset covers, as printed, to the codes of their countries."""

from __future__ import annotations

import gettext
import re
import unicodedata
from collections.abc import Iterator
from functools import cache

import pycountry

Tokens = tuple[str, ...]

# Names in use that ISO 3166 does not list, those of the World Bank among them.
_ALSO = {
    "BHS": ["Bahamas, The"], "BOL": ["Bolivia"], "BRN": ["Brunei"], "CIV": ["Ivory Coast"],
    "COD": ["Congo, Dem. Rep.", "Democratic Republic of Congo", "DR Congo", "DRC", "Congo-Kinshasa", "Zaire"],
    "COG": ["Congo, Rep.", "Republic of Congo", "Congo Republic", "Congo-Brazzaville"], "CPV": ["Cape Verde"],
    "CUW": ["Curacao"], "EGY": ["Egypt, Arab Rep."], "FSM": ["Micronesia, Fed. Sts."],
    "GBR": ["UK", "Great Britain", "Britain", "England", "Scotland", "Wales", "Northern Ireland"],
    "GEO": ["Republic of Georgia"], "GMB": ["Gambia, The"], "HKG": ["Hong Kong SAR, China", "Hong Kong SAR"],
    "IRN": ["Iran, Islamic Rep."], "KOR": ["Korea, Rep."],
    "LAO": ["Lao PDR"], "MAC": ["Macau", "Macao SAR, China", "Macao SAR"], "MKD": ["FYR Macedonia"], "MMR": ["Burma"],
    "NLD": ["Holland", "The Netherlands"], "PRK": ["Korea, Dem. People's Rep."],
    "PSE": ["West Bank and Gaza", "Palestine", "Palestinian Territories", "Occupied Palestinian Territory"],
    "RUS": ["Russia"], "SOM": ["Somalia, Fed. Rep."], "SVK": ["Slovak Republic"], "SWZ": ["Swaziland"],
    "SYR": ["Syria"], "TLS": ["East Timor"], "TUR": ["Turkey"], "TWN": ["Taiwan, China"],
    "TZA": ["Tanzania, United Rep."], "ARE": ["UAE"], "USA": ["US", "USA"],
    "VAT": ["Vatican", "Vatican City"], "VEN": ["Venezuela, RB"], "VIR": ["US Virgin Islands"],
    "VGB": ["British Virgin Islands"], "WSM": ["Western Samoa"], "YEM": ["Yemen, Rep."],
}  # fmt: skip
# A name of two countries says nothing alone.
_AMBIGUOUS = {("congo",), ("kongo",)}
# Georgia is a state of the USA too. It is the country where other countries than the USA are named with it.
_GEORGIA = "GEO"
# Words that may stand before the name of a country, which is meant then as a whole or in part.
_DIRECTIONS = ("north", "south", "east", "west", "northeast", "northwest", "southeast", "southwest")
_BEFORE = {"the", "a", "all", "whole", "entire", "mainland", "rural", "urban", "coastal", "central", *_DIRECTIONS}
_BEFORE |= {f"{direction}ern" for direction in _DIRECTIONS}
_NOT_BEFORE_OF = {"gulf", "bay", "sea", "lake", "strait", "bight", "horn", "isle", "university", "bank"}
_SEPARATORS = {",", "and", "et", "y", "e", "und", "i"}
_SAINT = re.compile(r"\bst\.")
_TOKEN = re.compile(r"[^\W_]+|[,;:/&|()\[\]\n]")


def country_codes(geography: str | None, language: str | None = None) -> list[str]:
    """ISO 3166-1 alpha-3 codes of the countries that `geography` names clearly, in the order of the text.

    Names are read in English and in `language` (ISO 639-1). "Accra, Ghana" and "northern Ghana" are Ghana; "New
    Mexico", "Niger Delta" and "Congo" are nothing.
    """
    found = list(dict.fromkeys(_codes(_tokens(geography or ""), language)))
    is_country = set(found) - {_GEORGIA, "USA"} or "republic of georgia" in (geography or "").lower()
    return found if is_country else [code for code in found if code != _GEORGIA]


def country_name(code: str) -> str:
    """The short English name of a country."""
    country = pycountry.countries.get(alpha_3=code)
    return getattr(country, "common_name", country.name) if country else code


def _codes(tokens: Tokens, language: str | None) -> Iterator[str]:
    names = _names(language)
    longest = max(map(len, names))
    place = 0
    while place < len(tokens):
        ends = range(min(len(tokens), place + longest), place, -1)
        end = next((end for end in ends if tokens[place:end] in names), None)
        if end is None:
            place += 1
            continue
        if _may_precede(_part_before(tokens, place)) and _may_follow(tokens, end):
            yield names[tokens[place:end]]
        place = end


def _part_before(tokens: Tokens, place: int) -> Tokens:
    """The words between the last separator and `place`."""
    start = place
    while start > 0 and tokens[start - 1] not in _SEPARATORS:
        start -= 1
    return tokens[start:place]


def _may_precede(words: Tokens) -> bool:
    """Whether a country is meant after these words: "the north of", "villages in", but not "New" or "Gulf of"."""
    if not words:
        return True
    if words[-1] in ("in", "within", "across", "throughout", "from"):
        return True
    if words[-1] == "of" or words[-2:] == ("of", "the"):
        return not set(words) & _NOT_BEFORE_OF
    return all(word in _BEFORE for word in words)


def _may_follow(tokens: Tokens, end: int) -> bool:
    """Whether a country is meant before what comes at `end`: a separator, a year, but not "Delta"."""
    return end == len(tokens) or tokens[end] in _SEPARATORS or tokens[end].isdigit() or tokens[end] == "s"


@cache
def _names(language: str | None) -> dict[Tokens, str]:
    """The codes of countries by their names, in English and in `language`."""
    found: dict[Tokens, str] = {}
    translate = gettext.NullTranslations()
    if language and language != "en":
        translate = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, [language], fallback=True)
    for country in pycountry.countries:
        names = [getattr(country, kind, None) for kind in ("name", "official_name", "common_name")]
        names += [translate.gettext(name) for name in names if name] + _ALSO.get(country.alpha_3, [])
        for name in filter(None, names):
            for form in (name, _in_order(name)):
                found.setdefault(_tokens(form), country.alpha_3)
    return {name: code for name, code in found.items() if name not in _AMBIGUOUS}


def _in_order(name: str) -> str:
    """ "Republic of Korea" for "Korea, Republic of"."""
    first, comma, last = name.partition(", ")
    return f"{last} {first}" if comma else name


def _tokens(text: str) -> Tokens:
    """The words in small letters without accents, and a comma for each other separator."""
    text = text.casefold().replace("u.s.", "us").replace("u.k.", "uk").replace("u.a.e.", "uae")
    text = unicodedata.normalize("NFKD", _SAINT.sub("saint", text))
    plain = "".join(character for character in text if not unicodedata.combining(character))
    return tuple(token if token[0].isalnum() else "," for token in _TOKEN.findall(plain))
