"""What a turn knows while it runs: the state that LangGraph keeps, and the context that it does not.

The state is plain JSON data, so that a thread checkpoint can be read by any later version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from pydantic import BaseModel, ConfigDict

from runtime.agent.messages import Message, StopReason
from runtime.policy.base import SamplingParams
from tools.journal import ReadRow
from tools.spec import ToolSpec


class AgentState(TypedDict):
    """One thread's state. Each turn sets every key at its start; a later turn reads `messages` and `system`."""

    system: str | None
    """The system text of the client, outside `messages`, so that a client may change it between turns."""
    instructions: str | None
    """System text of this turn alone, the tenant's and the request's: it comes before `system` and is not kept for the next."""
    messages: list[Message]
    """The conversation as the policy sees it, results of server-run tools included."""
    tools: list[dict[str, Any]]
    """Snapshot of the tools shown in this turn, OpenAI's shape."""
    trace_id: str
    echo: str | None
    """JSON text that the client wants back with the reply, now and when it asks again; no part of the turn reads it."""
    begun: dict[str, Any]
    """`Begun` as JSON data: what the turn needs to go on after a wait."""
    spans: list[dict[str, Any]]
    """`runtime.traces.schema.Span` of each call of the policy in this turn, as JSON data."""
    repair: list[Message]
    """A faulty output and what is wrong with it, shown once to the policy and then forgotten."""
    repairs: int
    """Faulty outputs in this turn."""
    run: int
    """In which run of the turn the last decision was made (`Admission.runs`). Ids of calls name it, so that a decision that is made
    anew is not taken for the one that was lost."""
    acts: bool
    """The last decision holds calls that do not merely read: it is kept for good before any of them runs."""
    cut: bool
    """The last output ran into its token limit."""
    dropped: int
    """Oldest messages that were left out of the last prompt, because all would not fit."""
    asks: list[dict[str, Any]]
    """Calls of the last decision that wait for a person, `runtime.approvals.schema.Ask` as JSON data."""
    consents: dict[str, dict[str, str]]
    """Id of such a call → the id of the approval and the state that it came to."""
    reply: dict[str, Any] | None
    """`runtime.agent.messages.Reply` as JSON data; set when the turn is over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds one turn."""

    max_steps: int = 6
    """Rounds of tool calls."""
    turn_tokens: int = 4096
    """Tokens that all calls of the policy may write together."""
    seconds: float = 120.0
    """After which a turn ends with what it has. A wait for a person does not count, and a call under way is not broken off: it has
    a time limit of its own."""
    shown_tools: int = 6
    """Registered tools that the policy sees, where the request names none; 0: all."""


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What is fixed for one turn and not kept: the adapter that it began with, sampling, and the tools' definitions."""

    thread_id: str
    adapter: str | None
    params: SamplingParams
    specs: Mapping[str, ToolSpec]
    deadline: float
    """Of the event loop's clock: no call of the policy goes on for longer."""
    run: int = 1
    """Which run of the turn this is, 1-based."""
    stops: Callable[[], bool] = bool
    """Whether the turn is to end as soon as no call is under way."""
    can_decide: bool = True
    """False: the turn waited, and the adapter that it began with is gone. Its calls are run, and then it ends."""
    reads: list[ReadRow] = field(default_factory=list)
    """Rows of the journal that wait for what the turn writes next."""


class Begun(BaseModel):
    """What is fixed when a turn begins, as far as a thread checkpoint may hold it: no definitions, they hold secrets."""

    model_config = ConfigDict(frozen=True)

    created_at: datetime
    adapter: str | None
    adapter_sha256: str | None
    params: SamplingParams
    tools: dict[str, str]
    """Name → sha256 of each tool shown."""


def stop_reason(state: AgentState, limits: Limits, *, is_late: bool) -> StopReason | None:
    """The limit that the turn has reached, if any. Args: is_late: its deadline is over."""
    if is_late:
        return "time_limit"
    if written_tokens(state) >= limits.turn_tokens:
        return "token_limit"
    rounds = sum(1 for span in state["spans"] if span["outcomes"] and not span["violations"])
    return "step_limit" if rounds >= limits.max_steps else None


def system_text(state: AgentState) -> str | None:
    """What the policy is told before the conversation; a turn that an older version left waiting has no instructions."""
    texts = (state.get("instructions"), state["system"])
    return "\n\n".join(text for text in texts if text) or None


def written_tokens(state: AgentState) -> int:
    return sum(len(span["completion_token_ids"]) for span in state["spans"])


def next_ask(state: AgentState) -> dict[str, Any] | None:
    """The first call that waits for a person and has no answer yet."""
    return next((ask for ask in state["asks"] if ask["call_id"] not in state["consents"]), None)
