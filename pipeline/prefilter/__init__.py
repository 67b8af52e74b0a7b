"""Which pages need no question, because they almost certainly mention no dataset (PREFILTER).

A classifier gives each page of a paper a probability that it mentions a dataset. The probabilities are computed once,
when the questions about the paper are planned, and stored in prefilter/<document>.json. Pages below the threshold are
not asked; their status is `skipped:prefilter`. Documents are built from the stored probabilities alone, so retrieving
and merging load no model. Changing the threshold computes nothing again; changing the classifier does.

The prefilter decides only about pages that are not answered and not in progress. Switching it on loses no answer, and
after switching it off the skipped pages are asked.
"""

from __future__ import annotations

from pipeline.config import HUGGINGFACE, Config
from pipeline.prefilter.base import PREFILTERED, Prefilter
from pipeline.workspace import Workspace

__all__ = ["PREFILTERED", "Prefilter", "make_prefilter"]


def make_prefilter(config: Config, workspace: Workspace) -> Prefilter | None:
    """The prefilter that PREFILTER names, or None if it is off. Loads no model."""
    if config.prefilter == "off":
        return None
    if config.prefilter.startswith(HUGGINGFACE):
        from pipeline.prefilter.huggingface import HuggingFaceClassifier

        model = config.prefilter.removeprefix(HUGGINGFACE)
        return Prefilter(HuggingFaceClassifier(model, config.folder), config.prefilter_threshold, workspace)
    from pipeline.prefilter.lexical import LexicalClassifier

    return Prefilter(LexicalClassifier(), config.prefilter_threshold, workspace)
