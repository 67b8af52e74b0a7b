"""A folder made by the previous version opens in this one: ledger version 3, with batches in progress."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from itertools import pairwise
from pathlib import Path

import openai
import pytest
from conftest import Project
from server import Server

from pipeline.ledger import Ledger
from pipeline.ledger.schema import VERSION

ARCHIVE = Path(__file__).parent / "data" / "workspace_v3.zip"
PROCESSES = ("extraction", "judge", "reasoning")


@pytest.fixture
def old(project: Project, server: Server, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The old folder, and a server that knows its open batches.

    Keys depend on the base URL, so the server is reached under the old one, as a proxy.
    """
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(project.folder)
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    restore_batches(project, server)
    return project


def restore_batches(project: Project, server: Server) -> None:
    """Upload the files of the batches in progress, under their old ids."""
    database = sqlite3.connect(project.output / "ledger.sqlite")
    rows = database.execute("SELECT path, file_id, batch_id FROM shard WHERE state = 'submitted'").fetchall()
    database.close()
    assert len(rows) == 3
    server.polls_to_complete = 10**6
    with openai.OpenAI(base_url="http://old-version.test/v1", api_key=server.key) as client:
        for path, file_id, batch_id in rows:
            ids = {"file-": file_id, "batch_": batch_id}
            server.new_id = lambda prefix, ids=ids: ids[prefix]
            content = (project.output / path).read_bytes()
            file = client.files.create(file=("part.jsonl", content), purpose="batch")
            client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    server.behave()
    server.polls_to_complete = 0


def pages(project: Project) -> dict[str, dict[str, str]]:
    """The page statuses of all documents, by path."""
    files = (file for process in PROCESSES for file in (project.output / process).rglob("*.json"))
    return {str(file.relative_to(project.output)): json.loads(file.read_text())["page_status"] for file in files}


def mentions(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """The mentions of all documents and their verdicts, by path."""
    files = (file for process in PROCESSES for file in (project.output / process).rglob("*.json"))
    keys = ("raw_name", "start", "end", "sent", "valid", "invalid_reason")
    return {
        str(file.relative_to(project.output)): [
            (page["page"], *(dataset[key] for key in keys))
            for page in json.loads(file.read_text())["pages"]
            for passage in page["data_mentions"]
            for dataset in passage["datasets"]
        ]
        for file in files
    }


def test_answers_are_kept_and_nothing_is_asked_again(old: Project, server: Server) -> None:
    before = mentions(old)
    sent = server.seen.copy()
    old.run("retrieve_results.py --process extraction", expect=3)  # 3: a page has failed
    old.run("retrieve_results.py --process judge")
    old.run("retrieve_results.py --process reasoning")
    after = mentions(old)
    for name in ("extraction/a.json", "judge/a.json", "reasoning/a.json"):
        assert after[name] == before[name] != []
    for name, statuses in pages(old).items():
        if name.startswith(("extraction/b", "judge/reports")):  # what was in progress has arrived
            assert set(statuses.values()) <= {"answered", "skipped:extraction_failed"}, name
    assert pages(old)["extraction/reports/long.json"]["3"] == "failed:api_error"
    assert server.seen == sent  # and nothing was sent


def test_the_pipeline_can_be_finished(old: Project, server: Server) -> None:
    sent = server.seen.copy()
    refused = old.run("run_batch.py --process all", expect=1)
    assert "the answer format changed" in refused and "--yes" in refused
    assert server.seen == sent, "nothing is asked (and paid for) again unless the user agrees"
    old.run("run_batch.py --process all --yes")
    statuses = pages(old)
    for name in ("a", "b", "reports/long"):
        assert set(statuses[f"reasoning/{name}.json"].values()) <= {"answered", "nothing_to_ask"}
    names = [name for _, name, *_ in mentions(old)["reasoning/reports/long.json"]]
    assert {"Rice Price Panel", "Later the Korvian Farm Census"} <= set(names)  # as the test server reads names
    old.run("generate_finetune_data.py")


def test_a_change_since_makes_only_that_page_outdated(old: Project, server: Server) -> None:
    text = json.loads((old.output / "text" / "a.json").read_text())
    changed = text["pages"][2]["text"].replace("Lake Fishing Panel", "River Fishing Panel")
    (old.input / "a.pdf").unlink()
    old.paper("a.pdf", text["pages"][0]["text"], text["pages"][1]["text"], changed)
    old.run("run_batch.py --check", expect=0)
    old.run("retrieve_results.py --process extraction", expect=3)
    assert pages(old)["extraction/a.json"] == {"1": "answered", "2": "answered", "3": "not_sent"}


def test_the_ledger_is_converted_once(old: Project) -> None:
    old.run("retrieve_results.py --process judge", expect=0)
    database = sqlite3.connect(old.output / "ledger.sqlite")
    assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert database.execute("SELECT count(*) FROM ask WHERE span_start IS NULL").fetchone() == (0,)
    spans = database.execute(
        "SELECT span_start, span_end FROM ask WHERE process = 'extraction' AND source = 'reports/long' AND page = 1"
        " ORDER BY part"
    ).fetchall()
    database.close()
    text = json.loads((old.output / "text" / "reports" / "long.json").read_text())["pages"][0]["text"]
    assert len(spans) == 4 and spans[0][0] == 0 and spans[-1][1] == len(text)
    assert all(end == start for (_, end), (start, _) in pairwise(spans))


def test_an_unknown_version_is_refused(project: Project) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey.")
    Ledger(project.output / "ledger.sqlite").close()
    database = sqlite3.connect(project.output / "ledger.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    printed = project.run("run_batch.py --process extraction", expect=1)
    assert "was written by another version of this program" in printed
