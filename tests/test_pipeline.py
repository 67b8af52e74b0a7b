"""The main job through the public commands, against a real HTTP server that answers from the pages it is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Project, make_pdf
from server import Server
from server_answers import dataset_names, verdict

HOUSEHOLDS = "We use the Korvian Household Survey (KHS). It has many rows. Nothing else is used."
CENSUS = "Controls come from the Korvian Population Census. The Lake Fishing Panel is new."
NOTHING = "This page is about theory alone. There is a lemma."


def check_document(project: Project, source: str) -> int:
    """Every page has its status, and every verdict stands where the server computed it. Returns the datasets."""
    text = json.loads((project.output / "text" / f"{source}.json").read_text())
    document = project.document("reasoning", source)
    assert document["source"] == source
    assert list(document["page_status"]) == [str(page["page"]) for page in text["pages"]]
    found = {page["page"]: page for page in document["pages"]}
    datasets = 0
    for page in text["pages"]:
        skipped = document["page_status"][str(page["page"])].startswith("skipped:")
        names = [] if skipped else dataset_names(page["text"])
        known = found.get(page["page"], {"data_mentions": []})
        mentions = known["data_mentions"]
        assert [d["raw_name"] for m in mentions for d in m["datasets"]] == names, (source, page["page"])
        for mention in mentions:
            assert page["text"][mention["start"] : mention["end"]] == mention["mentioned_in"]
            for dataset in mention["datasets"]:
                check_dataset(page["text"], dataset)
                datasets += 1
    return datasets


def check_dataset(text: str, dataset: dict) -> None:
    name = dataset["raw_name"]
    judged, reasoned = verdict("judge", name), verdict("reasoning", name)
    assert dataset["verdicts"]["judge"]["valid"] is judged["valid"]
    assert dataset["verdicts"]["reasoning"]["valid"] is reasoned["valid"] is dataset["valid"]
    assert dataset["verdicts"]["reasoning"]["analysis"] == reasoned["analysis"]
    assert dataset["verdicts"]["reasoning"]["overrides_judge"] is (judged["valid"] != reasoned["valid"])
    assert (dataset["context"], dataset["specificity"]) == (reasoned["context"], reasoned["specificity"])
    for correction in judged["corrections"]:
        assert dataset[correction["field"]] == correction["value"]
    assert text[dataset["start"] : dataset["end"]] == name
    assert text[dataset["sent_start"] : dataset["sent_end"]] == dataset["sent"]
    assert dataset["sent_start"] <= dataset["start"] < dataset["end"] <= dataset["sent_end"]


def test_the_commands_of_the_readme(project: Project, server: Server) -> None:
    server.polls_to_complete = 4
    project.paper("a.pdf", HOUSEHOLDS, NOTHING, CENSUS)
    printed = project.run("run_batch.py --process extraction")
    assert "3 sent now in 1 batches" in printed
    assert server.attempts.total() == 3
    assert "in_progress" in project.run("batch_status.py")
    assert "1 still running" in project.run("retrieve_results.py --process extraction")
    project.run("retrieve_results.py --process extraction --wait")
    for process in ("judge", "reasoning"):
        project.run(f"run_batch.py --process {process}")
        project.run(f"retrieve_results.py --process {process} --wait")
    assert check_document(project, "a") == 3
    assert project.document("reasoning", "a")["page_status"] == {
        "1": "answered",
        "2": "nothing_to_ask",
        "3": "answered",
    }
    ids = (project.output / "extraction_batches.txt").read_text().split()
    assert ids == [batch for batch in server.batches if batch in ids]
    project.run("generate_finetune_data.py")


def test_process_all_waits_for_each_stage(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS, CENSUS)
    project.run("run_batch.py --process all")
    assert check_document(project, "a") == 3


def test_twice_changes_nothing(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS, NOTHING)
    project.all_stages()
    files, attempts = project.files(), server.attempts.copy()
    for process in ("extraction", "judge", "reasoning"):
        assert "0 sent now" in project.run(f"run_batch.py --process {process}")
        project.run(f"retrieve_results.py --process {process}")
        project.run(f"retrieve_results.py --process {process} --wait")
    assert project.files() == files
    assert server.attempts == attempts
    assert set(attempts.values()) == {1}


AWKWARD = [
    "my_paper_v2",
    "a-page-3",
    "reports/2020/été",
    "paper (1)",
    "n" * 200,
    "x.json",
    "a",
    "a/b",
    "judge-page-1_2",
]


def test_awkward_names_end_in_files_of_their_own(project: Project) -> None:
    for number, name in enumerate(AWKWARD):
        project.paper(f"{name}.pdf", f"We use the Korvian{'abcdefghi'[number]} Household Survey here.", NOTHING)
    project.all_stages()
    for number, name in enumerate(AWKWARD):
        assert check_document(project, name) == 1
        page = project.document("reasoning", name)["pages"][0]
        expected = f"Korvian{'abcdefghi'[number]} Household Survey"
        assert page["data_mentions"][0]["datasets"][0]["raw_name"] == expected


def test_equal_papers_cost_once_and_have_a_file_each(project: Project, server: Server) -> None:
    first = project.paper("one.pdf", HOUSEHOLDS)
    shutil.copy(first, project.input / "two.pdf")
    project.all_stages()
    assert check_document(project, "one") == check_document(project, "two") == 1
    assert server.attempts.total() == 3  # one page, three stages


def test_only_what_is_new_is_sent(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.all_stages()
    before = server.attempts.total()
    project.paper("b.pdf", CENSUS)
    project.all_stages()
    assert server.attempts.total() == before + 3
    assert check_document(project, "a") + check_document(project, "b") == 3


def test_an_edited_judge_prompt_asks_the_judge_alone(project: Project, server: Server, tmp_path: Path) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.all_stages()
    prompt = tmp_path / "judge.md"
    prompt.write_text("Judge these strictly.")
    project.configure(PROMPTS={"judge": "judge.md"})
    before = server.attempts.total()
    assert "0 sent now" in project.run("run_batch.py --process extraction")
    refused = project.run("run_batch.py --process judge", expect=1)
    assert (
        "1 of these requests are about pages that were asked before: the prompt changed" in refused
        and "--yes" in refused
    )
    assert project.document("judge", "a")["page_status"] == {"1": "answered"}
    assert "1 sent now" in project.run("run_batch.py --process judge --yes")
    assert project.document("judge", "a")["page_status"] == {"1": "pending"}
    assert project.document("reasoning", "a")["page_status"] == {"1": "not_sent"}
    project.run("retrieve_results.py --process judge --wait")
    assert server.attempts.total() == before + 1
    # The server's verdict does not depend on the prompt, so the reasoner's old answer is to the same question.
    assert "0 sent now" in project.run("run_batch.py --process reasoning")
    assert check_document(project, "a") == 1


def test_a_changed_paper_is_asked_anew(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS, CENSUS)
    project.all_stages()
    (project.input / "a.pdf").unlink()
    project.paper("a.pdf", HOUSEHOLDS, NOTHING)
    assert "the text changed" in project.run("run_batch.py --process extraction", expect=1)
    project.run("run_batch.py --process extraction --yes")
    assert project.document("extraction", "a")["page_status"] == {"1": "answered", "2": "pending"}
    project.all_stages()
    assert check_document(project, "a") == 1


def test_a_removed_paper_is_in_no_total(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.paper("b.pdf", CENSUS)
    project.all_stages()
    (project.input / "b.pdf").unlink()
    assert "1 documents" in project.run("run_batch.py --process extraction")
    project.run("generate_finetune_data.py")
    rows = "".join((project.output / "finetune" / f"{split}.jsonl").read_text() for split in ("train", "valid", "test"))
    assert "Lake Fishing Panel" not in rows


@pytest.mark.parametrize(
    ("options", "sent"),
    [("--limit 1", 2), ("--documents reports/*", 2), ("--pages 2", 3), ("--pages 1-2 --limit 2", 4)],
)
def test_what_is_sent_can_be_chosen(project: Project, server: Server, options: str, sent: int) -> None:
    for number, name in enumerate(("a", "b", "reports/c")):
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {number}", f"{NOTHING} {number}")
    project.run(f"run_batch.py --process extraction --wait {options}")
    assert server.attempts.total() == sent
    statuses = [s for n in ("a", "b", "reports/c") for s in project.document("extraction", n)["page_status"].values()]
    assert (statuses.count("answered"), statuses.count("not_sent")) == (sent, 6 - sent)


def test_shards_keep_under_the_caps(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=2)
    project.paper("a.pdf", *(f"{NOTHING} {n}" for n in range(5)))
    assert "5 sent now in 3 batches" in project.run("run_batch.py --process extraction")
    assert [len(batch.lines) for batch in server.batches.values()] == [2, 2, 1]
    project.configure(MAX_BYTES_PER_BATCH=10_000)
    project.paper("b.pdf", *(f"{NOTHING} {n} again" for n in range(4)))
    project.run("run_batch.py --process extraction")
    sizes = [path.stat().st_size for path in (project.output / "batches" / "extraction").glob("part-*.jsonl")]
    assert max(sizes) <= 10_000


def test_a_reasoning_model_takes_one_line(project: Project, server: Server) -> None:
    project.configure(MODEL="gpt-5-mini")
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process all")
    assert check_document(project, "a") == 1
    assert {recipe["model"] for recipe in project.document("reasoning", "a")["provenance"]} == {"gpt-5-mini"}


def test_unreadable_papers_do_not_stop_the_others(project: Project) -> None:
    project.paper("good.pdf", HOUSEHOLDS)
    (project.input / "empty.pdf").write_bytes(b"")
    (project.input / "page.pdf").write_text("<html>404</html>")
    (project.input / "cut.pdf").write_bytes((project.input / "good.pdf").read_bytes()[:200])
    printed = project.run("run_batch.py --process extraction --wait", expect=3)
    assert "empty.pdf: it is empty (0 bytes)" in printed
    assert "page.pdf: it is not a PDF" in printed
    assert "cut.pdf: it" in printed
    assert "4 documents, 3 of them unreadable" in printed
    assert project.document("extraction", "good")["page_status"] == {"1": "answered"}


def test_names_that_cannot_be_used_get_their_sentence(project: Project) -> None:
    good = project.paper("a.pdf", HOUSEHOLDS)
    project.paper("a.json/b.pdf", HOUSEHOLDS)
    shutil.copy(good, project.input / ("x" * 251 + ".pdf"))
    (project.input / "caf\udce9.pdf").write_bytes(good.read_bytes())
    printed = project.run("run_batch.py --process extraction --wait", expect=3)
    assert "b.pdf: it lies in a folder whose name ends in .json" in printed
    assert "its name is longer than 250 bytes" in printed and "its name is not valid UTF-8" in printed
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_a_damaged_file_of_ours_is_told_and_can_be_made_anew(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process all")
    before = project.files()
    (project.output / "manifest.jsonl").write_text("{broken")
    assert "manifest.jsonl" in project.run("retrieve_results.py --process extraction", expect=1)
    (project.output / "manifest.jsonl").unlink()
    project.run("run_batch.py --process extraction")
    (project.output / "extraction" / "a.json").write_text("{broken")
    assert "0 sent now" in project.run("run_batch.py --process judge")
    (project.output / "text" / "a.json").unlink()
    project.run("run_batch.py --process all")
    assert project.files() == before


def test_an_encrypted_paper_gets_its_sentence(project: Project) -> None:
    import pymupdf

    source = make_pdf(project.folder / "plain.pdf", [HOUSEHOLDS])
    with pymupdf.open(source) as document:
        document.save(
            project.input / "locked.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="other"
        )
    printed = project.run("run_batch.py --process extraction", expect=3)
    assert "locked.pdf: it is encrypted and asks for a password" in printed


def test_given_up_pages_are_carried_past_and_reported(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS, CENSUS)
    answer = server.answer

    def fails_on_the_census(body: dict) -> tuple[int, dict]:
        if "Census" in body["messages"][1]["content"]:
            return 400, {
                "error": {"message": "no censuses", "type": "invalid_request_error", "param": None, "code": None}
            }
        return answer(body)

    server.answer = fails_on_the_census
    printed = project.run("run_batch.py --process all", expect=3)
    assert "1 failed:api_error" in printed
    assert project.document("reasoning", "a")["page_status"] == {"1": "answered", "2": "skipped:extraction_failed"}
    (failure,) = (project.output / "failures" / "extraction.jsonl").read_text().splitlines()
    assert json.loads(failure) == {
        "source": "a", "page": 2, "kind": "api_error", "message": "no censuses", "attempts": 1,
    }  # fmt: skip


def test_a_judge_that_skips_a_dataset_has_not_answered(project: Project, server: Server) -> None:
    project.paper("a.pdf", CENSUS)
    project.run("run_batch.py --process extraction --wait")
    answer = server.answer

    def forgets_one(body: dict) -> tuple[int, dict]:
        status, made = answer(body)
        message = made["choices"][0]["message"]
        if made["choices"][0]["finish_reason"] == "length":  # the probe
            return status, made
        verdicts = json.loads(message["content"])
        verdicts["verdicts"] = verdicts["verdicts"][:1]
        message["content"] = json.dumps(verdicts)
        return status, made

    server.answer = forgets_one
    printed = project.run("run_batch.py --process judge --wait", expect=3)
    assert "failed:invalid_answer" in printed
    assert server.attempts.total() == 3  # one extraction, the judge and once more
    judged = project.document("judge", "a")
    assert [d["valid"] for d in judged["pages"][0]["data_mentions"][0]["datasets"]] == [None]
    server.answer = answer
    project.run("run_batch.py --process reasoning --wait")
    assert project.document("reasoning", "a")["page_status"] == {"1": "answered"}


def test_a_truncated_answer_is_asked_for_with_more_room(project: Project, server: Server) -> None:
    project.configure(REQUEST_PARAMS={"*": {"max_completion_tokens": 40}})
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process extraction --wait", expect=3)
    budgets = [body["max_completion_tokens"] for batch in server.batches.values() for _, body in batch.lines]
    assert budgets == [40, 80]
    assert project.document("extraction", "a")["page_status"] == {"1": "failed:truncated"}


def test_usage_is_kept_with_the_document(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process all")
    usage = project.document("reasoning", "a")["usage"]
    assert list(usage) == ["extraction", "judge", "reasoning"]
    for stage in usage.values():
        assert stage["requests"] == 1 and stage["prompt_tokens"] > 100
        # gpt-4o-mini: 0.15 and 0.60 dollars a million tokens, half of it in batches
        dollars = (stage["prompt_tokens"] * 0.15 + stage["completion_tokens"] * 0.60) / 2e6
        assert stage["cost_usd"] == pytest.approx(dollars)
