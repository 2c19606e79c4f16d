"""What is recorded of a turn: raw facts only; everything that can be derived is derived.

A *trace* is one agent turn, from the user's message to the reply. It holds *spans*, one for each call of the policy, each
with its decision and the tool calls that came of it. A *verdict* says what the world proved about one span.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from runtime.decision import Decision, ToolCall
from tools.spec import CallStatus
from tools.tenancy import DEFAULT


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToolOutcome(_Record):
    """One tool call and what came of it."""

    call_id: str
    call: ToolCall
    status: CallStatus
    content: str
    """What the policy was shown: the result as text, or the error."""
    latency_ms: float


class Span(_Record):
    """One call of the policy: what it saw, what it wrote, what it decided, what followed."""

    id: str
    trace_id: str
    index: int
    """0-based place within the turn."""
    messages: tuple[dict[str, Any], ...]
    """The conversation as rendered, OpenAI's shape."""
    tools: tuple[dict[str, Any], ...]
    """Snapshot of the tools that were shown, OpenAI's shape, reserved ones not among them."""
    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Same length as completion_token_ids; natural log at temperature 1."""
    text: str
    decision: Decision
    violations: tuple[str, ...] = ()
    """Schema errors of an execute's arguments; empty when all are valid."""
    outcomes: tuple[ToolOutcome, ...] = ()
    latency_ms: float = 0.0


class TraceStatus(StrEnum):
    FINISHED = "finished"
    WAITING = "waiting"
    """A call waits for a person; the record is replaced when the turn has gone on."""
    FAILED = "failed"
    """The policy or the server broke; the spans up to then are kept."""


def call_prefix(trace_id: str) -> str:
    """How the ids of all calls of one turn begin."""
    return f"call_{trace_id.removeprefix('trace_')[:24]}_"


class Trace(_Record):
    id: str
    thread_id: str
    created_at: datetime
    """UTC."""
    model: str
    """Name of the base model."""
    adapter: str | None
    """Name of the adapter that served the whole turn; None is the base."""
    adapter_sha256: str | None
    status: TraceStatus
    spans: tuple[Span, ...]
    error: str | None = None
    resumed_at: datetime | None = None
    """UTC; when a turn that had waited for a person, or that the end of its server had cut off, went on, for the last time."""
    runs: int = 1
    """More than one: servers ended while it ran, and others took it up."""
    tenant: str = DEFAULT
    """Whose it is; where somebody acts, the store writes down who, whatever stands here."""
    user: str | None = None

    @property
    def acted_at(self) -> datetime:
        """From when on the user can have known what it did."""
        return self.resumed_at or self.created_at


class VerdictOutcome(StrEnum):
    VERIFIED = "verified"
    REFUTED = "refuted"
    UNVERIFIED = "unverified"


class Verdict(_Record):
    """What the world proved about one span (design: only evidence that the world gives counts)."""

    span_id: str
    outcome: VerdictOutcome
    reason: str
    """Short machine word, e.g. `succeeded`, `corrected_call`, `value_was_given`, `user_supplied_value`."""
    ground_truth: dict[str, Any] | None
    """A `G` of the dataset rows: {"decision": "execute", "tool_calls": [...]} and so on; None when unverified."""
    evidence: tuple[str, ...] = ()
    """Ids of the spans that prove it."""
    decided_at: datetime


class Sighting(_Record):
    """One decision about a tool, what came of it and what was proved of it; without its tokens."""

    trace_id: str
    adapter: str | None
    created_at: datetime
    decision: Decision
    violations: tuple[str, ...] = ()
    outcomes: tuple[ToolOutcome, ...] = ()
    verdict: VerdictOutcome | None = None
    reason: str | None = None
    ground_truth: dict[str, Any] | None = None

    @property
    def truth(self) -> str | None:
        """The kind of decision that would have been right; None: not proved."""
        return None if self.ground_truth is None else self.ground_truth.get("decision")
