"""Builds threads for tests as the runtime would record them: say what was said and done, get traces."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from runtime.decision import Answer, Clarify, Decision, Execute, Invalid, MissingParameter, Refuse, ToolCall
from runtime.traces.schema import Span, ToolOutcome, Trace, TraceStatus
from tools.spec import CallStatus

START = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)


def tool(name: str, required: Sequence[str] = (), **properties: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in OpenAI's shape; properties are schemas by name."""
    parameters = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


def execute(*calls: tuple[str, dict[str, Any]]) -> Execute:
    return Execute(calls=tuple(ToolCall(name=name, arguments=arguments) for name, arguments in calls))


def clarify(*missing: tuple[str, str]) -> Clarify:
    return Clarify(question="Which?", missing=tuple(MissingParameter(tool=t, parameter=p) for t, p in missing))


def refuse() -> Refuse:
    return Refuse(reason="I cannot do that.")


def answer(text: str = "Done.") -> Answer:
    return Answer(text=text)


def invalid() -> Invalid:
    return Invalid(raw="<tool_call>{", error="the call is not JSON")


class Thread:
    """A growing thread: `says` begins a turn, `does` adds a decision to it."""

    def __init__(self, *tools: dict[str, Any], thread_id: str = "thread", system: str | None = None) -> None:
        self._tools = tools
        self._thread_id = thread_id
        self._messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        self._turns: list[tuple[datetime, list[Span]]] = []
        self._now = START

    def says(self, text: str, *, after_s: float = 10.0) -> "Thread":
        """The user's next message, `after_s` seconds after the one before."""
        if self._turns:
            self._now += timedelta(seconds=after_s)
        self._messages.append({"role": "user", "content": text})
        self._turns.append((self._now, []))
        return self

    def does(
        self,
        decision: Decision,
        status: CallStatus | Sequence[CallStatus] = CallStatus.OK,
        result: str = "fine",
        violations: Sequence[str] = (),
    ) -> "Thread":
        """The policy's next decision; `status` and `result` are what its calls came to."""
        _, spans = self._turns[-1]
        trace_id = f"{self._thread_id}-{len(self._turns) - 1}"
        span_id = f"{trace_id}-{len(spans)}"
        outcomes = _outcomes(span_id, decision, status, result)
        spans.append(
            Span(
                id=span_id,
                trace_id=trace_id,
                index=len(spans),
                messages=tuple(dict(m) for m in self._messages),
                tools=self._tools,
                prompt_token_ids=(1, 2, 3),
                completion_token_ids=(4, 5),
                logprobs=(-0.25, -1.5),
                text="text",
                decision=decision,
                violations=tuple(violations),
                outcomes=outcomes,
                latency_ms=1.5,
            )
        )
        self._messages += _messages(decision, outcomes)
        return self

    @property
    def traces(self) -> list[Trace]:
        return [
            Trace(
                id=f"{self._thread_id}-{number}",
                thread_id=self._thread_id,
                created_at=created_at,
                model="starter",
                adapter="hone-v1-00000000",
                adapter_sha256="0" * 64,
                status=TraceStatus.FINISHED,
                spans=tuple(spans),
            )
            for number, (created_at, spans) in enumerate(self._turns)
        ]


def _outcomes(
    span_id: str, decision: Decision, status: CallStatus | Sequence[CallStatus], result: str
) -> tuple[ToolOutcome, ...]:
    if not isinstance(decision, Execute):
        return ()
    statuses = [status] * len(decision.calls) if isinstance(status, CallStatus) else status
    return tuple(
        ToolOutcome(call_id=f"{span_id}-{i}", call=call, status=each, content=result, latency_ms=2.0)
        for i, (call, each) in enumerate(zip(decision.calls, statuses, strict=True))
    )


def _messages(decision: Decision, outcomes: Sequence[ToolOutcome]) -> list[dict[str, Any]]:
    if isinstance(decision, Execute):
        calls: list[dict[str, Any]] = []
        results: list[dict[str, Any]] = []
        for outcome in outcomes:
            function = {"name": outcome.call.name, "arguments": json.dumps(outcome.call.arguments)}
            calls.append({"id": outcome.call_id, "type": "function", "function": function})
            results.append({"role": "tool", "tool_call_id": outcome.call_id, "content": outcome.content})
        return [{"role": "assistant", "content": "", "tool_calls": calls}, *results]
    if isinstance(decision, Clarify):
        return [{"role": "assistant", "content": decision.question}]
    if isinstance(decision, Refuse):
        return [{"role": "assistant", "content": decision.reason}]
    if isinstance(decision, Invalid):
        error = json.dumps({"error": "invalid_output", "message": decision.error})
        return [{"role": "assistant", "content": decision.raw}, {"role": "tool", "content": error}]
    return [{"role": "assistant", "content": decision.text}]
