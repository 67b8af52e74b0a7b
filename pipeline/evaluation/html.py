"""evaluation.html: tables, plots and every error in its sentence, in one file that needs no script and no network.

All text from papers and gold files goes through `_text`, so it cannot act as markup. The content security policy allows
only the style sheet of the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from pipeline.evaluation.measures import MEASURES, Estimate
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName, MarkedPage
from pipeline.evaluation.plot import bar_plot
from pipeline.evaluation.report import (
    coverage_notes,
    quotation,
    shown,
    shown_difference,
    shown_interval,
    verdict_sentences,
)
from pipeline.evaluation.runs import Evaluation, StageResult
from pipeline.evaluation.scoring import LEVELS, RULES, Row
from pipeline.files import write_atomic
from pipeline.pages.template import page_template
from pipeline.words import counted

_LEVEL_NAMES = {
    "mention": "Mention",
    "mention_lenient": "Mention (lenient)",
    "name": "Name in document",
    "page": "Page",
}
_MEASURE_NAMES = {"precision": "Precision", "recall": "Recall", "f1": "F1", "f05": "F0.5"}
_ERROR_NAMES = {"false_positive": "False positives", "false_negative": "False negatives", "unlocated": "Not located"}


def write_html(
    evaluations: Sequence[Evaluation], path: Path, differences: Mapping[str, Estimate] | None = None
) -> None:
    """Write the page of one run, or of two with the differences of their F1. Raises WorkspaceError."""
    head, tail = page_template(Path(__file__).with_name("evaluation.html"), "Evaluation of dataset mentions").split(
        "{{CONTENT}}"
    )
    body = ["<h1>Evaluation of dataset mentions</h1>"]
    if differences:
        body += _differences(evaluations, differences)
    for place, evaluation in zip("AB", evaluations, strict=False):
        body += _evaluation(evaluation, f"Run {place}: " if differences else "Run: ")
    body += ["<h2>Rules</h2><dl>", *(f"<dt>{_text(name)}</dt><dd>{_text(rule)}</dd>" for name, rule in RULES.items())]
    body.append("</dl>")
    write_atomic(path, (head + "\n".join(body) + tail).encode("utf-8", "replace"))


def _text(text: str) -> str:
    """Text as HTML. Control characters have no meaning in HTML, and some are errors."""
    return escape(
        "".join(char if char.isprintable() or char in "\n\t " else "\N{REPLACEMENT CHARACTER}" for char in text)
    )


def _isolated(text: str) -> str:
    """Text whose writing direction does not change what stands around it."""
    return f"<bdi>{_text(text)}</bdi>"


def _evaluation(evaluation: Evaluation, prefix: str) -> Iterator[str]:
    scores = evaluation.chosen.scores
    mentions = sum(len(page.mentions) for page in evaluation.placement.pages)
    gold = ", ".join(f"{_isolated(str(one.path))} ({one.format})" for one in evaluation.gold)
    yield f"<h2>{prefix}{_isolated(str(evaluation.folder))}</h2>"
    yield (
        f'<p class="soft">Gold: {gold}; {counted(len(scores.documents), "document")}, '
        f"{counted(scores.pages, 'page')}, {counted(mentions, 'mention')}. 95 % intervals from {evaluation.samples:,} "
        f"bootstrap samples of documents. Details: stage {_text(evaluation.process)}.</p>"
    )
    notes = list(coverage_notes(evaluation))
    if notes:
        yield f'<ul class="notes">{"".join(f"<li>{_isolated(note)}</li>" for note in notes)}</ul>'
    yield from _plots(evaluation.stages)
    for level in LEVELS:
        rows = [(stage.process, stage.scores.row(level)) for stage in evaluation.stages]
        yield _table(_LEVEL_NAMES[level], "stage", rows)
    for stage in evaluation.stages:
        yield from (f"<p>{sentence}.</p>" for sentence in verdict_sentences(stage))
    yield from _breakdowns(evaluation)
    yield from _errors(evaluation.chosen)
    yield from _changes(evaluation.stages)


def _plots(stages: Sequence[StageResult]) -> Iterator[str]:
    keys = (
        f'<span><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{name}" width="10" height="10"/></svg>'
        f"{_MEASURE_NAMES[name]}</span>"
        for name in MEASURES
    )
    yield f'<div class="legend">{"".join(keys)}</div><div class="plots">'
    for level in LEVELS:
        groups = {stage.process: stage.scores.row(level).measures for stage in stages}
        title = _LEVEL_NAMES[level]
        plot = bar_plot(groups, f"{title}: precision, recall, F1 and F0.5 of each stage")
        yield f"<figure><figcaption>{title}</figcaption>{plot}</figure>"
    yield "</div>"


def _table(caption: str, first: str, rows: Iterable[tuple[str, Row]]) -> str:
    headings = (first, "gold", "found", "predicted", "right", *_MEASURE_NAMES.values())
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    lines = [
        f"<tr><td>{_isolated(name)}</td>"
        + "".join(f"<td>{count:,}</td>" for count in row.counts)
        + "".join(_cell(row.measures[measure]) for measure in MEASURES)
        + "</tr>"
        for name, row in rows
    ]
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(estimate: Estimate) -> str:
    interval = shown_interval(estimate)
    return f"<td>{shown(estimate.value)}{f'<small>{interval}</small>' if interval else ''}</td>"


def _breakdowns(evaluation: Evaluation) -> Iterator[str]:
    for group in (*GROUP_FIELDS, "document"):
        rows = [row for row in evaluation.chosen.scores.rows if row.group == group]
        if rows:
            yield f"<details><summary>{evaluation.process} by {group}</summary>"
            for level in LEVELS:
                yield _table(_LEVEL_NAMES[level], group, [(row.value, row) for row in rows if row.level == level])
            yield "</details>"


def _errors(stage: StageResult) -> Iterator[str]:
    for kind, title in _ERROR_NAMES.items():
        errors = [error for error in stage.scores.errors if error.kind == kind]
        yield f'<details><summary>{title} of {stage.process}: {len(errors):,}</summary><ol class="errors">'
        for error in errors:
            names = ", ".join(f"“{_isolated(name)}”" for name in error.overlaps)
            note = f"; overlaps {names}" if names else ""
            yield _entry(kind, error.page, error.mention, note)
        yield "</ol></details>"


def _changes(stages: Sequence[StageResult]) -> Iterator[str]:
    for stage in stages:
        changes = stage.predictions.changes
        if not changes:
            continue
        yield f"<details><summary>Verdicts changed by {stage.process}: {len(changes):,}</summary>"
        yield '<ol class="errors">'
        for change in changes:
            note = f"; {change.kind} {'rightly' if change.right else 'wrongly'}"
            note += f": {_isolated(change.reason)}" if change.reason else ""
            yield _entry("rightly" if change.right else "wrong", change.page, change.mention, note)
        yield "</ol></details>"


def _entry(kind: str, page: MarkedPage, mention: MarkedName, note: str) -> str:
    """A mention in its sentence. `note` is HTML."""
    quoted = quotation(page, mention)
    sentence = (
        f"{_text(quoted.before)}<mark>{_text(quoted.name)}</mark>{_text(quoted.after)}"
        if quoted
        else f"<mark>{_text(mention.name)}</mark>"
    )
    where = f"{_isolated(page.document)}, page {page.page}{note}"
    return f'<li class="{kind}"><div class="quote" dir="auto">{sentence}</div><div class="where">{where}</div></li>'


def _differences(evaluations: Sequence[Evaluation], differences: Mapping[str, Estimate]) -> Iterator[str]:
    first, second = (_isolated(str(one.folder)) for one in evaluations)
    head = "".join(f'<th scope="col">{title}</th>' for title in ("level", "difference", "95 % interval"))
    yield f"<h2>F1 of B minus F1 of A</h2><p>A: {first}<br>B: {second}</p>"
    yield f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>'
    for level, estimate in differences.items():
        value, interval = shown_difference(estimate)
        yield f"<tr><td>{_LEVEL_NAMES[level]}</td><td>{value}</td><td>{interval or '–'}</td></tr>"
    yield "</tbody></table></div>"
