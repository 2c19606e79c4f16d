"""Who decides rows when a policy is measured: a model whose prompts are rendered here, or an endpoint (`learner.endpoint`).

A decider takes rows in batches. A row that it cannot decide is a value, with the reason, so that it is counted.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from jinja2 import TemplateError

from learner.rewards import read_decision
from learner.row_forms import Fault
from learner.rows import Row
from learner.settings import EvaluationSettings
from runtime.decision import Decision, confidence
from runtime.errors import PromptTooLong
from runtime.policy.base import BatchPolicy, Completion, Policy, SamplingParams
from runtime.prompt import Prompt, Renderer


@dataclass(frozen=True, slots=True)
class Decided:
    decision: Decision
    text: str
    """What was written."""
    truncated: bool = False
    confidence: float | None = None
    """`runtime.decision.confidence`; None: an endpoint that does not tell."""


@dataclass(frozen=True, slots=True)
class Undecided:
    fault: Fault
    detail: str


Outcome: TypeAlias = Decided | Undecided


class Decider(Protocol):
    @property
    def identity(self) -> Mapping[str, Any]:
        """What must be equal for results to belong together; JSON data."""
        ...

    async def decide(self, rows: Sequence[Row]) -> list[Outcome]:
        """One outcome for each row. Raises: PolicyError: nothing can be decided any more."""
        ...


class ModelDecider:
    """A policy under its renderer, greedily: what it would be shown and may write when it serves."""

    def __init__(
        self,
        policy: Policy,
        renderer: Renderer,
        *,
        adapter: str | None = None,
        settings: EvaluationSettings | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self._policy, self._renderer, self._adapter = policy, renderer, adapter
        self._settings = settings or EvaluationSettings()
        self._identity = identity or {"kind": "model", "model": policy.model, "adapter": adapter}

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._identity

    async def decide(self, rows: Sequence[Row]) -> list[Outcome]:
        prompts = [self._render(row) for row in rows]
        asked = [(row, p) for row, p in zip(rows, prompts, strict=True) if isinstance(p, Prompt)]
        completions = iter(await self._sample(asked))
        outcomes: list[Outcome] = []
        for row, prompt in zip(rows, prompts, strict=True):
            found = prompt if isinstance(prompt, Undecided) else next(completions)
            outcomes.append(found if isinstance(found, Undecided) else _read(found, row))
        return outcomes

    def _render(self, row: Row) -> Prompt | Undecided:
        try:
            prompt = self._renderer.render(row.prompt, row.tools)
        # a template is a program of the model's maker: what it raises on odd messages is of several kinds
        except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as e:
            return Undecided(Fault.UNRENDERABLE, f"the chat template fails ({type(e).__name__}: {e})")
        if len(prompt.token_ids) >= self._policy.context_length:
            return Undecided(
                Fault.TOO_LONG, f"{len(prompt.token_ids)} tokens; the context takes {self._policy.context_length}"
            )
        return prompt

    async def _sample(self, asked: Sequence[tuple[Row, Prompt]]) -> Sequence[Completion | Undecided]:
        if not asked:
            return []
        params = [self._params(row) for row, _ in asked]
        prompts = [prompt.token_ids for _, prompt in asked]
        if isinstance(self._policy, BatchPolicy):
            return await self._policy.sample_together(prompts, params, adapter=self._adapter)
        slots = asyncio.Semaphore(self._settings.concurrency)

        async def one(prompt: Sequence[int], chosen: SamplingParams) -> Completion | Undecided:
            async with slots:
                try:
                    return await self._policy.sample(prompt, chosen, adapter=self._adapter)
                except PromptTooLong as e:
                    return Undecided(Fault.TOO_LONG, str(e))

        running = [asyncio.create_task(one(*pair)) for pair in zip(prompts, params, strict=True)]
        try:
            return await asyncio.gather(*running)
        finally:
            for task in running:  # after a failure the others would go on for nothing
                task.cancel()

    def _params(self, row: Row) -> SamplingParams:
        grammar = self._renderer.grammar(row.tools)
        return SamplingParams(max_tokens=self._settings.max_tokens, temperature=0.0, grammar=grammar)


def _read(completion: Completion, row: Row) -> Decided:
    cut = completion.finish_reason == "length"
    sure = round(confidence(completion.logprobs), 4)  # beyond that it is noise of the batch
    return Decided(read_decision(completion.text, row), completion.text, truncated=cut, confidence=sure)
