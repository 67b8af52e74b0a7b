"""Training rows, the scores of a fine-tuned model, and the commands that need no training packages."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Project

from pipeline.config import ROOT
from pipeline.errors import ConfigError, InputError
from pipeline.training.recipe import require_packages
from pipeline.training.rows import RowTokenizer, TokenRow, batches, read_rows
from pipeline.training.scoring import Score, score_answers
from pipeline.training.tasks import TASKS, Task

EXTRACTION, JUDGE = TASKS["extraction"], TASKS["judge"]
EMPTY = EXTRACTION.no
FIELDS = ("harmonized_name", "acronym", "producer", "year", "data_type", "geography")


def answer(*found: str, **fields: object) -> str:
    """An extraction answer with these names in one sentence."""
    classes = {"context": "primary", "specificity": "properly_named", "relevance": None}
    datasets = [{"raw_name": name, **dict.fromkeys(FIELDS), **classes, **fields} for name in found]
    mentions = [{"datasets": datasets, "mentioned_in": "A sentence."}] if found else []
    return json.dumps({"data_mentions": mentions}, separators=(",", ":"))


def judgement(*valid: bool, reason: str = "") -> str:
    """A judge's answer about as many mentions."""
    rest = {"note": None, "context": "primary", "specificity": "properly_named", "corrections": []}
    verdicts = [{"number": i, "reason": reason, "valid": one, **rest} for i, one in enumerate(valid, start=1)]
    return json.dumps({"verdicts": verdicts}, separators=(",", ":"))


def messages(said: str) -> list[dict[str, str]]:
    turns = (("system", "List the datasets."), ("user", "<page>\nA page.\n</page>"), ("assistant", said))
    return [{"role": role, "content": content} for role, content in turns]


class WordTokenizer:
    """A token for every word and every other character. Token ids are positions in a growing list."""

    eos_token_id = 0

    def __init__(self) -> None:
        self.words = ["<end>"]

    def __call__(self, text: str, **options: Any) -> dict[str, Any]:
        spans = [match.span() for match in re.finditer(r"\w+|[^\w]", text)]
        for start, end in spans:
            if text[start:end] not in self.words:
                self.words.append(text[start:end])
        ids = [self.words.index(text[start:end]) for start, end in spans]
        return {"input_ids": ids, "offset_mapping": spans}

    def apply_chat_template(self, turns: list[dict[str, str]], **options: Any) -> list[int]:
        ids: list[int] = self(" ".join(turn["content"] for turn in turns))["input_ids"]
        return ids


def weighted(said: str, *unlabelled: str, task: Task = EXTRACTION) -> list[tuple[str, float]]:
    """The tokens of an answer and their weights."""
    tokenizer = WordTokenizer()
    row = RowTokenizer(tokenizer, task, decision_weight=9.0).row(messages(said), unlabelled)
    return [
        (tokenizer.words[token], weight)
        for token, weight in zip(row.tokens[row.answer_start :], row.weights, strict=True)
    ]


def test_the_token_that_decides_between_nothing_and_something_weighs_more() -> None:
    for said, deciding in ((EMPTY, "]"), (answer("KHS"), "{")):
        tokens = weighted(said)
        (heavy,) = [place for place, (_, weight) in enumerate(tokens) if weight == 9.0]
        assert tokens[heavy][0] == deciding
        assert "".join(token for token, _ in tokens[:heavy]) == '{"data_mentions":['
        assert {weight for _, weight in tokens} == {1.0, 9.0}
        assert tokens[-1] == ("<end>", 1.0)


def test_values_that_nobody_labelled_do_not_count() -> None:
    tokens = weighted(answer("KHS", producer='The "Office"', year="2010"), "producer", "context")
    left_out = "".join(token for token, weight in tokens if weight == 0)
    assert left_out == r'"The \"Office\"""primary"'
    assert ("2010", 1.0) in tokens and ("KHS", 1.0) in tokens


