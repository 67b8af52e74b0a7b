"""The prompt files."""

from __future__ import annotations

from pipeline.config import Config
from pipeline.errors import ConfigError

DEFINITION = "{definition}"


def read_prompt(config: Config, name: str) -> str:
    """The text of a prompt file, without surrounding white space. Raises ConfigError if it is missing or empty.

    `{definition}` is replaced by the prompt file `definition`, which says what counts as a dataset mention. All stages
    include it, so that they cannot contradict each other.
    """
    text = _read(config, name)
    return text.replace(DEFINITION, _read(config, "definition")) if DEFINITION in text else text


def _read(config: Config, name: str) -> str:
    path = config.prompt_path(name)
    next_step = "restore it, or name another file under PROMPTS in config.yaml."
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"Cannot read the prompt {path}: {next_step}") from None
    if not text:
        raise ConfigError(f"The prompt {path} is empty: {next_step}")
    return text


def system_prompt(config: Config, process: str, with_examples: bool, name: str | None = None) -> str:
    """The prompt of a stage, with its worked examples if wanted. `name`: of another prompt file. Raises ConfigError."""
    prompt = read_prompt(config, name or process)
    if with_examples:
        prompt += "\n\n" + _section(read_prompt(config, "examples"), process)
    return prompt


def _section(text: str, process: str) -> str:
    """The part of examples.md under the heading `# <process>`, or nothing if there is none."""
    for part in text.split("\n# "):
        heading, _, body = part.removeprefix("# ").partition("\n")
        if heading.strip().lower() == process:
            return "Examples\n\n" + body.strip()
    return ""
