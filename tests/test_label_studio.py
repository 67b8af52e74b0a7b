"""Export to and import from a real Label Studio. Run `make label-studio`, then `make test-slow`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from server import Server

from pipeline.config import ROOT
from pipeline.records import PageText
from pipeline.review.labels import load_labels
from pipeline.text.grounding import PageIndex
from pipeline.workspace import Workspace

pytestmark = pytest.mark.slow
PROGRAM = Path(os.environ.get("LABEL_STUDIO", ROOT / ".venv-label-studio" / "bin" / "label-studio"))
TOKEN = "0123456789abcdef0123456789abcdef01234567"
ODD = (
    "Näïve  pages – with “odd”\u00a0spaces – use the Korvian\nHousehold Survey (KHS) here. Ça va: the Rice Price Panel."
)


class LabelStudio:
    """A running server, and its API."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = os.environ | {
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder), "COLLECT_ANALYTICS": "false",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        }  # fmt: skip
        user = ["--username", "anna@example.org", "--password", "secret-enough-1", "--user-token", TOKEN]
        command = [str(PROGRAM), "start", "--no-browser", "--port", str(port), "--log-level", "ERROR", *user]
        self._log = (folder / "log.txt").open("wb")
        self._process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + 180
        while not self._answers():
            assert time.monotonic() < deadline and self._process.poll() is None, (folder / "log.txt").read_text()
            time.sleep(1)

    def _answers(self) -> bool:
        try:
            return bool(self.call("GET", "/api/version"))
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[LabelStudio]:
    if not PROGRAM.exists():
        pytest.skip("Label Studio is not installed: run make label-studio")
    folder = tmp_path / "label-studio"
    folder.mkdir()
    running = LabelStudio(folder)
    yield running
    running.stop()


def test_round_trip(project: Project, server: Server, studio: LabelStudio) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey (KHS) here. The Rice Price Panel is new.")
    project.run("run_batch.py --process all")
    with_odd_text(project)
    project.run("review_labels.py --export label-studio")
    made = studio.call(
        "POST", "/api/projects",
        {"title": "review", "label_config": (project.output / "review" / "label-studio.xml").read_text()},
    )  # fmt: skip
    tasks = json.loads((project.output / "review" / "label-studio.json").read_text())
    imported = studio.call("POST", f"/api/projects/{made['id']}/import?return_task_ids=true", tasks)
    assert imported["task_count"] == 1 and imported["prediction_count"] == 1
    (task,) = studio.call("GET", f"/api/tasks?project={made['id']}&fields=all")["tasks"]
    annotate(studio, task, tasks[0]["data"]["text"])
    exported = studio.call("GET", f"/api/projects/{made['id']}/export?exportType=JSON")
    (project.folder / "export.json").write_text(json.dumps(exported))
    project.run(f"review_labels.py --import {project.folder / 'export.json'}")
    label = load_labels(Workspace(project.output))["a", 1]
    text = tasks[0]["data"]["text"]
    assert label.annotator == "user 1" and label.page_complete and label.time
    found = {(one.start, one.end): one for one in label.mentions}
    start = text.index("Ça va")
    assert found[start, start + 5].decision == "add"
    predicted = [one["value"] for one in tasks[0]["predictions"][0]["result"] if one["type"] == "labels"]
    assert {(value["start"], value["end"]) for value in predicted} <= found.keys()
    assert all(text[one.start : one.end] == one.quote for one in label.mentions)


def annotate(studio: LabelStudio, task: dict[str, Any], text: str) -> None:
    """Accept the predictions, add a mention that starts with an accented letter, and mark the page as complete."""
    predicted = studio.call("GET", f"/api/tasks/{task['id']}")["predictions"][0]["result"]
    start = text.index("Ça va")
    where = {"start": start, "end": start + 5, "text": "Ça va"}
    added = [
        part("new", "mention", "labels", where | {"labels": ["dataset"]}),
        part("all", "page_complete", "choices", {"choices": ["complete"]}),
    ]
    result = [{**one, "origin": "prediction"} for one in predicted] + [{**one, "origin": "manual"} for one in added]
    studio.call("POST", f"/api/tasks/{task['id']}/annotations", {"result": result, "lead_time": 1.0})


def part(region: str, name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": region, "from_name": name, "to_name": "text", "type": kind, "value": value}


def with_odd_text(project: Project) -> None:
    """Replace the text of the page by one with characters that some PDFs have, and locate the mentions in it."""
    file = project.output / "text" / "a.json"
    text = json.loads(file.read_text())
    text["pages"][0]["text"] = ODD
    file.write_text(json.dumps(text))
    document = project.document("reasoning", "a")
    document["text_sha256"] = PageText.model_validate(text).digest()
    index = PageIndex(ODD)
    for mention in document["pages"][0]["data_mentions"]:
        for dataset in mention["datasets"]:
            place = index.locate(dataset["raw_name"])
            assert place, dataset["raw_name"]
            dataset |= {"start": place.start, "end": place.end, "raw_name": ODD[place.start : place.end]}
    (project.output / "reasoning" / "a.json").write_text(json.dumps(document))
