"""From questions to requests: bodies, keys, and the lines of request files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from pipeline.config import Config
from pipeline.ledger.ids import AttemptId
from pipeline.providers import BatchProvider
from pipeline.providers.base import Prompt, RequestFormat
from pipeline.records import Ask, Recipe
from pipeline.stages import Stage
from pipeline.stages.prompts import system_prompt
from pipeline.text.tokens import count_tokens

KEY_DIGITS = 32  # 128 bits: no two questions of any collection ever share a key
MESSAGE_OVERHEAD = 8  # tokens that the chat format adds to a system and a user message


@dataclass(frozen=True)
class RequestBuilder:
    """Turns the questions of one stage into requests. Prompt, schema and parameters are fixed for one run."""

    recipe: Recipe
    format: RequestFormat
    system: str
    _frames: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def make(cls, stage: Stage, provider: BatchProvider, config: Config) -> RequestBuilder:
        """Raises ConfigError if a prompt is missing or no model is set for the stage."""
        wanted, style = config.prompt_examples, provider.prompt_style(stage.process)
        with_examples = wanted == "always" or (wanted == "auto" and style.with_examples)
        system = system_prompt(config, stage.process, with_examples, style.name)
        form = provider.request_format(Prompt(stage.process, system, stage.schema_name, stage.schema))
        answer_format = canonical(form.answer_format)
        recipe = Recipe(
            process=stage.process,
            provider=provider.kind,
            base_url=provider.base_url,
            model=form.model,
            prompt_sha256=hashlib.sha256(system.encode()).hexdigest(),
            schema_sha256=hashlib.sha256(answer_format.encode()).hexdigest(),
            params=form.params,
            max_page_tokens=min(config.max_page_tokens, style.page_tokens or config.max_page_tokens),
            page_context_chars=config.page_context_chars,
        )
        return cls(recipe, form, system)

    def key(self, ask: Ask) -> str:
        """Asks with the same key are the same question: same server, words, model, schema and parameters."""
        return hashlib.sha256(self._frame(ask.expects) + ask.content.encode()).hexdigest()[:KEY_DIGITS]

    def _frame(self, expects: int) -> bytes:
        """Hash of everything that all such requests have in common, computed once instead of with every page."""
        if expects not in self._frames:
            server = [self.recipe.provider, self.recipe.base_url, self.format.endpoint]
            common = canonical([*server, self.format.body("", expects)])
            self._frames[expects] = hashlib.sha256(common.encode()).digest()
        return self._frames[expects]

    def line(self, ask: Ask, attempt: AttemptId, larger_budget: bool = False) -> bytes:
        """One line of a request file."""
        return self.format.line(attempt.custom_id, ask.content, ask.expects, larger_budget)

    def tokens(self, ask: Ask) -> int:
        """Input tokens of one request. Where the reader has counted those of the page, only the rest is counted."""
        if ask.text_tokens is None:
            return self._static_tokens + count_tokens(ask.content)
        return self._static_tokens + ask.text_tokens + _count_around(ask.content.replace(ask.text, "", 1))

    @cached_property
    def _static_tokens(self) -> int:
        """Tokens that all requests have in common. Loading the tokenizer takes half a second: only if needed."""
        return count_tokens(self.system) + count_tokens(canonical(self.format.answer_format)) + MESSAGE_OVERHEAD


# In the first stage, the text around the page is the same in nearly all requests.
_count_around = lru_cache(maxsize=16)(count_tokens)


def canonical(value: object) -> str:
    """JSON with only one possible spelling, for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
