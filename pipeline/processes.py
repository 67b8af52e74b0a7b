"""The stages of the pipeline, in order. This is the only list of them: a new stage is one line here.

The names are all that settings and command-line help need, so this module imports nothing. `pipeline.stages` loads
the classes.
"""

from __future__ import annotations

STAGE_CLASSES = {
    "extraction": "pipeline.stages.extraction:Extraction",
    "judge": "pipeline.stages.judge:Judge",
    "reasoning": "pipeline.stages.reasoning:Reasoning",
}

PROCESSES = tuple(STAGE_CLASSES)
FIRST, FINAL = PROCESSES[0], PROCESSES[-1]


def previous_process(process: str) -> str | None:
    """The stage before `process`, or None for the first one."""
    place = PROCESSES.index(process)
    return PROCESSES[place - 1] if place else None


def next_process(process: str) -> str | None:
    """The stage after `process`, or None for the last one."""
    place = PROCESSES.index(process) + 1
    return PROCESSES[place] if place < len(PROCESSES) else None


def earlier_processes(process: str) -> tuple[str, ...]:
    """All stages before `process`, in order."""
    return PROCESSES[: PROCESSES.index(process)]
