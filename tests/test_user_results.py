"""Result files as people save them: read whatever the encoding and layout, or reported in one sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
from conftest import Project, make_pdf
from server import Server
from test_import_results import RUN, answered_elsewhere
from test_pipeline import CENSUS, HOUSEHOLDS

IMPORT = "retrieve_results.py --process extraction --results"
PAGES = (HOUSEHOLDS, CENSUS, f"{CENSUS} Café in naïve prose.")
Save = Callable[[list[str]], bytes]  # the lines of a result file, as another program writes them


def objects(lines: list[str]) -> list[dict]:
    return [json.loads(line) for line in lines]


def spaced(lines: list[str], indent: int = 2) -> str:
    return "\n".join(json.dumps(row, indent=indent) for row in objects(lines))


def text(lines: list[str]) -> str:
    """One per line, with characters that are not ASCII."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in objects(lines))


SAVED: dict[str, Save] = {
    "UTF-8": lambda lines: text(lines).encode(),
    "BOM": lambda lines: text(lines).encode("utf-8-sig"),
    "BOM and CRLF": lambda lines: text(lines).replace("\n", "\r\n").encode("utf-8-sig"),
    "UTF-16 (PowerShell)": lambda lines: text(lines).replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, big-endian": lambda lines: b"\xfe\xff" + text(lines).encode("utf-16-be"),
    "UTF-16 without a mark": lambda lines: text(lines).encode("utf-16-le"),
    "UTF-32": lambda lines: text(lines).encode("utf-32"),
    "array": lambda lines: json.dumps(objects(lines)).encode(),
    "printed array": lambda lines: json.dumps(objects(lines), indent=4).encode(),
    "array in UTF-16": lambda lines: json.dumps(objects(lines), indent=4).encode("utf-16"),
    "array, an object per line": lambda lines: ("[\n" + ",\n".join(lines) + "\n]\n").encode(),
    "printed objects": lambda lines: spaced(lines).encode(),
    "printed objects, CRLF": lambda lines: spaced(lines).replace("\n", "\r\n").encode("utf-8-sig"),
    "objects without line ends": lambda lines: "".join(lines).encode(),
    "blank lines": lambda lines: ("\n\n" + "\n\n".join(lines)).encode(),
    "no final line end": lambda lines: "\n".join(lines).encode(),
    "gzip": lambda lines: gzip.compress(text(lines).encode()),
    "gzip of UTF-16": lambda lines: gzip.compress(text(lines).encode("utf-16")),
}


@pytest.fixture
def lines(project: Project, server: Server) -> list[str]:
    project.paper("a.pdf", *PAGES)
    project.run(RUN)
    return answered_elsewhere(project, server).read_text().splitlines()


def save(project: Project, content: bytes, name: str = "saved.jsonl") -> str:
    (project.folder / name).write_bytes(content)
    return f"{IMPORT} {project.folder / name}"


@pytest.mark.parametrize("saved", SAVED)
def test_results_are_read_as_they_were_saved(project: Project, lines: list[str], saved: str) -> None:
    printed = project.run(save(project, SAVED[saved](lines)))
    assert "3 ok" in printed and "3 answered" in printed and "problem" not in printed


UNREADABLE: dict[str, tuple[Save, int, int]] = {  # with the results that can be read, and the other lines
    "HTML": (lambda lines: b"<html>\n<body>Error 502</body>\n</html>\n", 0, 3),
    "the web page in one line": (lambda lines: b"<html></html>", 0, 1),
    "CSV": (lambda lines: b"custom_id,answer\n1,yes\n", 0, 2),
    "an error of the server": (lambda lines: b'{"error": {"message": "no such file"}}', 0, 1),
    "cut off": (lambda lines: "\n".join(lines)[:-40].encode(), 2, 1),
    "array that is cut off": (lambda lines: ("[" + ",\n".join(lines))[:-40].encode(), 2, 1),
    "bad line in the middle": (lambda lines: "\n".join([lines[0], "{...}", *lines[1:]]).encode(), 3, 1),
    "bad line first": (lambda lines: "\n".join(["{...}", *lines]).encode(), 3, 1),
    "heading": (lambda lines: "\n".join(["# results", *lines]).encode(), 3, 1),
    "bad line in UTF-16": (lambda lines: "\n".join([*lines, "oops"]).encode("utf-16"), 3, 1),
    "bytes of another encoding": (lambda lines: "\n".join([*lines, '{"custom_id": "\xe9"}']).encode("latin-1"), 3, 1),
    "numbers": (lambda lines: "\n".join([*lines, "1", "null", '"x"', "[7]"]).encode(), 3, 4),
    "nothing that has an end": (lambda lines: "\n".join([*lines, '{"a":' * 100_000]).encode(), 3, 1),
}


@pytest.mark.parametrize("saved", UNREADABLE)
def test_lines_that_are_no_result_are_counted(project: Project, lines: list[str], saved: str) -> None:
    content, results, others = UNREADABLE[saved]
    printed = project.run(save(project, content(lines)), expect=3)
    (problem,) = [line for line in printed.splitlines() if line.startswith("problem: ")]
    assert "saved.jsonl" in problem and f"{others} line{'s' * (others > 1)} of" in problem
    assert f"{results} ok" in printed if results else "no new answers" in printed
    assert ("has no results" in problem) is (results == 0)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"[]", gzip.compress(b"")])
def test_an_empty_file(project: Project, lines: list[str], content: bytes) -> None:
    assert "saved.jsonl is empty" in project.run(save(project, content), expect=3)


def test_a_pdf_is_no_result_file(project: Project, lines: list[str]) -> None:
    content = make_pdf(project.folder / "other.pdf", ["Text."]).read_bytes()
    assert "other.pdf has no results, but" in project.run(save(project, content, "other.pdf"), expect=3)


@pytest.mark.parametrize("name", ["gone.jsonl", "folder/gone", "."])
def test_a_file_that_cannot_be_opened(project: Project, lines: list[str], name: str) -> None:
    assert f"Cannot read {name} (" in project.run(f"{IMPORT} {name}", expect=1)


def test_damaged_gzip(project: Project, lines: list[str]) -> None:
    content = gzip.compress(text(lines).encode())
    for damaged in (content[:-12], content[:20] + b"\0" * 8 + content[28:], b"\x1f\x8bnot gzip"):
        printed = project.run(save(project, damaged), expect=1)
        assert "saved.jsonl (" in printed and "error: Cannot read" in printed
    assert "3 pending" in project.run("retrieve_results.py --process extraction")


def test_a_request_file_is_no_result_file(project: Project, lines: list[str]) -> None:
    """It lies beside the result files and has the same ids: its lines would count as failed attempts."""
    (part,) = (project.output / "batches" / "extraction").glob("part-*.jsonl")
    printed = project.run(f"{IMPORT} {part}", expect=3)
    assert "has no results, but 3 lines of something else" in printed and "3 pending" in printed


def test_the_good_file_is_imported_beside_a_bad_one(project: Project, lines: list[str]) -> None:
    bad = project.folder / "page.html"
    bad.write_text("<html>")
    printed = project.run(f"{save(project, text(lines).encode())} {bad}", expect=3)
    assert "3 ok" in printed and "page.html has no results" in printed and "3 answered" in printed
