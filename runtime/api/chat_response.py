"""From a finished or running turn to OpenAI's response shapes, plain and as stream chunks. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.agent.citations import citations, unsupported_numbers
from runtime.agent.messages import PendingCall, Reply
from runtime.agent.running import TurnResult
from runtime.decision import Clarify, DecisionKind, Execute, Invalid, MissingParameter, RefusalCategory, confidence
from runtime.policy.base import BASE_POLICY
from runtime.traces.schema import Span

_WORDS = re.compile(r"\s*\S+\s*")
_WORDS_PER_CHUNK = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """What every chunk and the whole response say alike."""

    trace_id: str
    model: str
    """As the request named it."""
    created: int
    """Unix time, seconds."""

    def envelope(self, kind: str) -> dict[str, Any]:
        completion = f"chatcmpl-{self.trace_id.removeprefix('trace_')}"
        return {"id": completion, "object": kind, "created": self.created, "model": self.model}


def headers(trace_id: str, thread_id: str, adapter: str | None) -> dict[str, str]:
    return {"x-hone-trace": trace_id, "x-hone-thread": thread_id, "x-hone-policy": adapter or BASE_POLICY}


def completion(identity: Identity, result: TurnResult) -> dict[str, Any]:
    """The body of a plain response."""
    reply = result.reply
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.calls:
        message |= {"content": None, "tool_calls": [_call(part) for part in reply.calls]}
    elif reply.decision is DecisionKind.REFUSE:
        message |= {"content": None, "refusal": reply.text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(reply)}
    return {
        **identity.envelope("chat.completion"),
        "choices": [choice],
        "usage": usage(result),
        "hone": hone_field(result),
    }


def chunks(identity: Identity, result: TurnResult, *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """What follows the role chunk: the reply in pieces, the finish, and the usage where it was asked for."""
    reply = result.reply
    field = "refusal" if reply.decision is DecisionKind.REFUSE else "content"
    for piece in pieces(reply.text):
        yield chunk(identity, {field: piece}, with_usage=with_usage)
    for index, part in enumerate(reply.calls):
        yield chunk(identity, {"tool_calls": [{"index": index, **_call(part)}]}, with_usage=with_usage)
    last = chunk(identity, {}, finish=finish_reason(reply), with_usage=with_usage)
    yield {**last, "hone": hone_field(result)}
    if with_usage:
        yield {**identity.envelope("chat.completion.chunk"), "choices": [], "usage": usage(result)}


def chunk(
    identity: Identity, delta: dict[str, Any], *, finish: str | None = None, with_usage: bool = False
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    shaped = {**identity.envelope("chat.completion.chunk"), "choices": [choice]}
    return {**shaped, "usage": None} if with_usage else shaped


def progress_chunk(identity: Identity, span: Span, *, with_usage: bool) -> dict[str, Any]:
    """An empty delta that tells what the turn is at; clients that know no `hone` field see nothing."""
    return {**chunk(identity, {}, with_usage=with_usage), "hone": {"step": step(span)}}


def finish_reason(reply: Reply) -> str:
    if reply.calls:
        return "tool_calls"
    return "length" if reply.stopped in ("cut", "step_limit", "token_limit", "time_limit") else "stop"


def usage(result: TurnResult) -> dict[str, int]:
    counted = result.usage
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
    }


def hone_field(result: TurnResult) -> dict[str, Any]:
    """What OpenAI's shape has no place for: the decision and its details, and how the turn came to it."""
    reply, trace = result.reply, result.trace
    field: dict[str, Any] = {
        "decision": reply.decision.value,
        "thread": trace.thread_id,
        "trace": trace.id,
        "policy": trace.adapter or BASE_POLICY,
        "steps": [step(span) for span in trace.spans],
    }
    last = trace.spans[-1] if trace.spans else None
    field |= _sure(last) if last is not None else {}
    if reply.decision is DecisionKind.CLARIFY:
        field["missing"] = [_missing(part, _parameters(reply, part.tool, last)) for part in reply.missing]
    if reply.category is not None:
        field["category"] = reply.category.value
    if reply.decision is DecisionKind.REFUSE and last is not None and reply.category is not RefusalCategory.UNSAFE:
        field["can_do"] = [_offer(shown["function"]) for shown in last.tools]
    if reply.decision is DecisionKind.ANSWER and last is not None:
        field |= _support(reply.text, last)
    if reply.inferred:
        field["inferred"] = True
    if reply.stopped is not None:
        field["stopped"] = reply.stopped
    if reply.approval is not None:
        field["approval"] = reply.approval.model_dump(mode="json")
    if result.dropped:
        field["dropped_messages"] = result.dropped
    return field


