"""The questions that are put to a model about every page. `pipeline/processes.py` lists the stages in order."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from pipeline.processes import STAGE_CLASSES
from pipeline.stages.base import Stage

__all__ = ["Stage", "get_stage"]


@cache
def get_stage(process: str) -> Stage:
    """The stage with this name."""
    module, _, name = STAGE_CLASSES[process].partition(":")
    stage = getattr(import_module(module), name)()
    assert isinstance(stage, Stage)
    return stage
