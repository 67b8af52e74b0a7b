"""The three questions that are put to a model about every page."""

from pipeline.stages.base import Stage
from pipeline.stages.extraction import Extraction
from pipeline.stages.judge import Judge
from pipeline.stages.reasoning import Reasoning

STAGES: dict[str, Stage] = {stage.process: stage for stage in (Extraction(), Judge(), Reasoning())}

__all__ = ["STAGES", "Stage"]
