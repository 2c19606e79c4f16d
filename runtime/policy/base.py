"""The policy protocol: base weights plus, per request, at most one live adapter.

Two implementations keep it honest: `runtime.policy.embedded` (torch, in process) and `runtime.policy.vllm` (HTTP to a
vLLM server). The contract suite in `tests/runtime/test_policy_contract.py` runs on both. A policy knows tokens, not messages:
rendering is `runtime.prompt`, parsing `runtime.decision`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

BASE_POLICY = "<base>"
"""What stands in place of an adapter's name where none serves."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    max_tokens: int = 192
    temperature: float = 0.0
    """0 means greedy."""
    top_p: float = 1.0
    seed: int | None = None
    """None: not reproducible at temperature > 0."""
    grammar: str | None = None
    """What may be written, as a Lark text for llguidance (`runtime.grammar`); None: anything."""


@dataclass(frozen=True, slots=True)
class Phases:
    """Where the time of one call of the policy went, in seconds."""

    queue_s: float
    """Waiting for a place among the running ones."""
    prefill_s: float
    """Reading the prompt, up to the first token."""
    decode_s: float
    """The tokens after the first."""


@dataclass(frozen=True, slots=True)
class PolicyLoad:
    waiting: int
    """Requests that wait for a place."""
    running: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What one call of the policy gave."""

    text: str
    """Decoded without the end-of-turn token; ordinary added tokens such as <tool_call> are kept."""
    token_ids: tuple[int, ...]
    """What was sampled, the end-of-turn token included when it was reached."""
    logprobs: tuple[float, ...]
    """Natural-log probability of each token under the model at temperature 1, untruncated, among the tokens that the grammar
    allowed at its place (all of them without one); same length as token_ids."""
    finish_reason: Literal["stop", "length"]
    adapter: str | None
    """Name of the adapter that answered; None is the base."""
    phases: Phases | None = field(default=None, compare=False)
    """None: the policy does not tell. Two that say the same are equal, however long they took."""


class Policy(Protocol):
    """Samples completions and keeps several adapters resident, chosen per request."""

    @property
    def model(self) -> str:
        """Name or path of the base model."""
        ...

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and completion may have together."""
        ...

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        """One completion of one prompt.

        Raises:
            UnknownAdapter: `adapter` is not resident.
            PromptTooLong: no room for one more token.
            PolicyUnavailable: the server cannot be reached or failed.
        """
        ...

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]:
        """Logprobs of a given completion, as in `Completion.logprobs` without a grammar."""
        ...

    async def load_adapter(self, name: str, path: Path) -> None:
        """Makes an adapter resident under a name never used before in this process.

        Raises:
            AdapterRejected: files are missing, corrupt, or made for another base; nothing stays loaded.
        """
        ...

    async def unload_adapter(self, name: str) -> None: ...

    async def adapters(self) -> frozenset[str]:
        """Names of the resident adapters."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class BatchPolicy(Policy, Protocol):
    """A policy that also decodes a batch of the caller's making: the same batch gives the same completions, whenever it is asked.

    How requests that merely arrive together are batched depends on the moment, and float noise with it.
    """

    async def sample_together(
        self, prompts: Sequence[Sequence[int]], params: Sequence[SamplingParams], *, adapter: str | None = None
    ) -> list[Completion]:
        """One completion for each prompt. Raises: as `sample`, for all of them."""
        ...


@runtime_checkable
class Queued(Protocol):
    """A policy that knows its own queue. A server's queue is the server's affair (vLLM tells of it at its own /metrics)."""

    def workload(self) -> PolicyLoad:
        """May be asked from any thread."""
        ...
