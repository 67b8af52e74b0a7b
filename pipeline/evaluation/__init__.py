"""Evaluation: precision and recall of dataset mentions against gold labels.

From a notebook::

    from pathlib import Path
    from pipeline import Workspace, load_config
    from pipeline.evaluation import GoldLabels, evaluate_run, load_gold

    labels = GoldLabels(load_gold(Path("gold.jsonl")))
    evaluation = evaluate_run(Workspace(load_config().output_dir), labels)
    evaluation.chosen.scores.row("mention").measures["f1"]  # Estimate(value=…, low=…, high=…)

`score` compares pages of any origin, without files.
"""

from pipeline.evaluation.gold import Gold, is_gold, load_gold
from pipeline.evaluation.gold_labels import ImportedGold, LeftOut, import_gold
from pipeline.evaluation.html import write_html
from pipeline.evaluation.matching import require_packages
from pipeline.evaluation.measures import MEASURES, SAMPLES, Counts, Estimate
from pipeline.evaluation.pages import GROUP_FIELDS, MarkedName, MarkedPage
from pipeline.evaluation.placement import read_documents_map
from pipeline.evaluation.report import (
    comparison_report,
    coverage_notes,
    evaluation_report,
    shown,
    shown_difference,
    shown_interval,
    verdict_sentences,
    write_json,
)
from pipeline.evaluation.runs import Comparison, Evaluation, GoldLabels, StageResult, compare_runs, evaluate_run
from pipeline.evaluation.scoring import LEVELS, RULES, MentionError, Row, Scores, score

__all__ = [
    "GROUP_FIELDS",
    "LEVELS",
    "MEASURES",
    "RULES",
    "SAMPLES",
    "Comparison",
    "Counts",
    "Estimate",
    "Evaluation",
    "Gold",
    "GoldLabels",
    "ImportedGold",
    "LeftOut",
    "MarkedName",
    "MarkedPage",
    "MentionError",
    "Row",
    "Scores",
    "StageResult",
    "compare_runs",
    "comparison_report",
    "coverage_notes",
    "evaluate_run",
    "evaluation_report",
    "import_gold",
    "is_gold",
    "load_gold",
    "read_documents_map",
    "require_packages",
    "score",
    "shown",
    "shown_difference",
    "shown_interval",
    "verdict_sentences",
    "write_html",
    "write_json",
]
