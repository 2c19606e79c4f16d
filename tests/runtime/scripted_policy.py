"""A policy that says what a test wrote down, in the tiny model's tokens, and remembers what it was asked."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from runtime.errors import UnknownAdapter
from runtime.policy.base import Completion, SamplingParams

CONTEXT_LENGTH = 4096

Line: TypeAlias = str | Exception | Callable[[str], str]
"""A text, an exception to raise, or a function of the rendered prompt."""


class ScriptedPolicy:
    """Fulfils `runtime.policy.base.Policy`.

    Each call takes the next line of `script`.
    """

    def __init__(self, tokenizer: Any, script: Sequence[Line] = ()) -> None:
        self._tokenizer = tokenizer
        self.script: Sequence[Line] = script
        self.prompts: list[str] = []
        self.params: list[SamplingParams] = []
        self.served: list[str | None] = []
        self.resident: set[str] = set()
        self.logprob: dict[str | None, float] = {}
        """Adapter → logprob of every token; -0.5 where none is given."""
        self.context_length = CONTEXT_LENGTH
        self.gate: asyncio.Event | None = None
        """When set, each call waits for it."""

    @property
    def model(self) -> str:
        return "scripted"

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        if adapter is not None and adapter not in self.resident:
            raise UnknownAdapter(f"no adapter {adapter!r} is resident")
        self.prompts.append(self._tokenizer.decode(prompt_ids))
        self.params.append(params)
        self.served.append(adapter)
        if self.gate is not None:
            await self.gate.wait()
        said, self.script = self.script[0], self.script[1:]
        if isinstance(said, Exception):
            raise said
        text = said if isinstance(said, str) else said(self.prompts[-1])
        return self._completion(text, params.max_tokens, adapter)

    def _completion(self, text: str, max_tokens: int, adapter: str | None) -> Completion:
        token_ids = [*self._tokenizer.encode(text, add_special_tokens=False), self._tokenizer.eos_token_id]
        kept = tuple(token_ids[:max_tokens])
        return Completion(
            text=self._tokenizer.decode(kept, skip_special_tokens=True),
            token_ids=kept,
            logprobs=tuple(-0.5 for _ in kept),
            finish_reason="stop" if len(kept) == len(token_ids) else "length",
            adapter=adapter,
        )

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]:
        return tuple(self.logprob.get(adapter, -0.5) for _ in completion_ids)

    async def load_adapter(self, name: str, path: Path) -> None:
        self.resident.add(name)

    async def unload_adapter(self, name: str) -> None:
        self.resident.discard(name)

    async def adapters(self) -> frozenset[str]:
        return frozenset(self.resident)

    async def close(self) -> None:
        pass