def _parameters(reply: Reply, tool: str, span: Span | None) -> Mapping[str, Any]:
    """Schema of what is asked for: a question of the tool's own has one."""
    if reply.requested is not None:
        return reply.requested
    functions = [shown["function"] for shown in (span.tools if span is not None else ())]
    return next((f.get("parameters") for f in functions if f["name"] == tool), None) or {}


def _missing(part: MissingParameter, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, with what its schema says of it: what it means, and what may be chosen."""
    schema: Any = (parameters.get("properties") or {}).get(part.parameter)
    shaped = part.model_dump()
    if isinstance(schema, Mapping):
        items = schema.get("items")
        choices = schema.get("enum") or (items.get("enum") if isinstance(items, Mapping) else None)
        shaped |= {"description": schema["description"]} if schema.get("description") else {}
        shaped |= {"choices": choices} if choices else {}
    return shaped


def _offer(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"tool": function["name"], "description": function.get("description") or ""}


def _support(answer: str, span: Span) -> dict[str, Any]:
    """Where the answer comes from, where any tool has said something."""
    if all(message["role"] != "tool" for message in span.messages):
        return {}
    shaped = {"citations": [citation.model_dump() for citation in citations(answer, span.messages)]}
    unsupported = unsupported_numbers(answer, span.messages)
    return shaped | ({"unsupported": list(unsupported)} if unsupported else {})


def _sure(span: Span) -> dict[str, float]:
    """How sure the policy was; nothing where it wrote nothing (a call that goes on with the user's answer)."""
    return {"confidence": round(confidence(span.logprobs), 4)} if span.logprobs else {}


def step(span: Span) -> dict[str, Any]:
    """One call of the policy, short."""
    decision = span.decision
    shaped: dict[str, Any] = {"index": span.index, "decision": decision.kind.value, **_sure(span)}
    if isinstance(decision, Execute):
        shaped["calls"] = _calls(span, decision)
    elif isinstance(decision, Clarify):
        shaped["missing"] = [part.model_dump() for part in decision.missing]
    elif isinstance(decision, Invalid):
        shaped["error"] = decision.error
    if span.violations:
        shaped["violations"] = list(span.violations)
    return shaped


def _calls(span: Span, decision: Execute) -> list[dict[str, Any]]:
    outcomes = {outcome.call_id.rpartition("_")[2]: outcome for outcome in span.outcomes}
    shaped = []
    for number, call in enumerate(decision.calls):
        outcome = outcomes.get(str(number))
        shaped.append(
            {
                "tool": call.name,
                "arguments": call.arguments,
                "status": outcome.status.value if outcome else None,
                "result": outcome.content if outcome else None,
                "latency_ms": round(outcome.latency_ms, 2) if outcome else None,
            }
        )
    return shaped


def _call(part: PendingCall) -> dict[str, Any]:
    arguments = json.dumps(part.call.arguments, ensure_ascii=False)
    return {"id": part.id, "type": "function", "function": {"name": part.call.name, "arguments": arguments}}


def pieces(text: str) -> Iterator[str]:
    """A reply as it is streamed: a few words at a time; together they are the text."""
    words = _WORDS.findall(text) if text.strip() else [text] if text else []
    for start in range(0, len(words), _WORDS_PER_CHUNK):
        yield "".join(words[start : start + _WORDS_PER_CHUNK])
