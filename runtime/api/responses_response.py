"""From a finished or running turn to a response of OpenAI's Responses API, whole and as stream events. Pure.

A turn's reply is one output item, or one for each call that the client is to run. Calls of tools that hone runs are no items:
the `hone` field tells of them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.agent.messages import PendingCall, Reply
from runtime.agent.running import TurnResult
from runtime.api.chat_response import finish_reason, hone_field, pieces, step
from runtime.decision import DecisionKind
from runtime.traces.schema import Span

_TRACE, _RESPONSE = "trace_", "resp_"


def response_id(trace_id: str) -> str:
    return _RESPONSE + trace_id.removeprefix(_TRACE)


def trace_id(response: str) -> str | None:
    """None: no response of ours has such an id."""
    return _TRACE + response.removeprefix(_RESPONSE) if response.startswith(_RESPONSE) else None


@dataclass(frozen=True, slots=True)
class Frame:
    """What every state of one response says alike."""

    trace_id: str
    created_at: int
    """Unix time, seconds."""
    echo: Mapping[str, Any]
    """What it says of its request."""

    def response(self, status: str, **others: Any) -> dict[str, Any]:
        return {
            "id": response_id(self.trace_id),
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": None,
            "incomplete_details": None,
            **self.echo,
            "output": [],
            "usage": None,
            **others,
        }


def finished(frame: Frame, result: TurnResult) -> dict[str, Any]:
    """The whole response."""
    status = "incomplete" if _is_cut(result.reply) else "completed"
    return frame.response(
        status,
        incomplete_details={"reason": "max_output_tokens"} if _is_cut(result.reply) else None,
        output=_items(frame, result.reply),
        usage=_usage(result),
        hone=hone_field(result),
    )


def opening_events(frame: Frame) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": frame.response("in_progress")}
    yield {"type": "response.in_progress", "response": frame.response("in_progress")}


def progress_event(frame: Frame, span: Span) -> dict[str, Any]:
    """Tells what the turn is at, as a repetition of an event that every client knows."""
    return {"type": "response.in_progress", "response": frame.response("in_progress"), "hone": {"step": step(span)}}


def closing_events(frame: Frame, result: TurnResult) -> Iterator[dict[str, Any]]:
    """The reply in pieces, and the whole."""
    whole = finished(frame, result)
    for index, item in enumerate(whole["output"]):
        events = _call_events(item) if item["type"] == "function_call" else _message_events(item)
        for event in events:
            yield {**event, "output_index": index}
    yield {"type": f"response.{whole['status']}", "response": whole}


def failed_event(frame: Frame, error: Mapping[str, Any]) -> dict[str, Any]:
    """Args: error: the inside of the error envelope."""
    told = {"code": "server_error", "message": error["message"], "param": error["param"], "type": error["type"]}
    return {"type": "response.failed", "response": frame.response("failed", error=told)}


def _is_cut(reply: Reply) -> bool:
    return finish_reason(reply) == "length"


def _items(frame: Frame, reply: Reply) -> list[dict[str, Any]]:
    stem = frame.trace_id.removeprefix(_TRACE)
    if reply.calls:
        return [_call_item(f"fc_{stem}_{n}", part) for n, part in enumerate(reply.calls)]
    if reply.decision is DecisionKind.REFUSE:
        part = {"type": "refusal", "refusal": reply.text}
    else:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    status = "incomplete" if _is_cut(reply) else "completed"
    return [{"id": f"msg_{stem}", "type": "message", "status": status, "role": "assistant", "content": [part]}]


def _call_item(item_id: str, part: PendingCall) -> dict[str, Any]:
    arguments = json.dumps(part.call.arguments, ensure_ascii=False)
    return {
        "id": item_id,
        "type": "function_call",
        "status": "completed",
        "call_id": part.id,
        "name": part.call.name,
        "arguments": arguments,
    }


def _message_events(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    (part,) = item["content"]
    field = "refusal" if part["type"] == "refusal" else "text"
    kind = "response.refusal" if part["type"] == "refusal" else "response.output_text"
    place = {"item_id": item["id"], "content_index": 0}
    extra = {} if field == "refusal" else {"logprobs": []}
    yield {"type": "response.output_item.added", "item": {**item, "status": "in_progress", "content": []}}
    yield {"type": "response.content_part.added", **place, "part": {**part, field: ""}}
    for piece in pieces(part[field]):
        yield {"type": f"{kind}.delta", **place, "delta": piece, **extra}
    yield {"type": f"{kind}.done", **place, field: part[field], **extra}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "item": item}


def _call_events(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"item_id": item["id"]}
    arguments = item["arguments"]
    yield {"type": "response.output_item.added", "item": {**item, "status": "in_progress", "arguments": ""}}
    yield {"type": "response.function_call_arguments.delta", **place, "delta": arguments}
    yield {
        "type": "response.function_call_arguments.done",
        **place,
        "name": item["name"],
        "arguments": arguments,
    }
    yield {"type": "response.output_item.done", "item": item}


def _usage(result: TurnResult) -> dict[str, Any]:
    counted = result.usage
    return {
        "input_tokens": counted.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": counted.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
    }
