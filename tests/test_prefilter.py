"""PREFILTER: pages that need no question. The classifiers, the decisions, and what happens when the setting changes."""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from hypothesis import given, settings
from hypothesis import strategies as st
from server import Server
from test_finetune import GOOD
from test_import_results import lose_ledger
from test_price import number

from pipeline.config import ROOT
from pipeline.pdf.extract import OpenPaper
from pipeline.prefilter.features import FEATURES, features
from pipeline.prefilter.lexical import WEIGHTS_FILE, LexicalClassifier
from pipeline.records import Page
from pipeline.text.language import decide_languages

RUN, RETRIEVE = "run_batch.py --process extraction", "retrieve_results.py --process extraction"
SKIPPED = "skipped:prefilter"
CLASSIFIER = LexicalClassifier()
# As long as a page needs to be for its language to be known.
SURVEY = f"We use the {GOOD}, which was conducted in 2014. The survey data cover four thousand households. " * 3
THEORY = (
    "Suppose that the two players move at the same time, and that neither of them knows what the other one wants. "
    "Then the game has a single equilibrium, in which both of them wait. The proof is by induction. "
) * 3
GERMAN = "Nehmen wir an, dass beide Spieler gleichzeitig ziehen und dass keiner weiß, was der andere will. " * 5


def statuses(project: Project, process: str = "extraction", source: str = "a") -> list[str]:
    return list(project.document(process, source)["page_status"].values())


def probabilities(*texts: str, language: str | None = "en") -> list[float]:
    pages = [Page(page=number, text=text, language=language) for number, text in enumerate(texts, start=1)]
    return CLASSIFIER.probabilities(pages)


def skips(*texts: str, language: str | None = "en") -> list[bool]:
    return [value < CLASSIFIER.threshold for value in probabilities(*texts, language=language)]


def test_skipped_pages_are_asked_in_no_stage(project: Project, server: Server) -> None:
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", SURVEY, THEORY, f"{THEORY} Twice.", "")
    printed = project.run("run_batch.py --process all")
    assert printed.count("2 skipped:prefilter") == 3, "in the summary of each stage"
    assert "skipped 2 pages because of PREFILTER" in printed
    for process in ("extraction", "judge", "reasoning"):
        assert statuses(project, process) == ["answered", SKIPPED, SKIPPED, "skipped:blank"]
    assert server.attempts.total() == 3
    lines = project.run("batch_status.py").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("stage "))
    table = lines[start + 2 : start + 5]
    assert [line.split()[2:] for line in table] == [["4", "1", "0", "0", "3"]] * 3, "the last column: not asked"
    assert "Next: python export_mentions.py" in project.run("retrieve_results.py --process reasoning")


def test_nothing_to_ask_at_all(project: Project, server: Server) -> None:
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", THEORY)
    assert "skipped 1 page because of PREFILTER" in project.run(RUN)
    assert statuses(project) == [SKIPPED] and not server.attempts
    project.run("run_batch.py --process all")
    assert statuses(project, "reasoning") == [SKIPPED] and not server.attempts


def test_switching_it_off_asks_the_skipped_pages(project: Project, server: Server) -> None:
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait")
    project.configure()
    assert "1 request for 1 page" in project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered", "answered"]
    assert server.attempts.total() == 2


def test_switching_it_on_keeps_answers(project: Project, server: Server) -> None:
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait")
    answered = project.document("extraction", "a")
    project.configure(PREFILTER="lexical")
    project.paper("b.pdf", SURVEY + "b", THEORY + "b")
    project.run(f"{RUN} --wait")
    assert project.document("extraction", "a") == answered
    assert statuses(project, source="b") == ["answered", SKIPPED]
    assert server.attempts.total() == 3
    project.run(f"{RUN} --limit 1")
    assert project.document("extraction", "a") == answered
    project.run("run_batch.py --process all")
    assert statuses(project, "judge") == ["answered", "nothing_to_ask"]


def test_an_answer_is_kept_when_the_prompt_changes_too(project: Project, server: Server) -> None:
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait")
    other = project.folder / "other.md"
    other.write_text("Find the datasets.")
    project.configure(PREFILTER="lexical", PROMPTS={"extraction": str(other)})
    assert "2 requests for pages that were asked before (the prompt changed)" in project.run(RUN, expect=1)
    assert statuses(project) == ["answered", "answered"]
    project.run(f"{RUN} --yes --wait")
    assert statuses(project) == ["answered", "answered"]


