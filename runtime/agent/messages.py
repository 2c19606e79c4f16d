"""Conversations as data: OpenAI-shaped messages, the reply of a turn, and the digest of what a client has seen.

Pure functions. In messages that the policy sees, the arguments of tool calls are objects, as chat templates want them;
OpenAI's wire form (a JSON string) exists at the HTTP edge only.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from runtime.decision import (
    Answer,
    Clarify,
    Decision,
    DecisionKind,
    Execute,
    Invalid,
    MissingParameter,
    RefusalCategory,
    Refuse,
    ToolCall,
)
from tools.question import Question
from tools.spec import JsonSchema

Message: TypeAlias = dict[str, Any]

SYSTEM_ROLES = ("system", "developer")
_LARGEST_INT = 2**63 - 1
_DEEPEST = 100
"""Levels of objects and lists in one value; a thread checkpoint takes some more, which the messages round it need."""

StopReason: TypeAlias = Literal[
    "step_limit", "token_limit", "time_limit", "cut", "invalid_output", "adapter_gone", "interrupted"
]
"""Why a turn ended without a decision to end it; `cut` is an output that ran into its token limit, `adapter_gone` a turn
that waited longer than the adapter that it began with was kept, `interrupted` one that gave way to a newer message."""

_STOP_TEXT: Mapping[StopReason, str] = {
    "step_limit": "I stopped: this took more steps than one turn may have.",
    "time_limit": "I stopped: this took longer than one turn may take.",
    "token_limit": "I stopped: this took more words than one turn may have.",
    "cut": "",
    "adapter_gone": "",
    "interrupted": "I stopped here, since there was something newer.",
    "invalid_output": "Sorry, I could not work out how to do that. Could you put it another way?",
}


class PendingCall(BaseModel):
    """A call that the client is to run."""

    model_config = ConfigDict(frozen=True)

    id: str
    call: ToolCall


class AskedFor(BaseModel):
    """The call that a person is asked to approve."""

    model_config = ConfigDict(frozen=True)

    id: str
    tool: str
    arguments: dict[str, Any]
    why: str
    expires_at: datetime


class AskedCall(BaseModel):
    """A call that stopped to ask the user something."""

    model_config = ConfigDict(frozen=True)

    call: ToolCall
    question: Question


class Reply(BaseModel):
    """What the user gets at the end of a turn, or when it begins to wait."""

    model_config = ConfigDict(frozen=True)

    decision: DecisionKind
    text: str
    """The answer, the question or the reason; empty when `calls` are handed to the client."""
    calls: tuple[PendingCall, ...] = ()
    missing: tuple[MissingParameter, ...] = ()
    category: RefusalCategory | None = None
    inferred: bool = False
    stopped: StopReason | None = None
    approval: AskedFor | None = None
    """The turn waits for this."""
    requested: JsonSchema | None = None
    """Of the answer, where a tool asks."""


def reply_to(decision: Decision, calls: Sequence[PendingCall] = ()) -> Reply:
    """The reply that a turn-ending decision makes."""
    match decision:
        case Answer():
            return Reply(decision=decision.kind, text=decision.text)
        case Clarify():
            text = decision.question.strip() or _question(decision.missing)
            return Reply(decision=decision.kind, text=text, missing=decision.missing, inferred=decision.inferred)
        case Refuse():
            text = decision.reason.strip() or "I can't help with that."
            return Reply(decision=decision.kind, text=text, category=decision.category, inferred=decision.inferred)
        case Execute():
            return Reply(decision=decision.kind, text="", calls=tuple(calls))
        case Invalid():
            return stopped_reply(decision.kind, "invalid_output")


def asking_reply(asked: AskedCall) -> Reply:
    """A tool's question, in the form of a clarify."""
    missing = tuple(MissingParameter(tool=asked.call.name, parameter=name) for name in asked.question.fields)
    text = asked.question.message.strip() or _question(missing)
    return Reply(decision=DecisionKind.CLARIFY, text=text, missing=missing, requested=asked.question.requested)


def stopped_reply(decision: DecisionKind, reason: StopReason, text: str = "") -> Reply:
    return Reply(decision=decision, text=text or _STOP_TEXT[reason], stopped=reason)


def _question(missing: Sequence[MissingParameter]) -> str:
    names = ", ".join(dict.fromkeys(part.parameter for part in missing))
    return f"Could you tell me: {names}?" if names else "Could you tell me more?"


