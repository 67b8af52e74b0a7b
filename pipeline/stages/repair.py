"""Reads answers whose form is not what was asked for: JSON after thoughts, in a Markdown fence, with extra keys.

Only the form is repaired. What the answer says must be complete and valid, and it must be clear which answer is meant:
of two different ones none is chosen. Used only after an answer could not be parsed as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError

MAX_LEAD_IN = 200  # characters before an answer

_TAGS = "think|thinking|thought|thoughts|reasoning"
_OPEN = re.compile(rf"<(?:{_TAGS})>|\[THINK\]|◁think▷|<\|channel\|>analysis", re.IGNORECASE)
_CLOSE = re.compile(rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|channel\|>final[^<]*<\|message\|>", re.IGNORECASE)
# What models and servers write around an answer, and how it is counted.
_WRAPPINGS = {
    "byte order mark": re.compile("\ufeff"),
    "Markdown fence": re.compile(r"(?:```+|~~~+)[ \t]*(?:json\w?)?(?s:(.*?))(?:```+|~~~+|\Z)", re.IGNORECASE),
    "special token": re.compile(
        r"<[|｜][^|｜<>]{1,40}[|｜]>|</?s>|</?(?:bos|eos|start_of_turn|end_of_turn)>|\[/?INST\]"
    ),
}
# The only words that may stand before an answer. With others it may be a draft, an example, or what is wrong.
_LEAD_IN = re.compile(
    r"""[*#\s]*(?:(?:in\ (?:the\ |a\ )?(?:json|requested|required|given|specified)\ format
    |a|an|and|answer|are|as|based|below|can|certainly|course|data|datasets?|extracted|extraction|final|find|following
    |for|found|from|have|here|i|in|is|it|json|judge?ments?|list|mentions?|my|object|of|ok|okay|on|output|page|provided
    |requested|response|results?|s|sure|text|that|the|these|this|to|ve|verdicts?|with|you|your)\b[\s,.:!*#'’-]*)*""",
    re.IGNORECASE | re.VERBOSE,
)
# The only remarks that may follow an answer. Others may withdraw it.
_REMARK = re.compile(
    r"(?:(?:(?:I )?hope (?:this|that) helps|(?:please )?(?:let me know|feel free to ask)[A-Za-z ,']{0,80})[.!]*\s*)*",
    re.IGNORECASE,
)
_HALF_OBJECT = re.compile(r'\{\s*"')
_BRACE = re.compile(r"[{}]")
# A string without an end reaches to the end of the text, so that each character is looked at once.
_STRING_OR_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)|,(?=\s*[}\]])', re.DOTALL)
# Names of keys that may say something else than the answer does.
_CLAIM = re.compile(
    r"valid|correct|wrong|error|reject|retract|verdict|decision|status|answer|result|data_?mentions|^(?:datasets?|mentions?)$",
    re.IGNORECASE,
)
_INFINITY = float("inf")  # 1e999 in JSON
_LARGEST_WHOLE = 1e15  # larger floats are not whole numbers that somebody wrote with a decimal point


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_LENIENT = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)  # raw line breaks in texts


@dataclass(frozen=True)
class FoundObjects:
    """What may be the answer: no object, one, or two different ones. `repairs`: what was repaired to read it."""

    objects: list[dict[str, Any]]
    repairs: list[str]


@dataclass(frozen=True)
class _Place:
    """An object in a text: `text[start:end]`."""

    start: int
    end: int
    value: dict[str, Any]
    repairs: tuple[str, ...]


def find_objects(text: str, required: Set[str]) -> FoundObjects:
    """The object in a model's text that may be its answer; two, if it is unclear which. `required`: its keys.

    Objects in the thoughts of the model do not count. Raises RecursionError if the text is nested too deeply.
    """
    quoted = _quoted(text)
    if quoted:
        inner = find_objects(quoted, required)
        return FoundObjects(inner.objects, ["double-encoded text", *inner.repairs])
    rest = _after_thoughts(text)
    repairs = ["thinking block"] if len(rest) < len(text) else []
    places = list(_places(rest))
    answers = [place for place in places if required <= place.value.keys()] or places
    if not answers:
        return FoundObjects([], [])
    first, last = answers[0], answers[-1]
    other = next((place.value for place in answers if place.value != first.value), None)
    if other is not None:
        return FoundObjects([first.value, other], [])
    around = _blanked(rest, answers)
    before, between, after = around[: first.start], around[first.end : last.start], around[last.end :]
    if _OPEN.search(before):  # thoughts without an end: the answer comes last, and a draft in a sentence is none
        own_line = _OPEN.sub("", before.rpartition("\n")[2])
        if _unwrapped(own_line)[0] or _HALF_OBJECT.search(before):
            return FoundObjects([], [])
        repairs, before, around = [*repairs, "thinking block"], "", around[first.end :]
    if not _is_neutral(_unwrapped(before)[0], _unwrapped(between)[0], _unwrapped(after)[0]):
        return FoundObjects([], [])
    left, wrappings = _unwrapped(around)
    return FoundObjects([first.value], [*repairs, *wrappings, *(["surrounding text"] if left else []), *first.repairs])