def test_every_verdict_weighs_more_and_an_empty_reason_is_taught() -> None:
    tokens = weighted(judgement(True, False), "reason", "context", task=JUDGE)
    assert [token for token, weight in tokens if weight == 9.0] == ["true", "false"]
    assert [token for token, weight in tokens if weight == 0.0] == ['"', "primary", '"', '"', "primary", '"']


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_deciding_token_is_the_one_that_is_biased(task: Task) -> None:
    tokenizer = WordTokenizer()
    rows = RowTokenizer(tokenizer, task, decision_weight=9.0)
    said = judgement(True) if task is JUDGE else answer("KHS")
    row = rows.row(messages(said), ())
    heavy = [token for token, weight in zip(row.tokens[row.answer_start :], row.weights, strict=True) if weight == 9.0]
    assert heavy == [rows.decision_token] and rows.empty_token != rows.decision_token


def test_the_end_of_the_answer_is_learned() -> None:
    row = RowTokenizer(WordTokenizer(), EXTRACTION, 1.0).row(messages(EMPTY), ())
    assert row.tokens[-1] == WordTokenizer.eos_token_id and len(row.tokens) - row.answer_start == len(row.weights)


def test_batches_have_all_rows_of_similar_length_within_the_limit() -> None:
    rows = [TokenRow([number] * (20 + 7 * number % 300), [1.0]) for number in range(100)]
    made = batches(rows, max_tokens=1000, seed=1)
    assert Counter(id(row) for batch in made for row in batch) == Counter(map(id, rows))
    for batch in made:
        lengths = [len(row.tokens) for row in batch]
        assert max(lengths) * len(batch) <= 1000
        assert max(lengths) - min(lengths) < 120
    assert batches(rows, 1000, seed=1) == made != batches(rows, 1000, seed=2)


def test_a_row_that_is_longer_than_the_limit_gets_a_batch_of_its_own() -> None:
    long, short = TokenRow([1] * 50, [1.0]), TokenRow([1] * 5, [1.0])
    assert sorted(map(len, batches([long, short, short], max_tokens=20, seed=0))) == [1, 2]


