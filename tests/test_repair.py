"""Answers in another form than the one that was asked for: used if it is clear what is meant, and counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Project
from hypothesis import given
from hypothesis import strategies as st
from server import Server
from server_answers import completion
from test_pipeline import CENSUS, HOUSEHOLDS, check_document

from pipeline.stages import get_stage
from pipeline.stages.base import Answer, InvalidAnswer

DATASET = {
    "raw_name": "Korvian Household Survey", "harmonized_name": None, "acronym": None, "producer": None, "year": "2019",
    "data_type": "survey", "geography": None, "context": "primary", "specificity": "properly_named",
    "relevance": "directly_relevant",
}  # fmt: skip
VERDICT = {
    "number": 1, "reason": "r", "valid": True, "note": None, "context": "primary", "specificity": "properly_named",
    "corrections": [],
}  # fmt: skip


def extraction(sentence: str = "It uses the Korvian Household Survey.", **values: Any) -> str:
    return json.dumps({"data_mentions": [{"datasets": [DATASET | values], "mentioned_in": sentence}]})


def judgement(*verdicts: dict[str, Any]) -> str:
    return json.dumps({"verdicts": [VERDICT | verdict for verdict in verdicts]})


GOOD, OTHER, NOTHING = extraction(), extraction(year="2020"), '{"data_mentions": []}'


def parsed(content: str, process: str = "extraction", expects: int = 0) -> tuple[Answer, list[str]]:
    repairs: list[str] = []
    return get_stage(process).parse(content, expects, repairs), repairs


@pytest.mark.parametrize(
    ("content", "repairs"),
    [
        (GOOD, []),
        (f"\n{GOOD}\n", []),
        (f"\ufeff{GOOD}", ["byte order mark"]),
        (f"```json\n{GOOD}\n```", ["Markdown fence"]),
        (f"```\n{GOOD}\n```\n", ["Markdown fence"]),
        (f"~~~JSON\n{GOOD}\n~~~", ["Markdown fence"]),
        (f"```json\n{GOOD}", ["Markdown fence"]),
        (f"{GOOD}\n```", ["Markdown fence"]),
        (f"Here is the JSON:\n\n```json\n{GOOD}\n```\nI hope this helps.", ["Markdown fence", "surrounding text"]),
        (f"Sure! {GOOD}", ["surrounding text"]),
        (f"Here's the final answer in JSON format:\n{GOOD}", ["surrounding text"]),
        (f"**Answer:**\n\n{GOOD}", ["surrounding text"]),
        (f"{GOOD} Let me know if you need more.", ["surrounding text"]),
        (f"[{GOOD}]", ["surrounding text"]),
        (f"[{GOOD}, {GOOD}]", ["surrounding text"]),
        (f"{GOOD}\n{GOOD}", []),
        (f"<think>\nIt names a survey.\n</think>\n\n{GOOD}", ["thinking block"]),
        (f"<think></think>{GOOD}", ["thinking block"]),
        (f"<think>A brace {{ and a draft {OTHER}</think>{GOOD}", ["thinking block"]),
        (f"<think>one</think><think>{OTHER}</think>{GOOD}", ["thinking block"]),
        (f"It names a survey: {OTHER}\n</think>\n\n{GOOD}", ["thinking block"]),
        (f"<THINKING>It is.</THINKING>\n```json\n{GOOD}\n```<|im_end|>", None),
        (f"[THINK]It is.[/THINK]{GOOD}</s>", ["thinking block", "special token"]),
        (f"<|channel|>analysis<|message|>{OTHER}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
         ["thinking block", "special token"]),
        (f"<think>\nIt names a survey.\n{GOOD}", ["thinking block"]),
        (f"<think>{GOOD}", ["thinking block"]),
        (f"<think>It names {{one}}. ```json\n{GOOD}\n```<|im_end|>", None),
        (f"{GOOD}<|im_end|>", ["special token"]),
        (f"{GOOD}<|eot_id|><|end_of_text|>", ["special token", "special token"]),
        (f"<s>{GOOD}</s>", ["special token", "special token"]),
        (f"{GOOD}<end_of_turn>\n", ["special token"]),
        (f"{GOOD}<｜end▁of▁sentence｜>", ["special token"]),
        (GOOD.replace('"2019"', "2019"), ["unquoted value"]),
        (GOOD.replace('"2019"', "2019.0"), ["unquoted value"]),
        (GOOD.replace('"year"', '"page": {}, "year"'), ["extra key"]),
        (GOOD.replace('"year"', '"explanation": "It is named.", "year"'), ["extra key"]),
        (GOOD.replace('{"data_mentions"', '{"page": 1, "data_mentions"').replace('"year"', '"n": 1, "year"'),
         ["extra key", "extra key"]),
        (GOOD.replace("}]", "},]").replace('"2019",', '"2019" ,'), ["trailing comma"] * 2),
        (json.dumps(GOOD), ["double-encoded text"]),
    ],
)  # fmt: skip
def test_form_is_repaired(content: str, repairs: list[str] | None) -> None:
    answer, done = parsed(content)
    assert answer == parsed(GOOD)[0]
    assert repairs is None or done == repairs


def test_raw_control_characters_in_a_text() -> None:
    sentence = "It uses\n\tthe\x0bKorvian\r\nHousehold Survey."
    raw = extraction("HERE").replace("HERE", sentence)
    assert parsed(raw) == (parsed(extraction(sentence))[0], ["unescaped control character"])


def test_half_a_character_in_a_text() -> None:
    assert parsed(extraction("HERE").replace("HERE", r"a\ud83d b")) == (
        parsed(extraction("a? b"))[0],
        ["broken character"],
    )


@pytest.mark.parametrize("value", [2019, 20.5])
def test_numbers_in_text_fields_are_text(value: object) -> None:
    answer: Any = parsed(extraction(acronym=value))[0]
    assert answer.data_mentions[0].datasets[0].acronym == json.dumps(value)
    correction = {"field": "year", "value": value}
    judged: Any = parsed(judgement({"note": value, "reason": value, "corrections": [correction]}), "judge", 1)[0]
    assert judged.verdicts[0].note == judged.verdicts[0].reason == json.dumps(value)
    assert judged.verdicts[0].corrections[0].value == json.dumps(value)


def test_false_in_an_optional_text_is_null() -> None:
    assert parsed(extraction(acronym=False)) == (parsed(extraction(acronym=None))[0], ["false for null"])


@pytest.mark.parametrize(
    "verdict",
    [{"invalid": True}, {"Valid": False}, {"is_valid": False}, {"status": "rejected"}, {"is_dataset": False},
     {"Context": "background"}, {"other": [1]}, {"reason": False}, {"note": True}],
)  # fmt: skip
def test_a_verdict_with_a_contradiction_is_invalid(verdict: dict[str, Any]) -> None:
    with pytest.raises(InvalidAnswer):
        parsed(judgement(verdict), "judge", 1)


@pytest.mark.parametrize("end", ["", "\\", '"', '"}'])
def test_many_escaped_quotes_take_no_time(end: str) -> None:
    """Quadratic time would be more than a minute."""
    started = time.process_time()
    with pytest.raises(InvalidAnswer):
        parsed('{"a":"' + '\\"' * 90_000 + end)
    assert time.process_time() - started < 5


MENTIONS = json.dumps(json.loads(GOOD)["data_mentions"])


@pytest.mark.parametrize(
    "content",
    [
        f"The format is {NOTHING}. My answer:\n{MENTIONS}",
        f"Draft: {NOTHING}\nFinal: {json.loads(GOOD)!r}",
        f"{NOTHING}\n{json.loads(GOOD)!r}",
        f"{NOTHING}\n{{data_mentions: [{{mentioned_in: 'It uses KHS'}}]}}",
        f"{NOTHING}\n{{“data_mentions”: [{{…}}]}}",
        f"{NOTHING}\n\ndata_mentions:\n- mentioned_in: It uses KHS\n  datasets: [KHS]",
        f"data_mentions:\n- KHS\n\n{NOTHING}",
        f"```json\n{NOTHING}\n```\n```python\n{json.loads(GOOD)!r}\n```",
        f"{NOTHING}\n{MENTIONS}",
        f"{GOOD}\n{{",
        f'{{"data_mentions": [], "datasets": {MENTIONS}}}',
        f'{{"data_mentions": [], "data_mentions_2": {MENTIONS}}}',
        f'{{"answer": {GOOD}, "data_mentions": []}}',
        '{"data_mentions": [], "error": "The page cannot be read."}',
        '{"data_mentions": [], "dataset": "KHS"}',
        f"{GOOD}\n\nWait, this is wrong: the page mentions no dataset.",
        f"{GOOD}\n\nCorrection: data_mentions should be an empty list [].",
        f"{NOTHING}\nActually, the page does mention a survey.",
        f"This would be wrong: {GOOD}",
        f"This would be wrong: {GOOD}. The page has no dataset.",
        f"{GOOD} This is the answer if the page is a dataset page, or not? {GOOD}",
        f"{GOOD}<think>hmm no, there are none",
        f"{GOOD}</think>",
        f"<think>Maybe the answer is {GOOD}",
        f"<think>x</think> The answer is as drafted: {NOTHING}",
        f"Draft: {NOTHING}",
        f"{GOOD} Let me know {{if}} you need more.",
        f'The set {{a, "b"}} is empty. {GOOD}',
        extraction(raw_name=False),
        extraction(raw_name=True),
        extraction(acronym=True),
        extraction(is_dataset=False),
        extraction(rawName="Korvian Census"),
        GOOD.replace('"mentioned_in": "It uses the Korvian Household Survey."', '"mentioned_in": false'),
    ],
)
def test_an_answer_that_may_not_be_meant_is_invalid(content: str) -> None:
    with pytest.raises(InvalidAnswer):
        parsed(content)


@pytest.mark.parametrize(
    "content",
    [
        f"{GOOD} or {OTHER}",
        f"[{GOOD}, {OTHER}]",
        f"{GOOD}\n{NOTHING}",
        f"<think>{GOOD}</think>",
        f"<think>{GOOD}</think> There is nothing.",
        f"<think>A first idea is {GOOD}. But is it a survey?",
        f"<think>A first idea is {OTHER}. No: {GOOD}",
        f"{GOOD} {'However, the name is not that of a survey. ' * 20}",
        f"{GOOD} {OTHER[:-9]}",
        f"{OTHER[:-9]}}} {GOOD}",
        f"<|channel|>analysis<|message|>{GOOD}<|end|>I am not sure.",
        GOOD[:-1],
        f"```json\n{GOOD[:-5]}\n```",
        f'{{"answer": {GOOD}}}',
        f'{{"answer": {GOOD}, broken',
        f"{GOOD.replace('}', ')')}",
        "There is no dataset on this page.",
        "",
        "null",
        "{}",
        extraction(context="main"),
        f"```json\n{extraction(context='main')}\n```",
        f"Here: {extraction(specificity=None)}",
        "```" + GOOD.replace(', "relevance": "directly_relevant"', "") + "```",
        "```" + GOOD.replace('"relevance"', '"relevanse"') + "```",
        extraction(raw_name=None),
        extraction(year=["2019"]),
        extraction(year={"from": 2019}),
        GOOD.replace('"2019"', "NaN"),
        GOOD.replace('"2019"', "1e999"),
        GOOD.replace('"2019"', "9" * 5000),
        '{"a":' * 100_000,
        '{"a":' + "[" * 100_000,
        "{" * 100_000,
        json.dumps(json.dumps("{")),
    ],
)
def test_content_is_not_guessed(content: str) -> None:
    with pytest.raises(InvalidAnswer):
        parsed(content)


@pytest.mark.parametrize("rows", [[], [{"number": 1}], [{"number": 1}, {"number": 1}], [{"number": 1}, {"number": 3}]])
@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "<think>x</think>{}", "Here: {}", "\ufeff{}<|im_end|>"])
def test_every_number_needs_a_verdict_in_every_form(form: str, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidAnswer, match="verdicts missing"):
        parsed(form.replace("{}", judgement(*rows)), "judge", 2)


# Properties

TRICKY = ["{", "}", "[", '"', "\\", "```", "</think>", "<think>", "<|im_end|>", ", }", ",]", "\n", "é", "�", "a", " "]
texts = st.lists(st.sampled_from(TRICKY) | st.text(max_size=3), max_size=6).map("".join)
prose = st.text(st.characters(exclude_characters='{}<>[]`~"◁', exclude_categories=["Cs"]), max_size=50)
lead_ins = st.sampled_from(["", "Sure! ", "Here is the JSON:\n\n", "The extracted dataset mentions are:", "# Answer\n"])
remarks = st.sampled_from(["", "\n", "I hope this helps!", "\n\nPlease let me know if you have any questions.\n"])
thoughts = st.lists(st.sampled_from(["{", "}", GOOD, '"', "```", "hm ", '{"a": 1}']), max_size=5).map("".join)


@st.composite
def answers(draw: st.DrawFn) -> str:
    """An extraction with tricky texts."""
    datasets = draw(st.lists(st.builds(lambda name, year: DATASET | {"raw_name": name, "year": year}, texts, texts)))
    return json.dumps({"data_mentions": [{"datasets": datasets, "mentioned_in": draw(texts)}]}, ensure_ascii=False)


FORMS: list[Callable[[str, str], str]] = [
    lambda answer, said: f"```json\n{answer}\n```",
    lambda answer, said: f"<think>{said}</think>\n{answer}",
    lambda answer, said: f"<think>{said}\n{answer}",
    lambda answer, said: f"{said}</think>{answer}",
    lambda answer, said: f"\ufeff{answer}<|im_end|></s>",
    lambda answer, said: f"<think>{said}</think>\ufeff```json\n{answer}```<|im_end|>",
    lambda answer, said: json.dumps(answer),
]


@given(answers(), prose, st.sampled_from(FORMS))
def test_an_answer_in_any_form_is_the_same_answer(answer: str, said: str, form: Callable[[str, str], str]) -> None:
    assert parsed(form(answer, said))[0] == parsed(answer)[0]


@given(answers(), lead_ins, remarks, st.sampled_from(["{}", "\n```\n{}\n```\n"]))
def test_polite_words_around_an_answer(answer: str, lead_in: str, remark: str, form: str) -> None:
    assert parsed(lead_in + form.replace("{}", answer) + remark)[0] == parsed(answer)[0]


@given(thoughts)
def test_thoughts_do_not_count(said: str) -> None:
    assert parsed(f"<think>{said}</think>{OTHER}")[0] == parsed(OTHER)[0]


@given(st.lists(st.sampled_from([*TRICKY, GOOD, OTHER, GOOD[:90], GOOD[90:], '"data_mentions":', "NaN", r"\ud800"])))
def test_any_text_is_an_answer_or_invalid(parts: list[str]) -> None:
    for process in ("extraction", "judge", "reasoning"):
        try:
            parsed("".join(parts), process, 1)
        except InvalidAnswer as error:
            assert error.kind in ("invalid_json", "invalid_answer")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["data_mentions", "datasets", "raw_name", "year", "verdicts", "number"]), inner
            )
        ),
    )
)
def test_any_json_is_an_answer_or_invalid(value: object) -> None:
    for content in (json.dumps(value), json.dumps({"data_mentions": value}), json.dumps({"verdicts": value})):
        for process in ("extraction", "judge"):
            try:
                parsed(content, process, 1)
            except InvalidAnswer:
                continue


# Commands

PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "reasoning_content": lambda said: {"content": None, "reasoning_content": said},
    "reasoning": lambda said: {"content": "", "reasoning": said},
    "reasoning after thoughts": lambda said: {"content": " ", "reasoning": f"It names a survey.\n{said}"},
    "parts": lambda said: {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                                       {"type": "text", "text": said[:9]}, {"type": "text", "text": said[9:]}]},
    "text parts": lambda said: {"content": [said]},
    "object": lambda said: {"content": json.loads(said)},
    "fence": lambda said: {"content": f"```json\n{said}\n```"},
    "extra keys": lambda said: {"content": f'{{"page": 1, "confidence": 0.5, {said[1:]}'},
}  # fmt: skip


def change_messages(server: Server, change: Callable[[str], dict[str, Any]]) -> None:
    """Every answer of the model is put in another form. The tokens that it may have are not checked."""
    usual = server.answer

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status, reply = usual(body | {"max_tokens": 10_000} if "max_tokens" in body else body)
        for choice in reply.get("choices", ()):
            if choice["message"]["content"].endswith("}"):  # it was not cut off
                choice["message"] = {"role": "assistant", "refusal": None, **change(choice["message"]["content"])}
        return status, reply

    server.answer = answer


@pytest.mark.parametrize("place", PLACES)
def test_batches_with_answers_in_other_places(project: Project, server: Server, place: str) -> None:
    change_messages(server, PLACES[place])
    project.paper("a.pdf", HOUSEHOLDS, CENSUS)
    printed = "".join(project.run(f"run_batch.py --process {process} --wait")
                      for process in ("extraction", "judge", "reasoning"))  # fmt: skip
    assert check_document(project, "a") == 3
    assert "extraction: 2 answers were repaired (" in printed and "judge: 2 answers were repaired (" in printed


def test_repairs_are_counted_in_one_line(project: Project, server: Server) -> None:
    numbers = iter(range(9))

    def change(said: str) -> dict[str, Any]:
        forms = (f'{{"page": 1, {said[1:]}', f'{{"page": 1, {said[1:]}', f"```json\n{said}\n```", said)
        return {"content": forms[next(numbers)]}

    server.polls_to_complete = 0
    change_messages(server, change)
    project.paper("a.pdf", *(f"{HOUSEHOLDS} {n}" for n in range(4)))
    project.run("run_batch.py --process extraction")
    printed = project.run("retrieve_results.py --process extraction")
    assert "extraction: 3 answers were repaired (2 extra keys, 1 Markdown fence)\n" in printed
    assert "repaired" not in project.run("retrieve_results.py --process extraction")


def test_one_repaired_answer_and_imported_results(project: Project, server: Server) -> None:
    server.polls_to_complete = 0
    change_messages(server, lambda said: {"content": f"\ufeff{said}"})
    project.paper("a.pdf", HOUSEHOLDS)
    project.run("run_batch.py --process extraction")
    line = "extraction: 1 answer was repaired (1 byte order mark)\n"
    assert line in project.run("retrieve_results.py --process extraction")
    (result,) = (project.output / "batches" / "extraction").glob("*.output.jsonl")
    rows = result.read_bytes()
    (project.folder / "saved.jsonl").write_bytes(rows)
    for path in project.output.glob("ledger.sqlite*"):
        path.unlink()
    printed = project.run(f"retrieve_results.py --process extraction --results {project.folder / 'saved.jsonl'}")
    assert line in printed


def test_answers_that_stay_invalid_are_not_counted_as_repaired(project: Project, server: Server) -> None:
    server.answer = lambda body: (200, completion(body, f"```json\n{extraction(context='main')}\n```"))
    project.paper("a.pdf", HOUSEHOLDS)
    printed = project.run("run_batch.py --process extraction --wait", expect=3)
    assert "failed:invalid_answer" in printed and "repaired" not in printed
