"""The whole pipeline through the public commands, against a local HTTP server that answers from the pages it gets."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Project, make_pdf
from server import Server
from server_answers import dataset_names, verdict

from pipeline.processes import PROCESSES
from pipeline.store import load_document
from pipeline.workspace import Workspace

HOUSEHOLDS = "We use the Korvian Household Survey (KHS). It has many rows. Nothing else is used."
CENSUS = "Controls come from the Korvian Population Census. The Lake Fishing Panel is new."
NOTHING = "This page is about theory alone. There is a lemma."


def check_document(project: Project, source: str) -> int:
    """Check that every page has a status and every dataset its verdicts. Returns the number of datasets."""
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


def test_run_status_and_retrieve_commands(project: Project, server: Server) -> None:
    server.polls_to_complete = 4
    project.paper("a.pdf", HOUSEHOLDS, NOTHING, CENSUS)
    printed = project.run("run_batch.py --process extraction")
    assert "sent 3 requests in 1 batch" in printed
    assert server.attempts.total() == 3
    assert "in_progress" in project.run("batch_status.py")
    assert "1 batch still running" in project.run("retrieve_results.py --process extraction")
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


def test_repeated_commands_change_nothing(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS, NOTHING)
    project.all_stages()
    files, attempts = project.files(), server.attempts.copy()
    for process in ("extraction", "judge", "reasoning"):
        assert "nothing to send" in project.run(f"run_batch.py --process {process}")
        project.run(f"retrieve_results.py --process {process}")
        project.run(f"retrieve_results.py --process {process} --wait")
    assert project.files() == files
    assert server.attempts == attempts
    assert set(attempts.values()) == {1}


UNUSUAL_NAMES = [
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


def test_unusual_document_names_get_separate_files(project: Project) -> None:
    for number, name in enumerate(UNUSUAL_NAMES):
        project.paper(f"{name}.pdf", f"We use the Korvian{'abcdefghi'[number]} Household Survey here.", NOTHING)
    project.all_stages()
    for number, name in enumerate(UNUSUAL_NAMES):
        assert check_document(project, name) == 1
        page = project.document("reasoning", name)["pages"][0]
        expected = f"Korvian{'abcdefghi'[number]} Household Survey"
        assert page["data_mentions"][0]["datasets"][0]["raw_name"] == expected


def test_duplicate_papers_are_asked_once_and_have_separate_files(project: Project, server: Server) -> None:
    first = project.paper("one.pdf", HOUSEHOLDS)
    shutil.copy(first, project.input / "two.pdf")
    project.all_stages()
    assert check_document(project, "one") == check_document(project, "two") == 1
    assert server.attempts.total() == 3  # one page, three stages


def test_only_new_papers_are_sent(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.all_stages()
    before = server.attempts.total()
    project.paper("b.pdf", CENSUS)
    project.all_stages()
    assert server.attempts.total() == before + 3
    assert check_document(project, "a") + check_document(project, "b") == 3


def test_edited_judge_prompt_repeats_only_the_judge(project: Project, server: Server, tmp_path: Path) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.all_stages()
    prompt = tmp_path / "judge.md"
    prompt.write_text("Judge these strictly.")
    project.configure(PROMPTS={"judge": "judge.md"})
    before = server.attempts.total()
    assert "nothing to send" in project.run("run_batch.py --process extraction")
    refused = project.run("run_batch.py --process judge", expect=1)
    assert "1 request for pages that were asked before (the prompt changed)" in refused
    assert "1 question of judge would be asked (and paid for) again" in refused and "--yes" in refused
    assert project.document("judge", "a")["page_status"] == {"1": "answered"}
    assert "sent 1 request in 1 batch" in project.run("run_batch.py --process judge --yes")
    assert project.document("judge", "a")["page_status"] == {"1": "pending"}
    assert project.document("reasoning", "a")["page_status"] == {"1": "not_sent"}
    project.run("retrieve_results.py --process judge --wait")
    assert server.attempts.total() == before + 1
    # The server's verdict does not depend on the prompt, so the question to the reasoner is still the same.
    assert "nothing to send" in project.run("run_batch.py --process reasoning")
    assert check_document(project, "a") == 1


def test_changed_page_is_asked_again(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS, CENSUS)
    project.all_stages()
    (project.input / "a.pdf").unlink()
    project.paper("a.pdf", HOUSEHOLDS, NOTHING)
    assert "the text changed" in project.run("run_batch.py --process extraction", expect=1)
    project.run("run_batch.py --process extraction --yes")
    assert project.document("extraction", "a")["page_status"] == {"1": "answered", "2": "pending"}
    project.all_stages()
    assert check_document(project, "a") == 1


def test_removed_paper_is_not_counted(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.paper("b.pdf", CENSUS)
    project.all_stages()
    (project.input / "b.pdf").unlink()
    printed = project.run("run_batch.py --process extraction --json")
    assert json.loads(printed.splitlines()[0])["stages"]["extraction"]["documents"] == 1
    project.run("generate_finetune_data.py")
    rows = "".join((project.output / "finetune" / f"{split}.jsonl").read_text() for split in ("train", "valid", "test"))
    assert "Lake Fishing Panel" not in rows


@pytest.mark.parametrize(
    ("options", "sent"),
    [("--limit 1", 2), ("--documents reports/*", 2), ("--pages 2", 3), ("--pages 1-2 --limit 2", 4)],
)
def test_options_select_what_is_sent(project: Project, server: Server, options: str, sent: int) -> None:
    for number, name in enumerate(("a", "b", "reports/c")):
        project.paper(f"{name}.pdf", f"{HOUSEHOLDS} {number}", f"{NOTHING} {number}")
    project.run(f"run_batch.py --process extraction --wait {options}")
    assert server.attempts.total() == sent
    statuses = [s for n in ("a", "b", "reports/c") for s in project.document("extraction", n)["page_status"].values()]
    assert (statuses.count("answered"), statuses.count("not_sent")) == (sent, 6 - sent)


def test_request_files_keep_the_limits(project: Project, server: Server) -> None:
    project.configure(MAX_REQUESTS_PER_BATCH=2)
    project.paper("a.pdf", *(f"{NOTHING} {n}" for n in range(5)))
    assert "sent 5 requests in 3 batches" in project.run("run_batch.py --process extraction")
    assert [len(batch.lines) for batch in server.batches.values()] == [2, 2, 1]
    project.configure(MAX_BYTES_PER_BATCH=10_000)
    project.paper("b.pdf", *(f"{NOTHING} {n} again" for n in range(4)))
    project.run("run_batch.py --process extraction")
    sizes = [path.stat().st_size for path in (project.output / "batches" / "extraction").glob("part-*.jsonl")]
    assert max(sizes) <= 10_000


def test_reasoning_model_needs_only_the_model_setting(project: Project, server: Server) -> None:
    project.configure(MODEL="gpt-5-mini")
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process all")
    assert check_document(project, "a") == 1
    assert {recipe["model"] for recipe in project.document("reasoning", "a")["provenance"]} == {"gpt-5-mini"}


def test_unreadable_papers_do_not_stop_other_papers(project: Project) -> None:
    project.paper("good.pdf", HOUSEHOLDS)
    (project.input / "empty.pdf").write_bytes(b"")
    (project.input / "page.pdf").write_text("<html>404</html>")
    (project.input / "cut.pdf").write_bytes((project.input / "good.pdf").read_bytes()[:200])
    printed = project.run("run_batch.py --process extraction --wait", expect=3)
    assert "empty.pdf: it is empty (0 bytes)" in printed
    assert "page.pdf: it is not a PDF" in printed
    assert "cut.pdf: it" in printed
    assert "extraction: 1 page of 1 document: 1 answered (3 documents are unreadable)\n" in printed
    assert project.document("extraction", "good")["page_status"] == {"1": "answered"}


def test_unusable_file_names_are_reported(project: Project) -> None:
    good = project.paper("a.pdf", HOUSEHOLDS)
    project.paper("a.json/b.pdf", HOUSEHOLDS)
    shutil.copy(good, project.input / ("x" * 251 + ".pdf"))
    (project.input / "caf\udce9.pdf").write_bytes(good.read_bytes())
    printed = project.run("run_batch.py --process extraction --wait", expect=3)
    assert "b.pdf: the name of its folder ends in .json" in printed
    assert "its name is longer than 250 bytes" in printed and "its name is not valid UTF-8" in printed
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}


def test_damaged_output_files_are_reported_and_can_be_rebuilt(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process all")
    before = project.files()
    (project.output / "manifest.jsonl").write_text("{broken")
    assert "manifest.jsonl" in project.run("retrieve_results.py --process extraction", expect=1)
    (project.output / "manifest.jsonl").unlink()
    project.run("run_batch.py --process extraction")
    (project.output / "extraction" / "a.json").write_text("{broken")
    assert "nothing to send" in project.run("run_batch.py --process judge")
    (project.output / "text" / "a.json").unlink()
    project.run("run_batch.py --process all")
    assert project.files() == before


def test_files_written_before_a_field_existed_can_be_read(project: Project) -> None:
    """Both the document files and the answers in the ledger lack the field `relevance`."""
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process all")
    workspace = Workspace(project.output)
    for process in PROCESSES:
        document = project.document(process, "a")
        del document["pages"][0]["data_mentions"][0]["datasets"][0]["relevance"]
        workspace.document(process, "a").write_text(json.dumps(document))
        loaded = load_document(workspace, process, "a")
        assert loaded is not None
        (dataset,) = loaded.pages[0].datasets()
        assert (dataset.raw_name, dataset.relevance) == ("Korvian Household Survey", "directly_relevant")
    with closing(sqlite3.connect(workspace.ledger)) as ledger, ledger:
        changed = ledger.execute(
            "UPDATE answer SET content = json_remove(content, '$.data_mentions[0].datasets[0].relevance')"
            " WHERE content LIKE '%relevance%'"
        )
        assert changed.rowcount == 1
    shutil.rmtree(project.output / "extraction")
    project.run("retrieve_results.py --process reasoning")
    for process in PROCESSES:
        (passage,) = project.document(process, "a")["pages"][0]["data_mentions"]
        assert passage["datasets"][0]["relevance"] == "directly_relevant"
    assert check_document(project, "a") == 1


def test_encrypted_paper_is_reported(project: Project) -> None:
    import pymupdf

    source = make_pdf(project.folder / "plain.pdf", [HOUSEHOLDS])
    with pymupdf.open(source) as document:
        document.save(
            project.input / "locked.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="other"
        )
    printed = project.run("run_batch.py --process extraction", expect=3)
    assert "locked.pdf: it is encrypted and asks for a password" in printed


def test_failed_pages_do_not_stop_later_stages_and_are_reported(project: Project, server: Server) -> None:
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


def test_judgement_without_all_datasets_is_invalid(project: Project, server: Server) -> None:
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


REFERENCES = "References\n" + "\n".join(
    f"Writer, A. B., & Author, C. D. ({year}). A title of a paper. Journal of Papers, {year - 1990}(2), 11-29."
    for year in range(1991, 2006)
)


@pytest.mark.parametrize("skipped", [{}, {REFERENCES: "skipped:references"}, {"": "skipped:blank"}])
def test_judge_before_the_extraction_is_retrieved(project: Project, server: Server, skipped: dict[str, str]) -> None:
    server.polls_to_complete = 10**6
    project.paper("a.pdf", HOUSEHOLDS, CENSUS, *skipped)
    project.run("run_batch.py --process extraction")
    assert list(project.document("extraction", "a")["page_status"].values()) == ["pending"] * 2 + [*skipped.values()]
    sent = server.attempts.total()
    refused = project.run("run_batch.py --process judge", expect=1)
    assert "judge has nothing to ask yet: extraction is pending for 2 pages." in refused
    assert "Run `python retrieve_results.py --process extraction` first." in refused
    assert server.attempts.total() == sent == 2


def test_judge_before_the_extraction_is_sent(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS, REFERENCES, "")
    refused = project.run("run_batch.py --process judge", expect=1)
    assert "run `python run_batch.py --process extraction` first" in refused
    assert not server.attempts


def test_judge_sends_what_it_can_while_other_pages_are_pending(project: Project, server: Server) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process extraction --wait")
    server.polls_to_complete = 10**6
    project.paper("b.pdf", CENSUS, NOTHING, REFERENCES)
    project.run("run_batch.py --process extraction")
    printed = project.run("run_batch.py --process judge")
    assert "judge: sent 1 request in 1 batch" in printed
    assert "judge: extraction is pending for 2 pages. Run `python retrieve_results.py --process extraction` " in printed
    assert project.document("judge", "a")["page_status"] == {"1": "pending"}
    assert project.document("judge", "b")["page_status"] == {
        "1": "not_sent",
        "2": "not_sent",
        "3": "skipped:references",
    }


def test_truncated_answer_is_repeated_with_twice_the_token_limit(project: Project, server: Server) -> None:
    project.configure(REQUEST_PARAMS={"*": {"max_completion_tokens": 30}})
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process extraction --wait", expect=3)
    budgets = [body["max_completion_tokens"] for batch in server.batches.values() for _, body in batch.lines]
    assert budgets == [30, 60]
    assert project.document("extraction", "a")["page_status"] == {"1": "failed:truncated"}


def test_document_records_its_usage(project: Project) -> None:
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process all")
    usage = project.document("reasoning", "a")["usage"]
    assert list(usage) == ["extraction", "judge", "reasoning"]
    for stage in usage.values():
        assert stage["requests"] == 1 and stage["prompt_tokens"] > 100
        # gpt-4o-mini costs 0.15 and 0.60 USD per million tokens, and half of that in batches.
        dollars = (stage["prompt_tokens"] * 0.15 + stage["completion_tokens"] * 0.60) / 2e6
        assert stage["cost_usd"] == pytest.approx(dollars)
