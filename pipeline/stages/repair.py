"""Reads answers whose form is not what was asked for: JSON after thoughts, in a Markdown fence, with extra keys.

Only the form is repaired. What the answer says must be complete and valid, and it must be clear which answer is meant:
of two different ones none is chosen. Used only after an answer could not be parsed as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError

MAX_REMARK = 500  # characters after an answer; a model that writes more may have changed its mind

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
_HALF_OBJECT = re.compile(r'\{\s*"')
_BRACE = re.compile(r"[{}]")
_STRING_OR_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)
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
    around, limit = _blanked(rest, places), MAX_REMARK
    after = around[last.end :]
    if _OPEN.search(around, 0, first.start):  # thoughts without an end, in which an object may be a draft
        repairs, around, limit = [*repairs, "thinking block"], after, 0
    if len(_unwrapped(after)[0]) > limit or _HALF_OBJECT.search(around):
        return FoundObjects([], [])
    other = next((place.value for place in answers if place.value != first.value), None)
    objects = [first.value] if other is None else [first.value, other]
    left, wrappings = _unwrapped(around)
    return FoundObjects(objects, [*repairs, *wrappings, *(["surrounding text"] if left else []), *first.repairs])


def repair_fields(value: dict[str, Any], invalid: ValidationError) -> list[str]:
    """Drop unknown keys of an answer, and write numbers as text where text is expected. Returns what was repaired.

    `invalid`: what is wrong with the answer. The rest of it is left as it is.
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
        if error["type"] == "extra_forbidden":
            del inner[name]
            repairs.append("extra key")
        elif error["type"] == "string_type" and isinstance(found, int | float) and abs(found) != _INFINITY:
            inner[name] = _written(found)
            repairs.append("unquoted value")
    return repairs


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
