"""Real papers through all three stages, against a local server that answers from the page that it gets."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import Project
from server import Server
from test_pipeline import check_document

from pipeline.store import manifest_entries
from pipeline.workspace import Workspace


def test_every_page_has_a_status_and_every_dataset_its_verdicts(project: Project, server: Server, shared: Path) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=50)
    for paper in sorted((shared / "pdfs").glob("*.pdf")):
        shutil.copy(paper, project.input)
    for process in ("extraction", "judge", "reasoning"):
        project.run(f"run_batch.py --process {process}")
        project.run(f"retrieve_results.py --process {process} --wait")
    entries = list(manifest_entries(Workspace(project.output)))
    assert len(entries) == 20
    pages = datasets = 0
    for entry in entries:
        status = project.document("reasoning", entry.source)["page_status"]
        assert len(status) == entry.n_pages
        assert set(status.values()) <= {
            "answered",
            "nothing_to_ask",
            "skipped:references",
            "skipped:contents",
            "skipped:blank",
        }
        pages += entry.n_pages
        datasets += check_document(project, entry.source)
    assert pages > 300 and datasets > 80
    assert set(server.attempts.values()) == {1}
    assert max(len(batch.lines) for batch in server.batches.values()) == 50
    project.run("generate_finetune_data.py")


def test_damaged_papers(project: Project, shared: Path) -> None:
    """Each paper is read or reported, and the others are not affected."""
    for paper in sorted((shared / "nasty").glob("*.pdf")):
        if not paper.name.startswith("huge"):
            shutil.copy(paper, project.input)
    printed = project.run("run_batch.py --process extraction --wait", expect=3)
    problems = {line.split(": ")[1] for line in printed.splitlines() if line.startswith("problem: ") and ".pdf" in line}
    assert problems == {
        "empty.pdf", "encrypted-real-paper.pdf", "encrypted-user-password.pdf", "html-not-pdf.pdf",
        "poppler-67295-0.pdf", "poppler-85140-0.pdf", "truncated-55pct.pdf", "zero-pages-REDHAT-1531897-0.pdf",
    }  # fmt: skip
    status = project.document("extraction", "Pages-tree-refs")["page_status"]
    assert sorted(status.values()) == ["answered", "unreadable"]
    assert set(project.document("extraction", "issue5481")["page_status"].values()) == {"empty_text"}
    assert set(project.document("extraction", "blank-page")["page_status"].values()) == {"skipped:blank"}