def _is_neutral(before: str, between: str, after: str) -> bool:
    """Whether the text around an answer, or around the same answer several times, says nothing about it."""
    if before.endswith("[") and after.startswith("]"):  # a list of answers
        before, after = before[:-1], after[1:].lstrip()
    if len(before) > MAX_LEAD_IN or between.strip(", \n"):
        return False
    return bool(_LEAD_IN.fullmatch(before) and _REMARK.fullmatch(after))


def repair_fields(value: dict[str, Any], invalid: ValidationError) -> list[str]:
    """Drop unknown keys that say nothing about the answer, and write numbers as text where text is expected.

    `invalid`: what is wrong with the answer. The rest of it is left as it is. Returns what was repaired.
    """
    repairs = []
    for error in invalid.errors():
        *path, name = error["loc"] or ("",)
        inner: Any = value
        try:
            for part in path:
                inner = inner[part]
            found = inner[name]
        except (LookupError, TypeError):  # an answer in an older form, which was converted before it was checked
            continue
        if error["type"] == "extra_forbidden" and _is_harmless(str(name), found, inner):
            del inner[name]
            repairs.append("extra key")
        elif error["type"] == "string_type" and found is False:
            inner[name] = None  # "there is none"; a text that is required stays invalid
            repairs.append("false for null")
        elif error["type"] == "string_type" and _is_number(found):
            inner[name] = _written(found)
            repairs.append("unquoted value")
    return repairs


def _is_harmless(name: str, value: object, siblings: Mapping[str, Any]) -> bool:
    """Whether an unknown key says nothing about the answer: no list or object with content, and no yes or no."""
    others = {_simplified(other) for other in siblings if other != name}
    if _CLAIM.search(name) or _simplified(name) in others:
        return False
    return isinstance(value, str | None) or _is_number(value) or value in ([], {})


def _simplified(name: str) -> str:
    """A key as different models write it: `rawName` is `raw_name`."""
    return "".join(filter(str.isalnum, name)).lower()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != _INFINITY


def _written(value: int | float) -> str:
    """A number as text: 2019.0 is 2019."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_WHOLE
    return json.dumps(int(value) if is_whole else value)


def _after_thoughts(text: str) -> str:
    """The text after the thoughts that a model has closed. A tag in a text of the answer does not close them."""
    if not _CLOSE.search(text):
        return text
    ends = [tag.end() for tag in _CLOSE.finditer(_blanked(text, list(_places(text))))]
    return text[ends[-1] :] if ends else text


def _places(text: str) -> Iterator[_Place]:
    """The JSON objects that are not inside of something else in braces, which may be half an answer."""
    start = text.find("{")
    while start >= 0:
        try:
            value, end = _LENIENT.raw_decode(text, start)
            yield _Place(start, end, value, _repairs_inside(text[start:end]))
        except ValueError:
            end = _closing_brace(text, start)
            # The commas are replaced by spaces.
            corrected = _STRING_OR_TRAILING_COMMA.sub(_space_for_comma, text[start:end])
            value = _decoded(corrected)
            if isinstance(value, dict):
                commas = ("trailing comma",) * sum(a != b for a, b in zip(corrected, text[start:end], strict=True))
                yield _Place(start, end, value, (*commas, *_repairs_inside(corrected)))
        start = text.find("{", end)


def _space_for_comma(found: re.Match[str]) -> str:
    return " " if found[0] == "," else found[0]


def _decoded(text: str) -> Any:
    """The JSON value that is the whole text, or None."""
    try:
        return _LENIENT.decode(text)
    except ValueError:
        return None


def _closing_brace(text: str, start: int) -> int:
    """The end of what the brace at `start` opens: the end of the text if it is never closed."""
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.end()
    return len(text)


def _quoted(text: str) -> str | None:
    """The text inside, if the whole text is a JSON string with an object in it."""
    value = _decoded(text.strip("\ufeff \r\n\t"))
    return value if isinstance(value, str) and "{" in value else None


def _blanked(text: str, places: Sequence[_Place]) -> str:
    """The text with spaces instead of the objects."""
    parts, end = [], 0
    for place in places:
        parts += [text[end : place.start], " " * (place.end - place.start)]
        end = place.end
    return "".join([*parts, text[end:]])


def _unwrapped(outside: str) -> tuple[str, list[str]]:
    """What is left of the text outside of an answer without fences and tokens, and what was removed."""
    repairs = []
    for name, pattern in _WRAPPINGS.items():
        repairs += [name] * sum(1 for _ in pattern.finditer(outside))
        outside = pattern.sub(r"\1" if pattern.groups else "", outside)
    return outside.strip(), repairs


def _repairs_inside(text: str) -> tuple[str, ...]:
    try:
        json.loads(text)
    except ValueError:
        return ("unescaped control character",)
    return ()