def test_rows_are_read_with_the_fields_that_nobody_labelled(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": messages(EMPTY)}) + "\n")
    assert list(read_rows(tmp_path / "train.jsonl")) == [(messages(EMPTY), [])]
    (tmp_path / "train.sources.jsonl").write_text('{"source": "a", "unlabelled": ["context"]}\n')
    assert list(read_rows(tmp_path / "train.jsonl")) == [(messages(EMPTY), ["context"])]


@pytest.mark.parametrize("content", [None, "no json\n", '{"conversations": []}\n', "[]\n"])
def test_other_files_are_refused_with_the_next_step(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"train.jsonl cannot be used .* generate_finetune_data.py"):
        list(read_rows(tmp_path / "train.jsonl"))


# Scores


def test_names_are_compared_without_case_articles_and_years() -> None:
    assert EXTRACTION.found(answer("The KHS 2010", "khs"), 0) == Counter({"khs": 1}), "each name counts once"
    assert EXTRACTION.found("no json", 0) is None and EXTRACTION.found(EMPTY, 0) == Counter()


def test_valid_mentions_are_compared_by_their_numbers() -> None:
    rows = [messages(judgement(True, False, True)), messages(judgement(False))]
    score = score_answers(JUDGE, rows, [judgement(True, True, False), judgement(False, True)])
    assert (score.rows, score.right, score.said, score.expected, score.invalid) == (2, 1, 2, 2, 1)
    assert "recall 0.500 of 2 valid mentions in 2 rows" in str(score)


def test_precision_and_recall_of_names() -> None:
    said = {"one": answer("A Survey", "B Survey"), "two": EMPTY, "three": "{", "four": answer("C Survey")}
    wanted = {"one": answer("A Survey"), "two": answer("B Survey"), "three": answer("C Survey"), "four": EMPTY}
    rows = [[{"role": "user", "content": name}, {"role": "assistant", "content": wanted[name]}] for name in said]
    score = score_answers(EXTRACTION, rows, [said[row[0]["content"]] for row in rows])
    assert (score.rows, score.right, score.said, score.expected) == (4, 1, 3, 3)
    assert (score.said_nothing, score.invalid) == (1, 1)
    assert score.precision == score.recall == score.f1 == pytest.approx(1 / 3)
    assert not score.always_nothing


def test_a_model_that_always_says_nothing_is_recognised() -> None:
    score = Score()
    assert not score.always_nothing, "there was nothing to find"
    score.add(Counter({"asurvey": 1}), Counter())
    assert score.always_nothing and score.f1 == 0


# The command


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.recipe.find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(ConfigError, match=r"packages torch: run `pip install -r requirements-training.txt"):
        require_packages()


def test_the_command_without_rows_says_what_to_do(project: Project) -> None:
    printed = project.run("train_adapter.py", expect=1)
    assert "generate_finetune_data.py" in printed or "pip install" in printed
    assert "Traceback" not in printed


# Training. Needs the packages of requirements-training.txt, which the other tests do not.

PAGES = {
    "We use the Korvian Household Survey here.": "Korvian Household Survey",
    "Prices come from the Barley Price Panel of 2010.": "Barley Price Panel",
    "This page is about theory alone. There is a lemma.": None,
    "The Ministry of Labour gave advice on the survey.": None,
}


def write_rows(folder: Path) -> None:
    folder.mkdir(parents=True)
    system = (ROOT / "prompts" / "extraction_finetuned.md").read_text().strip()
    lines = []
    for text, name in PAGES.items():
        said = json.loads(answer(name) if name else EMPTY)
        for mention in said["data_mentions"]:
            mention["mentioned_in"] = text
        turns = (("system", system), ("user", f"<page>\n{text}\n</page>"), ("assistant", json.dumps(said)))
        lines.append(json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}) + "\n")
    for split in ("train", "valid", "test"):
        (folder / f"{split}.jsonl").write_text("".join(lines))


@pytest.mark.slow
def test_an_adapter_is_trained_converted_and_used(project: Project) -> None:
    """The model memorizes four pages, so the converted adapter must give their answers."""
    pytest.importorskip("torch")
    pytest.importorskip("xllamacpp")
    write_rows(project.output / "finetune")
    printed = project.run("train_adapter.py --epochs 16 --learning-rate 2e-3 --valid-rows 4")
    assert "Training on 2 rows with names and 2 without" in printed
    assert re.search(r"Epoch \d+ is kept: F1 1.000", printed), printed[-2000:]
    assert "On the rows of test.jsonl: F1 1.000" in printed
    folder = project.output / "adapter"
    assert json.loads((folder / "adapter.json").read_text())["page_tokens"] == 50
    project.configure(PROVIDER="local", LOCAL_MODEL="smollm2-135m-instruct", LOCAL_ADAPTER=f"{folder}/adapter.gguf")
    project.paper("a.pdf", *PAGES)
    project.run("run_batch.py --process extraction --wait")
    found = {
        page["page"]: [one["raw_name"] for passage in page["data_mentions"] for one in passage["datasets"]]
        for page in project.document("extraction", "a")["pages"]
    }
    assert found == {1: ["Korvian Household Survey"], 2: ["Barley Price Panel"], 3: [], 4: []}
    again = project.run("train_adapter.py --epochs 16 --learning-rate 2e-3 --valid-rows 4")
    assert "Epoch" in again, "the training is finished, and only measured again"


@pytest.mark.slow
def test_a_model_that_learned_to_say_nothing_is_refused(project: Project) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("xllamacpp")
    write_rows(project.output / "finetune")
    train = project.output / "finetune" / "train.jsonl"
    rows = train.read_text().splitlines()
    train.write_text("\n".join([rows[0], *rows[2:] * 40]) + "\n")
    printed = project.run("train_adapter.py --epochs 1 --learning-rate 2e-3 --valid-rows 4", expect=1)
    assert "names nothing on any page that was kept apart" in printed
