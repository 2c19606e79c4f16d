"""What may watch an agent at work: turns, calls of the policy, calls of tools, recording.

Each watch is a block round the work; what it gives is called with what came of it. An observer changes nothing, and where the work
raises, the exception passes through its block. Metrics and tracing are observers (`runtime.telemetry`); the agent knows neither.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from runtime.agent.messages import Message, Reply
from runtime.decision import Decision
from runtime.policy.base import Completion, SamplingParams
from runtime.traces.schema import Trace
from tools.outcome import CallResult
from tools.spec import CallStatus, ToolSpec


@dataclass(frozen=True, slots=True)
class TurnBegun:
    trace_id: str
    thread_id: str
    model: str
    """Name of the base model."""
    adapter: str | None
    adapter_sha256: str | None
    resumed: bool
    """It waited for a person, and goes on."""


@dataclass(frozen=True, slots=True)
class PolicyAsked:
    """One call of the policy."""

    span_id: str
    model: str
    adapter: str | None
    params: SamplingParams
    prompt_tokens: int
    messages: Sequence[Message]


TurnEnded: TypeAlias = Callable[[Trace, Reply | None], None]
"""Takes the record of the turn, and its reply; None: it failed."""
PolicyAnswered: TypeAlias = Callable[[Completion, Decision], None]
"""Takes what was written, and what was read from it."""
ToolAnswered: TypeAlias = Callable[[CallResult], None]


class Observer:
    """Sees everything and does nothing; an observer overrides what it is about."""

    @contextmanager
    def turn(self, begun: TurnBegun) -> Iterator[TurnEnded]:
        yield _nothing

    @contextmanager
    def policy_call(self, asked: PolicyAsked) -> Iterator[PolicyAnswered]:
        yield _nothing

    @contextmanager
    def tool_call(self, spec: ToolSpec, call_id: str, arguments: Mapping[str, Any]) -> Iterator[ToolAnswered]:
        yield _nothing

    def tool_withheld(self, spec: ToolSpec | None, status: CallStatus) -> None:
        """A call was decided on and not made. Args: spec: None: the tool is gone."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A trace is being written."""
        yield


class Observers(Observer):
    """Several as one, the first the outermost."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    @contextmanager
    def turn(self, begun: TurnBegun) -> Iterator[TurnEnded]:
        with ExitStack() as stack:
            ended = [stack.enter_context(each.turn(begun)) for each in self._observers]
            yield lambda trace, reply: _tell_all(ended, trace, reply)

    @contextmanager
    def policy_call(self, asked: PolicyAsked) -> Iterator[PolicyAnswered]:
        with ExitStack() as stack:
            answered = [stack.enter_context(each.policy_call(asked)) for each in self._observers]
            yield lambda completion, decision: _tell_all(answered, completion, decision)

    @contextmanager
    def tool_call(self, spec: ToolSpec, call_id: str, arguments: Mapping[str, Any]) -> Iterator[ToolAnswered]:
        with ExitStack() as stack:
            answered = [stack.enter_context(each.tool_call(spec, call_id, arguments)) for each in self._observers]
            yield lambda result: _tell_all(answered, result)

    def tool_withheld(self, spec: ToolSpec | None, status: CallStatus) -> None:
        for each in self._observers:
            each.tool_withheld(spec, status)

    @contextmanager
    def recording(self) -> Iterator[None]:
        with ExitStack() as stack:
            for each in self._observers:
                stack.enter_context(each.recording())
            yield


def _nothing(*_: Any) -> None:
    return None


def _tell_all(listeners: Sequence[Callable[..., None]], *what: Any) -> None:
    for listener in listeners:
        listener(*what)
