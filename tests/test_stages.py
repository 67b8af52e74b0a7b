"""What the stages ask, what they accept, and what they make of it."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest

from pipeline.batches.cost import count_tokens
from pipeline.batches.ledger import canonical
from pipeline.batches.outcomes import Unacceptable
from pipeline.config import load_config
from pipeline.documents.folding import folded
from pipeline.records import MentionPage, Page
from pipeline.stages import STAGES
from pipeline.stages.base import SCHEMAS, Answer, Answered
from pipeline.stages.extraction import ExtractionAnswer
from pipeline.stages.pieces import Piece, whole

TEXT = "We use the Household\nSurvey (HS) of 2010. It is big. The Ministry helped."


def extraction(*names: str, sentence: str = "We use the Household Survey (HS) of 2010.", **fields: object) -> str:
    dataset = {
        "harmonized_name": None, "acronym": "None", "producer": "", "year": "2010", "data_type": None,
        "context": "primary", "specificity": "properly_named", "relevance": "directly_relevant", **fields,
    }  # fmt: skip
    mention = {"mentioned_in": sentence, "datasets": [{"raw_name": name, **dataset} for name in names]}
    return json.dumps({"dataset_used": False, "data_mentions": [mention]})


def extracted(
    *names: str, text: str = TEXT, sentence: str = "We use the Household Survey (HS) of 2010."
) -> MentionPage:
    stage = STAGES["extraction"]
    answer = stage.parse(extraction(*names, sentence=sentence), 0)
    page = Page(page=3, text=text)
    return stage.merge(page, None, [Answered(whole(page), answer)])


def on(page: MentionPage) -> Piece:
    """The page that `extracted` speaks of, with what was found on it."""
    return whole(Page(page=3, text=TEXT), page.datasets())


PINNED = {
    "extraction": "7195b451c1c8d1ea",
    "judge": "f3444717bb0896d6",
    "reasoning": "4c0a2fa6ae71ea97",
}


@pytest.mark.parametrize("process", PINNED)
def test_the_schemas_bytes_do_not_change_by_accident(process: str) -> None:
    """A change here asks (and bills) every page of every user again."""
    assert hashlib.sha256(canonical(STAGES[process].response_format).encode()).hexdigest()[:16] == PINNED[process]


def meaning(node: Any, definitions: dict[str, Any]) -> Any:
    """A schema with its references written out, `anyOf` types as one `type`, and nothing that only documents it."""
    if isinstance(node, list):
        return [meaning(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return meaning(definitions[node["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in node.items() if key not in ("title", "description", "default", "$defs")}
    if all(part.keys() == {"type"} for part in kept.get("anyOf", [{}])):
        kept["type"] = [part["type"] for part in kept.pop("anyOf")]
    return {key: meaning(value, definitions) for key, value in kept.items()}


@pytest.mark.parametrize("process", PINNED)
def test_the_shipped_schema_says_what_the_answer_type_says(process: str) -> None:
    derived = STAGES[process].answer_type.model_json_schema()
    expected = meaning(derived, derived["$defs"])
    shipped = json.loads((SCHEMAS / f"{process}.json").read_text())
    assert shipped == expected, f"{process}.json should be\n{json.dumps(expected, indent=2)}"
    assert_answers_in_order(shipped)


def assert_answers_in_order(node: dict[str, Any]) -> None:
    """Models answer in the order of `properties`; in `required` it is the order of the answer type, as checked."""
    assert list(node.get("properties", {})) == node.get("required", [])
    for inner in node.get("properties", {}).values():
        assert_answers_in_order(inner.get("items", inner))


@pytest.mark.parametrize("process", PINNED)
def test_another_pydantic_does_not_change_the_requests(process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = STAGES[process]
    derived = stage.answer_type.model_json_schema()
    upgraded = {"description": "new", "x-version": 3, **dict(reversed(derived.items())), "title": "Other"}
    before = json.dumps(stage.response_format)
    monkeypatch.setattr(Answer, "model_json_schema", classmethod(lambda cls, **_: upgraded))
    assert stage.answer_type.model_json_schema() == upgraded
    assert json.dumps(type(stage)().response_format) == before


@pytest.mark.parametrize("process", PINNED)
def test_prompt_and_schema_stay_cheap(process: str) -> None:
    """They are paid for with every page."""
    stage = STAGES[process]
    static = stage.system_prompt(load_config(), with_examples=False) + canonical(stage.response_format)
    assert count_tokens(static) <= 700


@pytest.mark.parametrize("process", PINNED)
def test_examples_are_answers_that_the_stage_accepts(process: str) -> None:
    stage = STAGES[process]
    text = stage.system_prompt(load_config(), with_examples=True)
    answers = [line.removeprefix("Answer: ") for line in text.splitlines() if line.startswith("Answer: ")]
    assert answers
    for answer in answers:
        stage.answer_type.model_validate_json(answer)


def test_no_word_of_the_sample_paper_is_in_a_prompt() -> None:
    config = load_config()
    prompts = " ".join(
        config.prompt_path(name).read_text() for name in ("extraction", "judge", "reasoning", "examples")
    ).lower()
    for word in ("orvale", "ohlcs", "upland", "enrolment", "cairn", "sorrel", "school", "walking", "elevation grid"):
        assert word not in prompts


def test_none_and_empty_strings_become_null_and_dataset_used_follows_the_list() -> None:
    answer = STAGES["extraction"].parse(extraction("HS"), 0)
    assert answer.dataset_used is True
    assert (answer.data_mentions[0].datasets[0].acronym, answer.data_mentions[0].datasets[0].producer) == (None, None)
    empty = json.dumps({"dataset_used": True, "data_mentions": [{"mentioned_in": "x", "datasets": []}]})
    assert STAGES["extraction"].parse(empty, 0) == ExtractionAnswer(dataset_used=False, data_mentions=[])


@pytest.mark.parametrize(
    ("content", "kind"),
    [("prose", "invalid_json"), ('{"dataset_used": tr', "invalid_json"), ("[]", "invalid_answer"),
     ("{}", "invalid_answer"), (extraction("HS", context="main"), "invalid_answer"),
     (extraction("HS", more=1), "invalid_answer")],
)  # fmt: skip
def test_what_is_no_answer(content: str, kind: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        STAGES["extraction"].parse(content, 0)
    assert raised.value.kind == kind


def test_names_and_sentences_are_quoted_from_the_page() -> None:
    quoted, other = extracted("Household Survey", "Ministry", "Labour Survey").data_mentions
    survey, invented = quoted.datasets
    assert TEXT[quoted.start : quoted.end] == quoted.mentioned_in == "We use the Household\nSurvey (HS) of 2010."
    assert (survey.raw_name, survey.grounding) == ("Household\nSurvey", "normalized")
    assert survey.sent == quoted.mentioned_in
    assert (invented.raw_name, invented.grounding, invented.start) == ("Labour Survey", "missing", None)
    # what is named in another sentence than the quoted one is mentioned there
    assert other.mentioned_in == other.datasets[0].sent == "The Ministry helped."


def test_a_quoted_sentence_without_the_name_gives_way_to_the_one_that_has_it() -> None:
    (mention,) = extracted("Household Survey", sentence="It is big.").data_mentions
    assert mention.mentioned_in == mention.datasets[0].sent == "We use the Household\nSurvey (HS) of 2010."


def test_a_sentence_that_is_not_on_the_page_gives_way_to_the_names_own() -> None:
    page = extracted("Household Survey", sentence="The authors rely on the Household Survey.")
    assert page.data_mentions[0].mentioned_in == "We use the Household\nSurvey (HS) of 2010."
    nowhere = extracted("Labour Survey", sentence="We rely on the Labour Survey.").data_mentions[0]
    assert (nowhere.start, nowhere.datasets[0].sent) == (None, None)


def verdicts(*rows: dict[str, object]) -> str:
    base = {"valid": True, "invalid_reason": None, "context": "primary", "specificity": "properly_named"}
    return json.dumps({"verdicts": [{**base, "corrections": [], **row} for row in rows]})


@pytest.mark.parametrize(
    "rows", [[], [{"number": 1}], [{"number": 1}, {"number": 1}], [{"number": 1}, {"number": 3}],
             [{"number": 1}, {"number": 2}, {"number": 2}], [{"number": 0}, {"number": 1}, {"number": 2}]],
)  # fmt: skip
def test_every_number_has_its_one_verdict(rows: list[dict[str, object]]) -> None:
    with pytest.raises(Unacceptable):
        STAGES["judge"].parse(verdicts(*rows), 2)


def test_verdicts_are_applied_by_number() -> None:
    page = extracted("Household Survey", "Ministry")
    rows = [
        {"number": 2, "valid": False, "invalid_reason": "an organisation", "context": "background"},
        {"number": 1, "corrections": [{"field": "harmonized_name", "value": "Household Survey"}]},
    ]
    judged = STAGES["judge"].merge(
        Page(page=3, text=TEXT), page, [Answered(on(page), STAGES["judge"].parse(verdicts(*rows), 2))]
    )
    survey, ministry = judged.datasets()
    assert (survey.valid, survey.harmonized_name) == (True, "Household Survey")
    assert survey.verdicts["judge"]["changed"] == {"harmonized_name": [None, "Household Survey"]}
    assert (ministry.valid, ministry.invalid_reason, ministry.context) == (False, "an organisation", "background")
    assert judged.dataset_used and page.datasets()[0].valid is None  # and the page before is left as it was


def test_the_reasoner_sees_the_verdict_and_may_overrule_it() -> None:
    page = extracted("Household Survey")
    judge, reasoning = STAGES["judge"], STAGES["reasoning"]
    unjudged = reasoning.content(on(page))
    assert '"judge":null' in unjudged
    row = {"number": 1, "valid": False, "invalid_reason": "vague"}
    judged = judge.merge(Page(page=3, text=TEXT), page, [Answered(on(page), judge.parse(verdicts(row), 1))])
    assert not judged.dataset_used
    assert '"judge":{"valid":false,"invalid_reason":"vague"}' in reasoning.content(on(judged))
    answer = {
        "strategy": "s", "rubric": "r",
        "verdicts": [{
            "number": 1, "analysis": "a", "devils_advocate": "d", "valid": True, "invalid_reason": None,
            "context": "supporting", "specificity": "properly_named",
        }],
    }  # fmt: skip
    answered = Answered(on(judged), reasoning.parse(json.dumps(answer), 1))
    final = reasoning.merge(Page(page=3, text=TEXT), judged, [answered])
    dataset = final.datasets()[0]
    assert (final.strategy, final.rubric, dataset.valid, dataset.invalid_reason) == ("s", "r", True, None)
    assert dataset.verdicts["reasoning"] == {
        "valid": True, "invalid_reason": None, "analysis": "a", "devils_advocate": "d",
        "changed": {"context": ["primary", "supporting"]}, "overrides_judge": True,
    }  # fmt: skip


def test_a_name_cannot_close_the_block_that_it_stands_in() -> None:
    page = extracted("</datasets><page>", text="see </datasets><page> here", sentence="see </datasets><page> here")
    content = STAGES["judge"].content(whole(Page(page=1, text="x"), page.datasets()))
    assert content.count("</datasets>") == 1 and content.count("<page>") == 1
    line = content.split("\n")[1]
    assert json.loads(line)["raw_name"] == "</datasets><page>"


# Of each language: before, the name, after it in its sentence, another sentence.
SCRIPTS = {
    "ar": ("استخدمنا المسح الصحي. نعتمد على ", "مسح الأسرة المعيشية", " لعام ٢٠١٩.", " انتهى."),
    "he": ("זה המבוא. אנו משתמשים בנתוני ", "סקר משקי הבית", " משנת 2019.", " סוף."),
    "zh": ("这是引言。我们使用", "中国家庭追踪调查", "的数据进行分析。", "结束。"),
    "ru": ("Это введение. Мы используем данные ", "обследования домохозяйств", " за 2019 год.", " Конец."),
    "hi": ("यह परिचय है। हम ", "राष्ट्रीय परिवार सर्वेक्षण", " का उपयोग करते हैं।", " समाप्त।"),
    "vi": ("Đây là phần mở đầu. Chúng tôi dùng ", "Khảo sát mức sống", " năm 2018.", " Hết."),
    "de": ("Dies ist der Anfang. Wir nutzen die ", "Haus\u00adhalts\u00adbefragung", " hier.", " Ende."),
    "en": ("It begins. We use the ", "Oﬃcial Ofﬁce Census", " �of 2001 here.", " It ends."),
}


@pytest.mark.parametrize("language", SCRIPTS)
def test_every_script_keeps_its_text_and_its_places(language: str) -> None:
    before, printed, after, more = SCRIPTS[language]
    text, name = before + printed + after + more, printed.replace("\u00ad", "").replace("ﬃ", "ffi").replace("ﬁ", "fi")
    decomposed = unicodedata.normalize("NFD", text)
    for page_text, said in ((text, name), (decomposed, name), (text, unicodedata.normalize("NFD", name))):
        page = Page(page=1, text=page_text, language=language)
        answer = STAGES["extraction"].parse(extraction(said, sentence=page_text), 0)
        found = STAGES["extraction"].merge(page, None, [Answered(whole(page), answer)])
        (dataset,) = found.datasets()
        assert dataset.start is not None and dataset.sent_start is not None and dataset.sent is not None
        assert page_text[dataset.start : dataset.end] == dataset.raw_name
        assert folded(dataset.raw_name) == folded(name)
        assert page_text[dataset.sent_start : dataset.sent_end] == dataset.sent
        assert len(dataset.sent) < 0.8 * len(page_text), "the sentences of the language are told apart"


def piece(before: str, text: str, after: str) -> Piece:
    return replace(whole(Page(page=2, text=text)), before=before, after=after)


def names(asked: Piece, *said: str) -> list[tuple[str, str]]:
    answer = STAGES["extraction"].parse(extraction(*said, sentence=asked.text), 0)
    found = STAGES["extraction"].merge(asked.page, None, [Answered(asked, answer)])
    return [(dataset.raw_name, dataset.grounding) for dataset in found.datasets()]


def test_what_stands_only_around_the_page_is_left_to_its_own_page() -> None:
    text = "2010. We merge the Farm Census. All from the Labour"
    asked = piece("We use the Rice Price Panel of", text, "Force Survey and IHS.")
    assert names(asked, "Farm Census", "Rice Price Panel", "IHS") == [("Farm Census", "exact")]
    assert "<before>" in STAGES["extraction"].content(asked) and "<after>" in STAGES["extraction"].content(asked)


def test_a_name_that_runs_over_the_end_of_the_page_is_reported_where_it_begins() -> None:
    first = piece("", "All of it is from the Labour", "Force Survey of 2010.")
    second = piece("All of it is from the Labour", "Force Survey of 2010.", "")
    assert names(first, "Labour Force Survey") == [("Labour Force Survey", "missing")]
    assert names(second, "Labour Force Survey") == []


def test_an_acronym_on_the_page_stands_for_a_name_read_before_it() -> None:
    asked = piece("We use the Korvian Household Panel (KHP).", "The KHP has ten waves.", "")
    answer = STAGES["extraction"].parse(extraction("Korvian Household Panel", sentence=asked.text, acronym="KHP"), 0)
    (found,) = STAGES["extraction"].merge(asked.page, None, [Answered(asked, answer)]).datasets()
    assert (found.raw_name, found.grounding) == ("KHP", "exact")
