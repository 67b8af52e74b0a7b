"""Request bodies, their keys, and the JSONL files that become batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.batches.cost import MESSAGE_OVERHEAD, count_tokens
from pipeline.batches.ledger import canonical, custom_id
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.providers.base import BatchProvider
from pipeline.records import Ask, Recipe

KEY_DIGITS = 32  # 128 bits: no two asks of any collection will ever share a key
BUDGETS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True)
class RequestBuilder:
    """Turns the asks of one stage into request bodies. Made once a run: prompt, schema and parameters are fixed."""

    recipe: Recipe
    endpoint: str
    system: str
    fixed: dict[str, Any]
    fitted: Callable[[dict[str, Any], int], dict[str, Any]]
    static_tokens: int
    _frames: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def make(
        cls, process: str, system: str, response_format: dict[str, Any], provider: BatchProvider, config: Config
    ) -> RequestBuilder:
        """Raises ConfigError where no model is named for `process`."""
        fixed = provider.body(process, response_format)
        params = {name: value for name, value in fixed.items() if name not in ("model", "response_format")}
        recipe = Recipe(
            process=process,
            provider=provider.kind,
            base_url=provider.base_url,
            model=fixed["model"],
            prompt_sha256=hashlib.sha256(system.encode()).hexdigest(),
            schema_sha256=hashlib.sha256(canonical(fixed["response_format"]).encode()).hexdigest(),
            params=params,
            max_page_tokens=config.max_page_tokens,
            page_context_chars=config.page_context_chars,
        )
        static = count_tokens(system) + count_tokens(canonical(fixed["response_format"])) + MESSAGE_OVERHEAD
        return cls(recipe, config.batch_endpoint, system, fixed, provider.fitted, static)

    def body(self, ask: Ask, larger_budget: bool = False) -> dict[str, Any]:
        """What is posted for `ask`; `larger_budget` doubles the room for an answer that was cut off."""
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": ask.content}]
        body = self.fitted({"model": self.fixed["model"], "messages": messages, **self.fixed}, ask.expects)
        if larger_budget:
            body |= {name: body[name] * 2 for name in BUDGETS if isinstance(body.get(name), int)}
        return body

    def key(self, ask: Ask) -> str:
        """Two asks with one key are one question: same place, same words, same model, schema and parameters."""
        return hashlib.sha256(self._frame(ask) + ask.content.encode()).hexdigest()[:KEY_DIGITS]

    def _frame(self, ask: Ask) -> bytes:
        """The hash of all that requests like this one have in common: hashed once, and not with every page."""
        if ask.expects not in self._frames:
            where = [self.recipe.provider, self.recipe.base_url, self.endpoint]
            common = canonical([*where, self.body(replace(ask, content=""))])
            self._frames[ask.expects] = hashlib.sha256(common.encode()).digest()
        return self._frames[ask.expects]

    def line(self, ask: Ask, key: str, generation: int, number: int, larger_budget: bool) -> bytes:
        """One line of a batch file: ASCII alone, so that no reader can split it at an exotic line separator."""
        request = {
            "custom_id": custom_id(self.recipe.process, key, generation, number),
            "method": "POST",
            "url": self.endpoint,
            "body": self.body(ask, larger_budget),
        }
        return json.dumps(request, separators=(",", ":")).encode("ascii") + b"\n"

    def tokens(self, ask: Ask) -> int:
        """Input tokens of one request."""
        return self.static_tokens + count_tokens(ask.content)


def check_size(ask: Ask, n_bytes: int, n_tokens: int, config: Config) -> None:
    """Raises ConfigError for a request that no batch can hold."""
    most = config.max_enqueued_tokens
    if n_bytes > config.max_bytes_per_batch or (most is not None and n_tokens > most):
        raise ConfigError(
            f"Page {ask.page} of {ask.source} alone ({n_bytes} bytes, {n_tokens} tokens) is over the size of a batch: "
            "raise MAX_BYTES_PER_BATCH or MAX_ENQUEUED_TOKENS in config.yaml."
        )
