"""Questions that the stages ask, answers that they accept, and how they merge them into pages."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpe_openai
import pytest
from conftest import Project
from server import Server

from pipeline.batches.requests import RequestBuilder
from pipeline.config import load_config
from pipeline.processes import PROCESSES
from pipeline.providers.openai import OpenAIProvider
from pipeline.records import CLASS_FIELDS, DATASET_FIELDS, TEXT_FIELDS, Dataset, Document, MentionPage, Page, PageText
from pipeline.stages import get_stage
from pipeline.stages.base import SCHEMAS, Answered, AskRules, InvalidAnswer
from pipeline.stages.blocks import ABOUT_CONTEXT
from pipeline.stages.extraction import ExtractionAnswer
from pipeline.stages.judge import Judgement
from pipeline.stages.reasoning import Reasoned
from pipeline.text.chunks import Chunk, Chunking, whole_page
from pipeline.text.normalize import normalized
from pipeline.text.tokens import count_tokens
from pipeline.workspace import Workspace

TEXT = "We use the Household\nSurvey (HS) of 2010. It is big. The Ministry helped."


def extraction(*names: str, sentence: str = "We use the Household Survey (HS) of 2010.", **fields: object) -> str:
    """An extraction answer with these names in one passage."""
    dataset = {
        "harmonized_name": None, "acronym": "None", "producer": "", "year": "2010", "data_type": None,
        "geography": None, "context": "primary", "specificity": "properly_named", "relevance": "directly_relevant",
        **fields,
    }  # fmt: skip
    passage = {"mentioned_in": sentence, "datasets": [{"raw_name": name, **dataset} for name in names]}
    return json.dumps({"data_mentions": [passage]})


def extracted(
    *names: str, text: str = TEXT, sentence: str = "We use the Household Survey (HS) of 2010."
) -> MentionPage:
    """A page after the extraction."""
    stage = get_stage("extraction")
    page = Page(page=3, text=text)
    answered = Answered(whole_page(page), stage.parse(extraction(*names, sentence=sentence), 0))
    return stage.merge(page_text(text), page, None, [answered])


def about_all(page: MentionPage, text: str = TEXT) -> Chunk:
    """The whole page as a question about all datasets that were found on it."""
    found = page.datasets()
    return whole_page(Page(page=3, text=text)).about(found, range(len(found)))


# The answer schemas. Requests are identified by their bytes: a change here asks (and bills) every page of every user
# again.

SCHEMA_FILES = {
    "extraction": "ae5e194a633ad968d41045bd30f7058862be3ca0e6ce38e668166c90b15bd956",
    "judge": "e1a9669aafb9ae500992d2227ee436d0e58e79edb8d2e622eb653f7c3ae84804",
    "reasoning": "854ebd7fdef6cf3b0a3a39e4900bb08886e5682356e3141754ccf3d9489a4efd",
}
SENT_SCHEMAS = {
    "extraction": "4d5dc9bb270b2a3d",
    "judge": "9f64a3a431b65ea5",
    "reasoning": "1fe2a0bd92614942",
}


@pytest.mark.parametrize("process", PROCESSES)
def test_schema_files_do_not_change(process: str) -> None:
    assert hashlib.sha256((SCHEMAS / f"{process}.json").read_bytes()).hexdigest() == SCHEMA_FILES[process]


@pytest.mark.parametrize("process", PROCESSES)
def test_hash_of_the_sent_schema_does_not_change(process: str, tmp_path: Path) -> None:
    config = load_config()
    provider = OpenAIProvider(config, Workspace(tmp_path))
    recipe = RequestBuilder.make(get_stage(process), provider, config).recipe
    assert recipe.schema_sha256[:16] == SENT_SCHEMAS[process]


def test_sent_schemas_are_those_of_the_files(project: Project, server: Server) -> None:
    project.paper("a.pdf", "We use the Korvian Household Survey here.")
    project.run("run_batch.py --process all")
    sent = {}
    for batch in server.batches.values():
        for custom_id, body in batch.lines:
            assert body["response_format"]["type"] == "json_schema" and body["response_format"]["json_schema"]["strict"]
            # Dumped, because the order of the keys counts: models answer in that order.
            sent[custom_id.partition("-")[0]] = json.dumps(body["response_format"]["json_schema"]["schema"])
    assert sent == {process: json.dumps(json.loads((SCHEMAS / f"{process}.json").read_text())) for process in PROCESSES}


def simplified(node: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references and documentation, with `anyOf` types as one `type`."""
    if isinstance(node, list):
        return [simplified(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return simplified(definitions[node["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in node.items() if key not in ("title", "description", "default", "$defs")}
    parts = [simplified(part, definitions) for part in kept.pop("anyOf", ())]
    if parts:
        kept["type"] = [part["type"] for part in parts]
        for part in parts:
            if "enum" in part:
                kept["enum"] = [*part["enum"], None]
    return {key: simplified(value, definitions) for key, value in kept.items()}


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All objects of a schema, outermost first."""
    yield schema
    for value in schema["properties"].values():
        if value["type"] == "array":
            yield from objects(value["items"])


@pytest.mark.parametrize("process", PROCESSES)
def test_schema_agrees_with_the_answer_type(process: str) -> None:
    """The same properties in the same order, all of them required, with the same types and values."""
    derived = get_stage(process).answer_type.model_json_schema()
    expected = simplified(derived, derived["$defs"])
    shipped = json.loads((SCHEMAS / f"{process}.json").read_text())
    # Validators of the answer type check these, and pydantic does not derive them.
    for node in objects(expected):
        node["required"] = list(node["properties"])
        if "field" in node["properties"]:
            node["properties"]["field"]["enum"] = list(TEXT_FIELDS)
        if process == "extraction":
            for name in {"context", "specificity"} & node["properties"].keys():
                node["properties"][name] = {"type": "string", "enum": list(CLASS_FIELDS[name])}
    assert shipped == expected, f"{process}.json should be\n{json.dumps(expected, indent=2)}"
    # Models answer in the order of `properties`, and comparing dictionaries ignores it.
    assert all(list(node["properties"]) == node["required"] for node in objects(shipped))


def sample(node: dict[str, Any]) -> Any:
    """A value that a schema allows."""
    if "enum" in node:
        return node["enum"][0]
    if node["type"] == "object":
        return {name: sample(value) for name, value in node["properties"].items()}
    if node["type"] == "array":
        return [sample(node["items"])]
    return {"string": "x", "boolean": True, "integer": 1}.get(node["type"] if isinstance(node["type"], str) else "")


def innermost(answer: Any, key: str) -> dict[str, Any]:
    """The object in an answer that has this key."""
    if isinstance(answer, list):
        return innermost(answer[0], key)
    if key in answer:
        return answer
    return innermost(next(value for value in answer.values() if isinstance(value, list)), key)


@pytest.mark.parametrize("process", PROCESSES)
def test_answers_need_every_key_of_the_schema_and_lose_others(process: str) -> None:
    stage = get_stage(process)
    stage.parse(json.dumps(sample(stage.schema)), 1)
    for node in objects(stage.schema):
        for key in node["properties"]:
            answer = sample(stage.schema)
            del innermost(answer, key)[key]
            if key in TEXT_FIELDS:  # null then: requests that were sent before a field existed do not ask for it
                stage.parse(json.dumps(answer), 1)
                continue
            with pytest.raises(InvalidAnswer):
                stage.parse(json.dumps(answer), 1)
        answer = sample(stage.schema)
        innermost(answer, next(iter(node["properties"])))["another"] = "x"
        assert stage.parse(json.dumps(answer), 1) == stage.parse(json.dumps(sample(stage.schema)), 1)


def with_value(schema: dict[str, Any], key: str, value: object) -> str:
    answer = sample(schema)
    innermost(answer, key)[key] = value
    return json.dumps(answer)


@pytest.mark.parametrize("process", PROCESSES)
def test_answers_may_have_the_values_of_the_schema_and_no_other(process: str) -> None:
    stage = get_stage(process)
    for key, value_schema in [item for node in objects(stage.schema) for item in node["properties"].items()]:
        allowed = value_schema.get("enum", [])
        for value in allowed:
            stage.parse(with_value(stage.schema, key, value), 1)
        for value in {"other", *DATASET_FIELDS} - set(allowed) if allowed else [[[]]]:
            with pytest.raises(InvalidAnswer):
                stage.parse(with_value(stage.schema, key, value), 1)


# Questions


def page_text(*texts: str) -> PageText:
    pages = [Page(page=number, text=text) for number, text in enumerate(texts, start=1)]
    return PageText(source="a", file="a.pdf", sha256="0" * 64, n_pages=len(pages), pages=pages)


def test_skipped_page_kinds_are_not_asked() -> None:
    text = page_text("We use the Household Survey.", "Writer, A. (2001). A paper.", "Chapter 1 ... 7")
    text.pages[1].kind, text.pages[2].kind = "references", "contents"

    def asked(skip: Collection[str]) -> list[int]:
        return [page.page for page in text.pages if get_stage("extraction").obstacle(page, None, skip) is None]

    assert asked(()) == [1, 2, 3]
    assert asked({"references"}) == [1, 3]
    assert asked({"references", "contents"}) == [1]


def test_skip_pages_setting_decides_which_pages_are_asked() -> None:
    config = load_config()
    assert AskRules.of(config).skip == {"references", "contents", "blank"}
    assert AskRules.of(config.model_copy(update={"skip_pages": set()})).skip == set()


@pytest.mark.parametrize("process", ["judge", "reasoning"])
def test_question_about_datasets_contains_their_sentence(process: str) -> None:
    page = extracted("Household Survey", "Ministry", "Labour Survey")
    lines = get_stage(process).content(about_all(page)).split("\n")
    shown = [json.loads(line) for line in lines[1:4]]
    assert lines[0] == "<datasets>" and lines[4:] == ["</datasets>", "<page>", *TEXT.split("\n"), "</page>"]
    assert [row["number"] for row in shown] == [1, 2, 3]
    # The sentence is shown on one line; the page itself has the line breaks. A name that is not on the page was quoted
    # in the same passage as the first.
    sentence = "We use the Household Survey (HS) of 2010."
    assert [row["sentence"] for row in shown] == [sentence, sentence, "The Ministry helped."]
    assert all("start" not in row and "grounding" not in row for row in shown)


def test_question_says_what_the_context_is_for() -> None:
    text = page_text("The Labour Force Panel of", "2010 is used. We merge the", "Farm Census with it.")
    (ask,) = get_stage("extraction").asks(text, text.pages[1:2], None, Chunking(None, 12))
    assert "occur only there" in ABOUT_CONTEXT and "<before> and <after>" in ABOUT_CONTEXT
    assert ask.content == (
        f"{ABOUT_CONTEXT}\n<before>\nPanel of\n</before>\n<page>\n2010 is used. We merge the\n</page>\n"
        "<after>\nFarm Census\n</after>"
    )
    (without,) = get_stage("extraction").asks(text, text.pages[1:2], None, Chunking())
    assert without.content == "<page>\n2010 is used. We merge the\n</page>"


SURVEY = Dataset(raw_name="Household\nSurvey", start=11, end=27, sent="We use it.", year="2010")
OTHER = Dataset(raw_name="HS", start=29, end=31, sent="We use it.")
ASKED = replace(
    whole_page(Page(page=3, text=TEXT)), before="before", after="after", datasets=(SURVEY, OTHER), places=(0, 1)
)


@pytest.mark.parametrize("process", ["judge", "reasoning"])
@pytest.mark.parametrize(
    ("changed", "total"),
    [
        (replace(ASKED, page=Page(page=3, text=TEXT + " ")), 2),
        (replace(ASKED, start=1), 2),
        (replace(ASKED, end=len(TEXT) - 1), 2),
        (replace(ASKED, before="other"), 2),
        (replace(ASKED, after="other"), 2),
        (replace(ASKED, datasets=(SURVEY,)), 2),
        (replace(ASKED, datasets=(OTHER, SURVEY)), 2),
        (replace(ASKED, datasets=(SURVEY.model_copy(update={"year": "2011"}), OTHER)), 2),
        (replace(ASKED, datasets=(SURVEY.model_copy(update={"sent": "Another sentence."}), OTHER)), 2),
        (ASKED, 3),
    ],
    ids=["text", "start", "end", "before", "after", "fewer", "order", "field", "sentence", "total"],
)
def test_input_hash_depends_on_everything_that_is_asked(process: str, changed: Chunk, total: int) -> None:
    stage = get_stage(process)
    before = stage.input_hash(ASKED, 2)
    assert stage.input_hash(replace(ASKED, page=Page(page=3, text=TEXT)), 2) == before
    assert stage.input_hash(changed, total) != before


def test_input_hash_of_the_reasoning_depends_on_the_verdict_of_the_judge() -> None:
    judged = SURVEY.model_copy(update={"verdicts": {"judge": {"valid": False, "invalid_reason": "a report"}}})
    stage = get_stage("reasoning")
    assert stage.input_hash(replace(ASKED, datasets=(judged, OTHER)), 2) != stage.input_hash(ASKED, 2)


def test_judge_is_asked_about_the_datasets_of_the_extraction() -> None:
    text, found = page_text(TEXT), extracted("Household Survey", "Ministry").model_copy(update={"page": 1})
    before = Document(source="a", process="extraction", page_status={"1": "answered"}, pages=[found])
    (ask,) = get_stage("judge").asks(text, text.pages, before, Chunking())
    assert (ask.page, ask.part, ask.start, ask.end, ask.datasets) == (1, 0, 0, len(TEXT), (0, 1))
    assert ask.input_hash == get_stage("judge").input_hash(about_all(found), 2)


# Answers


def test_none_and_empty_strings_become_null() -> None:
    answer = get_stage("extraction").parse(extraction("HS"), 0)
    assert (answer.data_mentions[0].datasets[0].acronym, answer.data_mentions[0].datasets[0].producer) == (None, None)
    empty = json.dumps({"data_mentions": [{"mentioned_in": "x", "datasets": []}]})
    assert get_stage("extraction").parse(empty, 0) == ExtractionAnswer(data_mentions=[])


@pytest.mark.parametrize(
    ("content", "kind"),
    [("prose", "invalid_json"), ('{"data_mentions": [', "invalid_json"), ("[]", "invalid_answer"),
     ("{}", "invalid_answer"), (extraction("HS", context="main"), "invalid_answer"),
     (extraction("HS", context=None), "invalid_answer"), (extraction("HS", specificity=None), "invalid_answer")],
)  # fmt: skip
def test_invalid_answers(content: str, kind: str) -> None:
    with pytest.raises(InvalidAnswer) as raised:
        get_stage("extraction").parse(content, 0)
    assert raised.value.kind == kind


def test_names_and_sentences_are_taken_from_the_page() -> None:
    quoted, other = extracted("Household Survey", "Ministry", "Labour Survey").data_mentions
    survey, invented = quoted.datasets
    assert TEXT[quoted.start : quoted.end] == quoted.mentioned_in == "We use the Household\nSurvey (HS) of 2010."
    assert (survey.raw_name, survey.grounding) == ("Household\nSurvey", "normalized")
    assert survey.sent == quoted.mentioned_in
    assert (invented.raw_name, invented.grounding, invented.start) == ("Labour Survey", "missing", None)
    # A name that occurs in another sentence than the quoted one gets a passage of its own.
    assert other.mentioned_in == other.datasets[0].sent == "The Ministry helped."


def test_quoted_sentence_without_the_name_is_replaced() -> None:
    (mention,) = extracted("Household Survey", sentence="It is big.").data_mentions
    assert mention.mentioned_in == mention.datasets[0].sent == "We use the Household\nSurvey (HS) of 2010."


def test_quoted_sentence_that_is_not_on_the_page_is_replaced() -> None:
    page = extracted("Household Survey", sentence="The authors rely on the Household Survey.")
    assert page.data_mentions[0].mentioned_in == "We use the Household\nSurvey (HS) of 2010."
    nowhere = extracted("Labour Survey", sentence="We rely on the Labour Survey.").data_mentions[0]
    assert (nowhere.start, nowhere.datasets[0].sent) == (None, None)


def verdicts(*rows: dict[str, object]) -> str:
    base = {"reason": "r", "valid": True, "note": None, "context": "primary", "specificity": "properly_named"}
    return json.dumps({"verdicts": [{**base, "corrections": [], **row} for row in rows]})


STORED = {"dataset_used": True, "data_mentions": [{"mentioned_in": "We use it.", "datasets": [{"raw_name": "HS"}]}]}


def test_stored_answers_may_lack_fields_that_are_newer() -> None:
    """The ledger keeps accepted answers. A new answer must have all fields."""
    stage = get_stage("extraction")
    assert isinstance(stored := stage.load(json.dumps(STORED)), ExtractionAnswer)
    assert stored.data_mentions[0].datasets[0].relevance == "directly_relevant"
    with pytest.raises(InvalidAnswer, match="relevance"):
        stage.parse(json.dumps(STORED), 0)


@pytest.mark.parametrize(
    "rows", [[], [{"number": 1}], [{"number": 1}, {"number": 1}], [{"number": 1}, {"number": 3}],
             [{"number": 1}, {"number": 2}, {"number": 2}], [{"number": 0}, {"number": 1}, {"number": 2}]],
)  # fmt: skip
def test_every_number_needs_exactly_one_verdict(rows: list[dict[str, object]]) -> None:
    with pytest.raises(InvalidAnswer):
        get_stage("judge").parse(verdicts(*rows), 2)


def test_verdicts_are_applied_by_number() -> None:
    page = extracted("Household Survey", "Ministry")
    rows = [
        {"number": 2, "valid": False, "reason": "an organisation", "context": "background"},
        {"number": 1, "corrections": [{"field": "harmonized_name", "value": "Household Survey"}]},
    ]
    judged = merged("judge", page, verdicts(*rows))
    survey, ministry = judged.datasets()
    assert (survey.valid, survey.harmonized_name) == (True, "Household Survey")
    assert survey.verdicts["judge"]["changed"] == {"harmonized_name": [None, "Household Survey"]}
    assert (ministry.valid, ministry.invalid_reason, ministry.context) == (False, "an organisation", "background")
    assert judged.dataset_used and page.datasets()[0].valid is None  # the page of the extraction is unchanged


def merged(process: str, page: MentionPage, content: str, text: str = TEXT) -> MentionPage:
    """The page after an answer about all its datasets."""
    stage = get_stage(process)
    answered = Answered(about_all(page, text), stage.parse(content, len(page.datasets())))
    return stage.merge(page_text(text), Page(page=3, text=text), page, [answered])


REASONED = {
    "number": 1, "analysis": "a", "devils_advocate": "d", "reason": "r", "valid": True,
    "context": "supporting", "specificity": "properly_named",
}  # fmt: skip


def reasoned(**changes: object) -> str:
    return json.dumps({"strategy": "s", "rubric": "r", "verdicts": [{**REASONED, **changes}]})


@pytest.mark.parametrize(
    ("valid", "written", "kept"),
    [
        (True, "it is named", None),
        (True, "", None),
        (False, "a report", "a report"),
        (False, "", "no reason given"),
        (False, "None", "no reason given"),
    ],
)
def test_every_verdict_keeps_its_reason(valid: bool, written: str, kept: str | None) -> None:
    """`invalid_reason` is the reason of the last stage, if it has rejected the dataset."""
    page = extracted("Household Survey")
    said = {"number": 1, "valid": valid, "reason": written}
    for process, content in (("judge", verdicts(said)), ("reasoning", reasoned(**said))):
        (dataset,) = merged(process, page, content).datasets()
        assert (dataset.valid, dataset.invalid_reason) == (valid, kept)
        assert (dataset.verdicts[process]["valid"], dataset.verdicts[process]["reason"]) == (valid, written)


def test_note_of_the_judge_is_kept_until_the_mention_is_rejected() -> None:
    page = extracted("Household Survey")
    judged = merged("judge", page, verdicts({"number": 1, "note": "name to be confirmed"}))
    assert judged.datasets()[0].note == judged.datasets()[0].verdicts["judge"]["note"] == "name to be confirmed"
    assert '"note":"name to be confirmed"' in get_stage("reasoning").content(about_all(judged))
    assert merged("reasoning", judged, reasoned()).datasets()[0].note == "name to be confirmed"
    assert merged("reasoning", judged, reasoned(valid=False)).datasets()[0].note is None
    rejected = merged("judge", page, verdicts({"number": 1, "valid": False, "note": "name to be confirmed"}))
    assert rejected.datasets()[0].note is None


def test_reasoning_sees_the_verdict_of_the_judge_and_may_override_it() -> None:
    page, reasoning = extracted("Household Survey"), get_stage("reasoning")
    assert '"judge":null' in reasoning.content(about_all(page))
    judged = merged("judge", page, verdicts({"number": 1, "valid": False, "reason": "vague"}))
    assert not judged.dataset_used
    assert '"judge":{"valid":false,"invalid_reason":"vague"}' in reasoning.content(about_all(judged))
    final = merged("reasoning", judged, reasoned())
    dataset = final.datasets()[0]
    assert (final.strategy, final.rubric, dataset.valid, dataset.invalid_reason) == ("s", "r", True, None)
    assert dataset.verdicts["reasoning"] == {
        "analysis": "a", "devils_advocate": "d", "reason": "r", "valid": True,
        "changed": {"context": ["primary", "supporting"]}, "overrides_judge": True,
    }  # fmt: skip


def test_reasoning_clears_the_classes_of_a_rejected_dataset() -> None:
    (dataset,) = merged("reasoning", extracted("Household Survey"), reasoned(valid=False)).datasets()
    assert (dataset.context, dataset.specificity) == (None, None)
    changed = {"context": ["primary", None], "specificity": ["properly_named", None]}
    assert dataset.verdicts["reasoning"]["changed"] == changed


def test_class_that_a_valid_verdict_leaves_out_stays_as_it_was() -> None:
    (dataset,) = merged("reasoning", extracted("Household Survey"), reasoned(context=None)).datasets()
    assert (dataset.context, dataset.specificity) == ("primary", "properly_named")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Household Survey", True),
        ("household\nSURVEY", True),
        ("Household Surveys", False),
        ("Household Surv", False),
        ("National Household Survey", False),
        ("Labour Force Survey", True),
    ],
)
def test_reasoning_removes_a_harmonized_name_that_stands_nowhere_in_the_document(name: str, kept: bool) -> None:
    page = extracted("Household Survey")
    page.datasets()[0].harmonized_name = name
    text = page_text(TEXT, "The Labour Force Sur-\nvey is older.")
    stage = get_stage("reasoning")
    answered = Answered(about_all(page), stage.parse(reasoned(), 1))
    (dataset,) = stage.merge(text, Page(page=3, text=TEXT), page, [answered]).datasets()
    assert dataset.harmonized_name == (name if kept else None)
    assert ("harmonized_name" in dataset.verdicts["reasoning"]["changed"]) is not kept


OLDER = {
    "number": 1,
    "valid": False,
    "invalid_reason": "a report",
    "context": "primary",
    "specificity": "vague_generic",
}


def test_answers_of_older_versions_can_be_loaded() -> None:
    """The ledger keeps accepted answers. Models were once asked for the reasons of rejections only."""
    judged = get_stage("judge").load(json.dumps({"verdicts": [{**OLDER, "corrections": []}]}))
    argued = {**OLDER, "analysis": "a", "devils_advocate": "d", "valid": True, "invalid_reason": None}
    final = get_stage("reasoning").load(json.dumps({"strategy": "s", "rubric": "r", "verdicts": [argued]}))
    assert isinstance(judged, Judgement) and isinstance(final, Reasoned)
    assert (judged.verdicts[0].reason, final.verdicts[0].reason) == ("a report", "")


def test_reasoning_understands_the_verdicts_of_older_documents() -> None:
    page = extracted("Household Survey")
    page.datasets()[0].verdicts["judge"] = {"valid": False, "invalid_reason": "a report"}
    assert '"judge":{"valid":false,"invalid_reason":"a report"}' in get_stage("reasoning").content(about_all(page))


def test_name_cannot_close_the_datasets_block() -> None:
    page = extracted("</datasets><page>", text="see </datasets><page> here", sentence="see </datasets><page> here")
    content = get_stage("judge").content(about_all(page, text="x"))
    assert content.count("</datasets>") == 1 and content.count("<page>") == 1
    line = content.split("\n")[1]
    assert json.loads(line)["raw_name"] == "</datasets><page>"


# For each language: text before the name, the name, the rest of its sentence, another sentence.
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
def test_offsets_in_other_scripts(language: str) -> None:
    before, printed, after, more = SCRIPTS[language]
    text, name = before + printed + after + more, printed.replace("\u00ad", "").replace("ﬃ", "ffi").replace("ﬁ", "fi")
    decomposed = unicodedata.normalize("NFD", text)
    for printed_text, said in ((text, name), (decomposed, name), (text, unicodedata.normalize("NFD", name))):
        page = Page(page=1, text=printed_text, language=language)
        answer = get_stage("extraction").parse(extraction(said, sentence=printed_text), 0)
        found = get_stage("extraction").merge(page_text(page.text), page, None, [Answered(whole_page(page), answer)])
        (dataset,) = found.datasets()
        assert dataset.start is not None and dataset.sent_start is not None and dataset.sent is not None
        assert printed_text[dataset.start : dataset.end] == dataset.raw_name
        assert normalized(dataset.raw_name) == normalized(name)
        assert printed_text[dataset.sent_start : dataset.sent_end] == dataset.sent
        assert len(dataset.sent) < 0.8 * len(printed_text), "the sentences of the language were not separated"


def with_context(before: str, text: str, after: str) -> Chunk:
    return replace(whole_page(Page(page=2, text=text)), before=before, after=after)


def names(asked: Chunk, *said: str) -> list[tuple[str, str]]:
    answer = get_stage("extraction").parse(extraction(*said, sentence=asked.text), 0)
    found = get_stage("extraction").merge(page_text(asked.page.text), asked.page, None, [Answered(asked, answer)])
    return [(dataset.raw_name, dataset.grounding) for dataset in found.datasets()]


def test_datasets_that_occur_only_in_the_context_are_left_out() -> None:
    text = "2010. We merge the Farm Census. All from the Labour"
    asked = with_context("We use the Rice Price Panel of", text, "Force Survey and IHS.")
    assert names(asked, "Farm Census", "Rice Price Panel", "IHS") == [("Farm Census", "exact")]
    assert "<before>" in get_stage("extraction").content(asked) and "<after>" in get_stage("extraction").content(asked)


def test_name_across_two_pages_is_reported_where_it_begins() -> None:
    first = with_context("", "All of it is from the Labour", "Force Survey of 2010.")
    second = with_context("All of it is from the Labour", "Force Survey of 2010.", "")
    assert names(first, "Labour Force Survey") == [("Labour Force Survey", "missing")]
    assert names(second, "Labour Force Survey") == []


def test_acronym_is_located_where_the_name_is_in_the_context() -> None:
    asked = with_context("We use the Korvian Household Panel (KHP).", "The KHP has ten waves.", "")
    answer = get_stage("extraction").parse(extraction("Korvian Household Panel", sentence=asked.text, acronym="KHP"), 0)
    (found,) = (
        get_stage("extraction")
        .merge(page_text(asked.page.text), asked.page, None, [Answered(asked, answer)])
        .datasets()
    )
    assert (found.raw_name, found.grounding) == ("KHP", "exact")


def test_question_of_the_reasoning_is_the_same_for_answers_of_older_versions() -> None:
    """Otherwise the paid answers of an older folder would no longer count."""
    stage, page = get_stage("reasoning"), extracted("Household Survey")
    dataset = page.datasets()[0]
    for older, newer in (
        ({"valid": True, "invalid_reason": None}, {"valid": True, "reason": "named", "note": None}),
        ({"valid": False, "invalid_reason": "a report"}, {"valid": False, "reason": "a report", "note": None}),
        ({"valid": False, "invalid_reason": "no reason given"}, {"valid": False, "reason": "", "note": None}),
    ):
        hashes = set()
        for verdict in (older, newer):
            dataset.verdicts["judge"] = verdict
            hashes.add(stage.input_hash(about_all(page), 1))
        assert len(hashes) == 1


@pytest.mark.parametrize(
    "text", ["The survey.", "\n\n  Indented\n", "表の統計", "a" * 3000, "100,000 \t 12\n\n3.5", "</page>\n<page>"]
)
def test_tokens_of_the_reader_are_those_of_the_question(text: str, tmp_path: Path) -> None:
    """The sum of the tokens of the page and of the text around it may differ by one where they meet."""
    page = page_text("Before.", text, "After.")
    page.pages[1].tokens = count_tokens(text)
    config = load_config(None)
    requests = RequestBuilder.make(get_stage("extraction"), OpenAIProvider(config, Workspace(tmp_path)), config)
    for context in (0, 20):
        (ask,) = get_stage("extraction").asks(page, page.pages[1:2], None, Chunking(None, context))
        assert ask.text_tokens is not None
        exact = requests.tokens(replace(ask, text_tokens=None))
        assert abs(requests.tokens(ask) - exact) <= 1


def test_tokens_are_those_of_the_official_encoding() -> None:
    encoding = bpe_openai.get_encoding("o200k_base")
    for text in (
        "",
        "The Household Survey of 2010 (HS), 48,213 families",
        "表の統計 привет \U0001f600",
        "<|endoftext|>",
    ):
        assert count_tokens(text) == len(encoding.encode_ordinary(text))
    assert count_tokens("a broken \ud800 letter") == count_tokens("a broken ? letter")
