"""Training data: only what is certain, in the extraction's own form, split by document."""

from __future__ import annotations

import json
from typing import Any

from conftest import Project
from server import Server
from server_answers import verdict

from pipeline.config import ROOT
from pipeline.finetune import SPLITS, split_of
from pipeline.stages.extraction import ExtractionAnswer

NOTHING = "This page is about theory alone. There is a lemma."


def a_name(valid: bool) -> str:
    """A dataset name that the server's reasoner finds valid, or not."""
    kinds = ("Household", "Labour", "School", "Farm", "Housing", "Wage", "Health", "Firm", "Trade", "Travel")
    names = (f"Korvian {kind} Survey" for kind in kinds)
    return next(name for name in names if verdict("reasoning", name)["valid"] is valid)


GOOD, BAD = a_name(True), a_name(False)


def rows(project: Project) -> list[dict[str, Any]]:
    project.run("generate_finetune_data.py")
    return [row for split in SPLITS for row in split_rows(project, split)]


def split_rows(project: Project, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.output / "finetune" / f"{split}.jsonl").read_text().splitlines()]


def by_page(project: Project) -> dict[str, ExtractionAnswer]:
    """The target of each page, by a word of the page's text."""
    made = {}
    for row in rows(project):
        system, user, assistant = row["messages"]
        assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant"] and list(row) == ["messages"]
        assert system["content"] == (ROOT / "prompts" / "extraction_finetuned.md").read_text().strip()
        made[user["content"].removeprefix("<page>\n").split()[0]] = ExtractionAnswer.model_validate_json(
            assistant["content"]
        )
    return made


def test_positives_are_valid_and_located_negatives_have_nothing_left(project: Project) -> None:
    project.paper(
        "a.pdf",
        f"One uses the {GOOD} here. And the {BAD} too.",
        f"Two uses the {BAD} alone.",
        f"Three. {NOTHING}",
    )
    project.run("run_batch.py --process all")
    made = by_page(project)
    assert set(made) == {"One", "Two", "Three."}
    (mention,) = made["One"].data_mentions
    assert [dataset.raw_name for dataset in mention.datasets] == [GOOD]
    assert mention.mentioned_in == f"One uses the {GOOD} here."
    for negative in ("Two", "Three."):
        assert made[negative] == ExtractionAnswer(dataset_used=False, data_mentions=[])


def test_a_page_with_a_name_found_elsewhere_is_no_negative(project: Project, server: Server) -> None:
    """The extractor missed it on page 2; that must not teach a model to miss it."""
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two cites {GOOD.lower()} results.", f"Three. {NOTHING}")
    project.run("run_batch.py --process all")
    assert set(by_page(project)) == {"One", "Three."}


def test_pages_that_failed_or_were_not_asked_are_left_out(project: Project, server: Server) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.", f"Two. {NOTHING}", f"Three. {NOTHING}")
    answer = server.answer

    def fails(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "Two." in body["messages"][1]["content"]:
            return 400, {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
        return answer(body)

    server.answer = fails
    project.run("run_batch.py --process all --pages 1-2", expect=3)
    assert set(by_page(project)) == {"One"}
    assert "1 pages: skipped:extraction_failed" in project.run("generate_finetune_data.py")


def test_a_valid_mention_that_is_not_on_the_page_is_never_trained_on(project: Project, server: Server) -> None:
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    answer = server.answer

    def invents(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, made = answer(body)
        message = made["choices"][0]["message"]
        message["content"] = message["content"].replace(GOOD, GOOD.replace("Korvian", "Invented"))
        return status, made

    server.answer = invents
    project.run("run_batch.py --process extraction --wait")
    server.answer = answer
    project.run("run_batch.py --process all")
    document = project.document("reasoning", "a")
    assert document["pages"][0]["data_mentions"][0]["datasets"][0]["grounding"] == "missing"
    assert rows(project) == []


def test_all_pages_of_a_document_are_in_one_split(project: Project) -> None:
    for number in range(12):
        project.paper(f"{number}.pdf", f"P{number} uses the {GOOD} here.", f"Q{number}. {NOTHING}")
    project.run("run_batch.py --process all")
    project.run("generate_finetune_data.py")
    splits: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in split_rows(project, split):
            word = row["messages"][1]["content"].split()[1]
            splits.setdefault(word.strip(".PQ"), set()).add(split)
    assert len(splits) == 12 and all(len(found) == 1 for found in splits.values())


def test_the_split_follows_the_shares() -> None:
    shares = {"train": 0.6, "valid": 0.3, "test": 0.1}
    found = [split_of(str(number), shares, 0) for number in range(5000)]  # type: ignore[arg-type]
    for split, share in shares.items():
        assert abs(found.count(split) / 5000 - share) < 0.03  # type: ignore[arg-type]
    assert {split_of(str(n), {"train": 1.0}, 0) for n in range(100)} == {"train"}
    assert found != [split_of(str(number), shares, 1) for number in range(5000)]  # type: ignore[arg-type]


def test_a_fine_tuned_prompt_can_be_selected(project: Project, server: Server) -> None:
    project.configure(PROMPTS={"extraction": str(ROOT / "prompts" / "extraction_finetuned.md")})
    project.paper("a.pdf", f"One uses the {GOOD} here.")
    project.run("run_batch.py --process extraction")
    (batch,) = server.batches.values()
    assert batch.lines[0][1]["messages"][0]["content"].startswith("List the datasets")