def reply_message(reply: Reply) -> Message:
    """The reply as the policy sees it in later turns: a question or a reason is plain text. A question is marked, since what the
    user says next makes no sense without it."""
    if reply.calls:
        return calls_message(reply.calls)
    said = {"role": "assistant", "content": reply.text}
    return {**said, "asks": True} if reply.decision is DecisionKind.CLARIFY else said


def is_new_request(messages: Sequence[Message], at: int) -> bool:
    """Whether the message is a user's, and not what they said to a question."""
    return messages[at]["role"] == "user" and not (at > 0 and messages[at - 1].get("asks"))


def calls_message(calls: Iterable[PendingCall]) -> Message:
    shaped = [
        {"id": c.id, "type": "function", "function": {"name": c.call.name, "arguments": c.call.arguments}}
        for c in calls
    ]
    return {"role": "assistant", "content": "", "tool_calls": shaped}


def tool_message(call_id: str, name: str, content: str, *, trusted: bool = False) -> Message:
    """Args: trusted: not written by anybody outside; only what is marked so counts as such."""
    shaped: Message = {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}
    return {**shaped, "trusted": True} if trusted else shaped


def asking_message(call_id: str, name: str, content: str, asked: AskedCall) -> Message:
    """A tool's result that is a question to the user; what is needed to go on with the call stays with it."""
    return {**tool_message(call_id, name, content), "asked": asked.model_dump(mode="json")}


def open_question(messages: Sequence[Message]) -> AskedCall | None:
    """The call that waits for what the user has just said; None: none does."""
    if len(messages) < 3 or messages[-1]["role"] != "user" or messages[-2]["role"] != "assistant":
        return None
    for message in reversed(messages[:-2]):
        if message["role"] != "tool":
            return None
        if "asked" in message:
            return AskedCall.model_validate(message["asked"])
    return None


def as_shown(message: Message) -> Message:
    """The message without what only the runtime needs."""
    return {key: value for key, value in message.items() if key not in ("trusted", "asked", "asks")}


def error_message(error: str) -> Message:
    """What the policy is shown when its output could not be read; an error of a call has the same form."""
    content = json.dumps({"error": "invalid_output", "message": error}, ensure_ascii=False)
    return {"role": "tool", "content": content}


def sound(decision: Decision, raw: str) -> Decision:
    """`decision`, or Invalid when it holds a value that could not be kept or sent on."""
    problem = unsound(decision.model_dump())
    return decision if problem is None else Invalid(raw=raw, error=f"the output {problem}")


def unsound(value: Any) -> str | None:
    """Why a value read from JSON text could not be written as JSON, or kept in a thread checkpoint; None: it can."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
        largest = max((abs(n) for n in _integers(json.loads(text))), default=0)
        depth = _depth(value)
    except (ValueError, RecursionError) as e:
        return f"holds a value that JSON cannot carry: {e}"
    if depth > _DEEPEST:
        return f"is nested {depth} levels deep: the most are {_DEEPEST}"
    return None if largest <= _LARGEST_INT else f"holds an integer that is too large: the largest is {_LARGEST_INT}"


def _depth(value: Any) -> int:
    if not isinstance(value, Mapping | list | tuple):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, Mapping) else value), default=0)


def _integers(value: Any) -> Iterable[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _integers(part)


def split_system(messages: Sequence[Message]) -> tuple[str | None, list[Message]]:
    """The leading system text, if any, and the rest."""
    count = 0
    while count < len(messages) and messages[count]["role"] in SYSTEM_ROLES:
        count += 1
    text = "\n\n".join(str(m["content"]) for m in messages[:count])
    return (text or None), list(messages[count:])


def with_system(system: str | None, messages: Iterable[Message]) -> list[Message]:
    return [{"role": "system", "content": system}, *messages] if system else list(messages)


EMPTY_DIGEST = ""


def extend_digest(digest: str, messages: Iterable[Message]) -> str:
    """The digest of a conversation grown by `messages`, as a client sees them.

    What clients often lose or change when they send a conversation again does not count: ids of calls, surrounding
    white space, names.
    """
    for message in messages:
        calls = [[c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls") or ()]
        role = "system" if message["role"] in SYSTEM_ROLES else message["role"]
        seen = json.dumps([digest, role, str(message.get("content") or "").strip(), calls], sort_keys=True)
        digest = hashlib.sha256(seen.encode()).hexdigest()
    return digest
