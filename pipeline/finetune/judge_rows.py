"""Training rows for a judge: what the extraction found, and what people or the last stage decided about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.finetune.examples import PageFilter, PageRules, TrainingPage
from pipeline.processes import FINAL, FIRST, PROCESSES
from pipeline.records import TEXT_FIELDS, Dataset, Document, Page, PageText
from pipeline.review.labels import PageLabel
from pipeline.stages.judge import Correction, Judgement, Verdict
from pipeline.stages.judge import Judge as JudgeStage
from pipeline.stages.verdicts import reason_in
from pipeline.text.chunks import whole_page

SAME_PLACE = 0.5  # Jaccard index of two spans that are the same mention; it is also the rule of the evaluation


@dataclass(frozen=True)
class JudgeRow:
    """One row: the question about a page, and the verdicts that it should get. `unlabelled`: as in `Example`."""

    source: str
    page: Page
    question: str
    answer: Judgement
    label: str
    unlabelled: list[str]


def judge_rows(
    text: PageText, documents: Mapping[str, Document], labels: Mapping[tuple[str, int], PageLabel], rules: PageRules
) -> Iterator[JudgeRow | str]:
    """The row of each page on which the extraction found something, or the reason why the page cannot be used.

    `documents`: the document after each stage that has one.
    """
    found = documents[FIRST]
    final = documents.get(FINAL) or Document(source=text.source, process=FINAL, text_sha256=text.digest())
    pages = PageFilter(final, text, labels, rules)
    for page in text.pages:
        known = found.page(page.page)
        candidates = known.datasets() if known else []
        if candidates:
            checked = pages.check(page)
            yield checked if isinstance(checked, str) else _row(text.source, checked, candidates, final)


def _row(source: str, labelled: TrainingPage, candidates: Sequence[Dataset], final: Document) -> JudgeRow:
    judged = final.page(labelled.page.page)
    verdicts = [
        _verdict(number, one, labelled.datasets, judged.datasets() if judged else [])
        for number, one in enumerate(candidates, start=1)
    ]
    question = JudgeStage().content(whole_page(labelled.page).about(candidates, range(len(candidates))))
    unlabelled = [] if all(verdict.reason for verdict in verdicts) else ["reason"]
    return JudgeRow(source, labelled.page, question, Judgement(verdicts=verdicts), labelled.label, unlabelled)


def _verdict(number: int, candidate: Dataset, valid: Sequence[Dataset], judged: Sequence[Dataset]) -> Verdict:
    """The verdict on a candidate. It is valid if a valid mention is in the same place."""
    right = next((one for one in valid if _same_place(candidate, one)), None)
    known = right.labelled_fields() if right else {}
    wrong = [name for name in TEXT_FIELDS if name in known and known[name] != getattr(candidate, name)]
    return Verdict(
        number=number,
        reason=_reason(candidate, right is not None, judged),
        valid=right is not None,
        note=None,
        context=known.get("context") or candidate.context or "background",
        specificity=known.get("specificity") or candidate.specificity or "vague_generic",
        corrections=[Correction(field=name, value=known[name]) for name in wrong],
    )


def _same_place(one: Dataset, other: Dataset) -> bool:
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return False
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared >= SAME_PLACE * (max(one.end, other.end) - min(one.start, other.start))


def _reason(candidate: Dataset, valid: bool, judged: Sequence[Dataset]) -> str:
    """The reason that the latest stage gave for the same verdict, or nothing."""
    for dataset in judged:
        if (dataset.start, dataset.end, dataset.raw_name) == (candidate.start, candidate.end, candidate.raw_name):
            for process in reversed(PROCESSES):
                verdict = dataset.verdicts.get(process, {})
                if verdict.get("valid") is valid and (reason := reason_in(verdict)):
                    return reason
    return ""