def test_pages_in_progress_are_kept_and_unsent_ones_are_not_sent(project: Project, server: Server) -> None:
    """One batch is at the provider, the others wait for room in its queue."""
    one_at_a_time = {"MAX_REQUESTS_PER_BATCH": 1, "MAX_ENQUEUED_TOKENS": 900}
    project.configure(**one_at_a_time)
    project.paper("a.pdf", THEORY, f"{THEORY} Twice.", SURVEY)
    project.run(RUN)
    assert len(server.attempts) == 1
    project.configure(PREFILTER="lexical", **one_at_a_time)
    project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered", SKIPPED, "answered"]
    assert server.attempts.total() == 2


def test_failed_pages_are_skipped(project: Project, server: Server) -> None:
    answer = server.answer

    def fails(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "players" in body["messages"][1]["content"]:
            return 400, {"error": {"message": "no", "type": "x", "param": None, "code": None}}
        return answer(body)

    server.answer = fails
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait", expect=3)
    assert statuses(project) == ["answered", "failed:api_error"]
    project.configure(PREFILTER="lexical")
    project.run(f"{RUN} --again failed --wait")
    assert statuses(project) == ["answered", SKIPPED]


def test_a_dry_run_says_what_it_saves(project: Project, server: Server) -> None:
    project.paper("a.pdf", SURVEY, THEORY)
    cost = r"cost +\$([\d.]+) to"
    full = number(cost, project.run(f"{RUN} --dry-run"))
    project.configure(PREFILTER="lexical")
    printed = project.run(f"{RUN} --dry-run")
    saved = number(r"skipped 1 page because of PREFILTER, which saves \$([\d.]+) to \$[\d.]+\n", printed)
    # Each amount is rounded to four decimal places.
    assert saved > 0 and number(cost, printed) + saved == pytest.approx(full, abs=2e-4)
    assert not server.requests and not (project.output / "extraction").exists()
    only_theory = project.run(f"{RUN} --dry-run --pages 2")
    assert "nothing to send" in only_theory and "skipped 1 page because of PREFILTER, which saves $" in only_theory


def test_skipped_pages_are_no_negatives(project: Project) -> None:
    project.configure(NEGATIVES_PER_POSITIVE=5)
    project.paper("a.pdf", SURVEY, THEORY)
    project.run("run_batch.py --process all")
    printed = project.run("generate_finetune_data.py")
    assert re.search("^[a-z]+ +1 +1 +1$", printed, re.MULTILINE), "the page is a negative if it was answered"
    without = project.folder / "without"
    project.configure(NEGATIVES_PER_POSITIVE=5, PREFILTER="lexical", OUTPUT_DIR=str(without))
    project.run("run_batch.py --process all")
    printed = project.run("generate_finetune_data.py")
    assert "left out: 1 page (skipped:prefilter" in printed and re.search("^[a-z]+ +1 +1 +0$", printed, re.MULTILINE)
    splits = [(without / "finetune" / f"{split}.jsonl").read_text() for split in ("train", "valid", "test")]
    assert "".join(splits).count("\n") == 1 and "players" not in "".join(splits)


def test_another_threshold_classifies_nothing_again(project: Project, server: Server) -> None:
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait")
    file = project.output / "prefilter" / "a.json"
    stored, time = json.loads(file.read_text()), file.stat().st_mtime_ns
    assert [round(value, 5) for value in stored["probabilities"].values()] == [
        round(value, 5) for value in probabilities(SURVEY, THEORY)
    ]
    project.configure(PREFILTER="lexical", PREFILTER_THRESHOLD=0.01)
    project.run(RETRIEVE)
    assert statuses(project) == ["answered", "not_sent"], "retrieving asks nothing"
    project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered", "answered"]
    assert file.stat().st_mtime_ns == time


def test_a_changed_paper_is_classified_again(project: Project, server: Server) -> None:
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", THEORY)
    project.run(RUN)
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered", SKIPPED]


@pytest.mark.parametrize("damage", ["", "{", '{"source": "a"}'])
def test_a_damaged_file_is_written_again(project: Project, damage: str) -> None:
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait")
    file = project.output / "prefilter" / "a.json"
    good = file.read_bytes()
    file.write_text(damage)
    project.run(f"{RUN} --wait")
    assert file.read_bytes() == good and statuses(project) == ["answered", SKIPPED]


def test_pages_of_papers_that_were_not_planned_are_not_sent(project: Project) -> None:
    """The prefilter decides when a paper is planned, so it does not read the whole collection for --limit 1."""
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", SURVEY)
    project.paper("b.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --limit 1 --wait")
    assert statuses(project, source="b") == ["not_sent", "not_sent"]
    assert not (project.output / "prefilter" / "b.json").exists()
    project.run(f"{RUN} --wait")
    assert statuses(project, source="b") == ["answered", SKIPPED]


def test_answers_are_imported_for_pages_that_it_would_skip(project: Project, server: Server) -> None:
    project.paper("a.pdf", SURVEY, THEORY)
    project.run(f"{RUN} --wait")
    (batch_id,) = (project.output / "extraction_batches.txt").read_text().split()
    lose_ledger(project)
    project.configure(PREFILTER="lexical")
    assert "2 ok" in project.run(f"{RETRIEVE} --results {batch_id}")
    project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered", "answered"]
    assert server.attempts.total() == 2


@pytest.mark.parametrize("value", ["on", "lexical ", "huggingface:", "huggingface: ", "Lexical", 3, True, ["lexical"]])
def test_an_unknown_prefilter_is_refused(project: Project, value: Any) -> None:
    project.configure(PREFILTER=value)
    printed = project.run("run_batch.py --check", expect=1)
    assert "of PREFILTER (from config.yaml) is invalid: it must be off, lexical or huggingface:<model>" in printed


@pytest.mark.parametrize("value", [False, "off", "'off'"])
def test_off_is_what_yaml_makes_of_it(project: Project, value: object) -> None:
    """YAML reads a plain `off` as false."""
    text = (project.folder / "config.yaml").read_text()
    (project.folder / "config.yaml").write_text(re.sub(r"PREFILTER: .*", f"PREFILTER: {value}", text))
    project.paper("a.pdf", THEORY)
    assert "1 request for 1 page" in project.run(RUN)


@pytest.mark.parametrize("value", [-0.1, 1.1, "half"])
def test_an_impossible_threshold_is_refused(project: Project, value: object) -> None:
    project.configure(PREFILTER="lexical", PREFILTER_THRESHOLD=value)
    assert f"The value {value!r} of PREFILTER_THRESHOLD" in project.run("run_batch.py --check", expect=1)


# The lexical classifier

WILD = st.text(max_size=300) | st.text(st.sampled_from("Aa-(1): \nS’Éﬁ你²①٣\x00"), max_size=100)


@settings(deadline=None)
@given(st.lists(WILD, max_size=4))
def test_no_text_is_too_wild(texts: list[str]) -> None:
    counts = features(texts)
    assert len(counts) == len(texts) and all(len(one) == len(FEATURES) for one in counts)
    assert all(0 < CLASSIFIER.probability(one) < 1 for one in counts)


def test_pages_about_data_are_kept() -> None:
    assert skips(SURVEY, THEORY) == [False, True]
    assert skips("Source: own calculations with data from ITS and MiDi.") == [False]
    assert skips(f"{THEORY} We rely on administrative school records in Ghana and on survey data.") == [False]


def test_an_acronym_counts_on_all_pages_of_its_document() -> None:
    table = "Table 2. Mean and median by year. Note: own calculations. KHS 2014."
    introduced = f"{THEORY} We use the Korvian Household Survey (KHS)."
    alone, with_name = probabilities(THEORY, table)[1], probabilities(introduced, table)[1]
    assert alone < CLASSIFIER.threshold < with_name


def test_a_repeated_kind_of_data_counts_more() -> None:
    page = f"{THEORY} It needs a credit register."
    assert probabilities(page, page, page)[0] > probabilities(page)[0]


def test_pages_in_other_languages_are_kept(project: Project) -> None:
    assert skips(THEORY, language="de") == skips(THEORY, language=None) == [False]
    project.configure(PREFILTER="lexical")
    project.paper("a.pdf", GERMAN)
    project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered"]


def test_long_pages_are_classified_quickly() -> None:
    """Patterns that backtrack would take minutes for these pages."""
    probabilities("A" * 100_000, "A-" * 50_000, "(" * 50_000, "Survey (" * 20_000, "1,000" * 20_000)


def evaluation() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(WEIGHTS_FILE.read_text())["evaluation"]
    return found


def test_the_aim_is_reached_on_held_out_documents() -> None:
    """As the training script measured it. `test_training_gives_the_shipped_weights` repeats the measurement."""
    gold = evaluation()["gold"]
    assert gold["recall"][0] >= 0.98 and gold["share_skipped"][0] >= 0.4
    assert (gold["marked"] - gold["lost"]) / gold["marked"] == pytest.approx(gold["recall"][0], abs=1e-4)
    assert gold["skipped"] / gold["pages"] == pytest.approx(gold["share_skipped"][0], abs=1e-4)


def test_the_card_has_the_figures_of_the_weights() -> None:
    card = (WEIGHTS_FILE.parent / "README.md").read_text()
    model = json.loads(WEIGHTS_FILE.read_text())
    assert f"{model['threshold']:.3f}" in card
    for part in model["evaluation"].values():
        for value, low, high in (part["recall"], part["share_skipped"]):
            assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in card
    assert all(f"`{name}`" in card for name in FEATURES)


def test_share_of_skipped_pages_in_real_papers(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model card has this figure."""
    asked = skipped = 0
    for path in (shared / "pdfs").glob("*.pdf"):
        with OpenPaper(path) as paper:
            pages = list(paper.pages())
        decide_languages(pages)
        pages = [page for page in pages if page.text.strip()]
        values = [value for page, value in zip(pages, CLASSIFIER.probabilities(pages), strict=True) if not page.kind]
        asked, skipped = asked + len(values), skipped + sum(value < CLASSIFIER.threshold for value in values)
    with capsys.disabled():
        print(f"\nthe prefilter skips {skipped} of {asked} pages")
    assert f"{skipped} of the {asked} pages" in (WEIGHTS_FILE.parent / "README.md").read_text()


def test_training_gives_the_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(ROOT / "training")
    import train_prefilter

    assert train_prefilter.main(["--output", str(tmp_path / "lexical.json")]) == 0
    made, shipped = json.loads((tmp_path / "lexical.json").read_text()), json.loads(WEIGHTS_FILE.read_text())
    assert made["weights"] == pytest.approx(shipped["weights"], abs=1e-3)
    assert (made["bias"], made["threshold"]) == pytest.approx((shipped["bias"], shipped["threshold"]), abs=1e-3)
    assert made["evaluation"] == shipped["evaluation"]


# PREFILTER: huggingface

has_transformers = find_spec("transformers") is not None and find_spec("torch") is not None
needs_transformers = pytest.mark.skipif(not has_transformers, reason="torch and transformers are not installed")


@pytest.mark.skipif(has_transformers, reason="torch and transformers are installed")
def test_a_missing_package_is_one_sentence(project: Project) -> None:
    project.configure(PREFILTER="huggingface:some/model")
    project.paper("a.pdf", THEORY)
    printed = project.run(RUN, expect=1)
    assert printed.splitlines()[-1].startswith(
        "error: PREFILTER: huggingface needs the packages torch and transformers"
    )


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "survey", "the", "we", "use", "game", ".", ","]


def tiny_model(folder: Path, labels: dict[int, str] | None = None, classifier: bool = True) -> str:
    """A random BERT with 32 positions, whose second label becomes probable with each word "survey"."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **special).save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, id2label=labels or {0: "LABEL_0", 1: "LABEL_1"},
    )  # fmt: skip
    model = (BertForSequenceClassification if classifier else BertModel)(config)
    model.save_pretrained(folder)
    return f"huggingface:{folder}"


def model_probabilities(project: Project, source: str = "a") -> list[float]:
    return list(json.loads((project.output / "prefilter" / f"{source}.json").read_text())["probabilities"].values())


@needs_transformers
def test_a_model_decides_page_by_page(project: Project, server: Server) -> None:
    model = tiny_model(project.folder / "model")
    project.configure(PREFILTER="huggingface:model", PREFILTER_THRESHOLD=0)  # a path from the folder of config.yaml
    project.paper("a.pdf", "Survey. " * 20, "Game. " * 20, "We use the game. " * 60)
    project.run(f"{RUN} --wait")
    assert statuses(project) == ["answered"] * 3
    values = model_probabilities(project)
    assert len(set(values)) == 3 and all(0 < value < 1 for value in values)

    second = sorted(values)[1]
    project.configure(PREFILTER=model, PREFILTER_THRESHOLD=second, OUTPUT_DIR="other")
    asked = server.attempts.total()
    project.run(f"{RUN} --wait")
    document = json.loads((project.folder / "other" / "extraction" / "a.json").read_text())
    expected = [SKIPPED if value < second else "answered" for value in values]
    assert list(document["page_status"].values()) == expected and expected.count(SKIPPED) == 1
    assert server.attempts.total() == asked + 2


@needs_transformers
def test_a_page_has_the_probability_of_its_best_window(tmp_path: Path) -> None:
    from pipeline.prefilter.huggingface import OVERLAP, HuggingFaceClassifier

    tiny_model(tmp_path)
    classifier = HuggingFaceClassifier(str(tmp_path), tmp_path)
    words = ["game"] * 70 + ["survey"] * 5 + ["game"] * 70
    room, step = 30, 30 - int(32 * OVERLAP)
    starts = range(0, len(words) - (room - step), step)
    windows = [" ".join(words[start : start + room]) for start in starts]
    assert len(windows) > 4 and all(two - one < room for one, two in pairwise(starts))

    def classified(*texts: str) -> list[float]:
        return classifier.probabilities([Page(page=place, text=text) for place, text in enumerate(texts, start=1)])

    whole, empty, *single = classified(" ".join(words), "", *windows)
    assert whole == pytest.approx(max(single), abs=1e-5) and min(single) < whole
    assert 0 < empty < 1
    assert classified() == []


@needs_transformers
@pytest.mark.parametrize("labels", [{0: "Has dataset", 1: "none"}, {0: "dataset", 1: "no_dataset"}])
def test_the_label_decides_which_class_is_positive(tmp_path: Path, labels: dict[int, str]) -> None:
    from pipeline.prefilter.huggingface import HuggingFaceClassifier

    pages = [Page(page=1, text="we use the survey .")]
    values = []
    for name, chosen in (("unnamed", None), ("named", labels)):
        tiny_model(tmp_path / name, chosen)
        values += HuggingFaceClassifier(name, tmp_path).probabilities(pages)
    assert values[0] == pytest.approx(1 - values[1], abs=1e-6)


@needs_transformers
def test_a_model_that_was_trained_again_classifies_again(project: Project) -> None:
    project.configure(PREFILTER=tiny_model(project.folder / "model"), PREFILTER_THRESHOLD=1)
    project.paper("a.pdf", THEORY)
    project.run(f"{RUN} --wait")
    file = project.output / "prefilter" / "a.json"
    before = file.stat().st_mtime_ns
    project.run(f"{RUN} --wait")
    assert file.stat().st_mtime_ns == before
    weights = project.folder / "model" / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    project.run(f"{RUN} --wait")
    assert file.stat().st_mtime_ns > before


@needs_transformers
@pytest.mark.parametrize("damage", ["missing", "no head", "broken weights", "no tokenizer"])
def test_a_model_that_cannot_be_loaded_is_one_sentence(
    project: Project, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # nothing is downloaded in tests
    folder = project.folder / "model"
    tiny_model(folder, classifier=damage != "no head")
    if damage == "missing":
        folder.rename(project.folder / "elsewhere")
    elif damage == "broken weights":
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    elif damage == "no tokenizer":
        for file in folder.glob("token*"):
            file.unlink()
    project.configure(PREFILTER="huggingface:model")
    project.paper("a.pdf", THEORY)
    last = project.run(RUN, expect=1).strip().splitlines()[-1]
    assert last.startswith("error: PREFILTER names the model 'model', ")
    reasons = {"no head": "it is not a trained sequence classifier", "no tokenizer": "it has no tokenizer"}
    assert reasons.get(damage, "which cannot be used (") in last
