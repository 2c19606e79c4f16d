"""The typed heart: what the policy decided, parsed from what it wrote.

A decision is exactly one of execute, clarify, refuse, answer or invalid. On the wire to the model, clarify and
refuse are two reserved tools, `ask_user` and `decline`, so that any instruct model with tool support can take
them, and no judge is needed to tell them apart. Parsing is pure and never raises: what cannot be read becomes
`Invalid`, which is kept as a negative example.

Serving and training use this one parser.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

ASK_USER = "ask_user"
DECLINE = "decline"
RESERVED_TOOLS = frozenset({ASK_USER, DECLINE})

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"
_CALL = re.compile(rf"{CALL_OPEN}\s*(.*?)\s*(?:{CALL_CLOSE}|\Z)", re.DOTALL)


class DecisionKind(StrEnum):
    EXECUTE = "execute"
    CLARIFY = "clarify"
    REFUSE = "refuse"
    ANSWER = "answer"
    INVALID = "invalid"


class RefusalCategory(StrEnum):
    OUT_OF_SCOPE = "out_of_scope"
    UNSAFE = "unsafe"
    NOT_PERMITTED = "not_permitted"
    UNAVAILABLE = "unavailable"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToolCall(_Frozen):
    name: str
    arguments: dict[str, Any] = {}


class MissingParameter(_Frozen):
    tool: str
    parameter: str


class Execute(_Frozen):
    kind: Literal[DecisionKind.EXECUTE] = DecisionKind.EXECUTE
    calls: tuple[ToolCall, ...] = Field(min_length=1)


class Clarify(_Frozen):
    kind: Literal[DecisionKind.CLARIFY] = DecisionKind.CLARIFY
    question: str
    missing: tuple[MissingParameter, ...] = ()
    inferred: bool = False
    """True when read from plain text by `classify_text`, not from a call of `ask_user`."""


class Refuse(_Frozen):
    kind: Literal[DecisionKind.REFUSE] = DecisionKind.REFUSE
    reason: str
    category: RefusalCategory = RefusalCategory.OUT_OF_SCOPE
    inferred: bool = False
    """True when read from plain text by `classify_text`, not from a call of `decline`."""


class Answer(_Frozen):
    kind: Literal[DecisionKind.ANSWER] = DecisionKind.ANSWER
    text: str


class Invalid(_Frozen):
    kind: Literal[DecisionKind.INVALID] = DecisionKind.INVALID
    raw: str
    error: str
    """What is wrong, in words that the policy can act on."""


Decision: TypeAlias = Annotated[Execute | Clarify | Refuse | Answer | Invalid, Field(discriminator="kind")]

_DECISION: TypeAdapter[Decision] = TypeAdapter(Decision)


def confidence(logprobs: Sequence[float]) -> float:
    """How sure the policy was of the whole of what it wrote: the product of its tokens' probabilities, 0 to 1.

    Args:
        logprobs: natural logs, one for each token written, the end of the turn included; at least one.
    """
    return math.exp(math.fsum(logprobs))


def dump_decision(decision: Decision) -> dict[str, Any]:
    """The decision as JSON data, as stored in traces."""
    return _DECISION.dump_python(decision, mode="json")


def load_decision(data: Mapping[str, Any]) -> Decision:
    """The inverse of `dump_decision`."""
    return _DECISION.validate_python(data)


def parse_decision(text: str, tool_names: Sequence[str], *, after_tool_result: bool = False) -> Decision:
    """Reads what the policy wrote.

    Args:
        text: the completion, without the end-of-turn token.
        tool_names: the registered tools that were shown; the reserved ones are implied.
        after_tool_result: True when the last message was a tool's result, so plain text is the answer.
    """
    if CALL_OPEN not in text:
        if CALL_CLOSE in text:
            return Invalid(raw=text, error=f"{CALL_CLOSE} without {CALL_OPEN}")
        return Answer(text=text.strip()) if after_tool_result and text.strip() else classify_text(text)
    calls: list[ToolCall] = []
    for body in _CALL.findall(text):
        call = _parse_call(body)
        if isinstance(call, str):
            return Invalid(raw=text, error=call)
        calls.append(call)
    return _decide(text, calls, tool_names)


def write_decision(decision: Decision) -> str:
    """The wire form that `parse_decision` reads back, compact, as the starter model is taught to write it."""
    if isinstance(decision, Execute):
        return "".join(_write_call(call.name, call.arguments) for call in decision.calls)
    if isinstance(decision, Clarify):
        missing = [{"tool": m.tool, "parameter": m.parameter} for m in decision.missing]
        return _write_call(ASK_USER, {"missing": missing, "question": decision.question})
    if isinstance(decision, Refuse):
        return _write_call(DECLINE, {"category": decision.category.value, "reason": decision.reason})
    return decision.text if isinstance(decision, Answer) else decision.raw


def _write_call(name: str, arguments: Mapping[str, Any]) -> str:
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False, separators=(",", ":"))
    return f"{CALL_OPEN}{body}{CALL_CLOSE}"


def _decide(text: str, calls: list[ToolCall], tool_names: Sequence[str]) -> Decision:
    reserved = [call for call in calls if call.name in RESERVED_TOOLS]
    if reserved:
        if len(calls) > 1:
            return Invalid(raw=text, error=f"{reserved[0].name} must be the only call")
        return _parse_reserved(text, reserved[0])
    for call in calls:
        if call.name not in tool_names:
            known = ", ".join(tool_names) or "none"
            return Invalid(raw=text, error=f"no tool named {call.name!r}; the tools are: {known}")
    return Execute(calls=tuple(calls))


def _parse_call(body: str) -> ToolCall | str:
    try:
        data = json.loads(body)
    except (json.JSONDecodeError, RecursionError) as e:
        return f"the call is not JSON: {e}"
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return 'a call is {"name": ..., "arguments": {...}}'
    arguments = data.get("arguments", {})
    if isinstance(arguments, str):  # OpenAI's wire form carries the arguments as a JSON string
        try:
            arguments = json.loads(arguments)
        except (json.JSONDecodeError, RecursionError) as e:
            return f"the arguments of {data['name']!r} are not JSON: {e}"
    if not isinstance(arguments, dict):
        return f"the arguments of {data['name']!r} must be an object"
    return ToolCall(name=data["name"], arguments=arguments)


def _parse_reserved(text: str, call: ToolCall) -> Decision:
    try:
        if call.name == ASK_USER:
            missing = call.arguments.get("missing") or ()
            return Clarify(question=call.arguments.get("question", ""), missing=missing)
        return Refuse(
            reason=call.arguments.get("reason", ""),
            category=call.arguments.get("category", RefusalCategory.OUT_OF_SCOPE),
        )
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Invalid(raw=text, error=f"{call.name}: {where}: {first['msg']}")


_REFUSAL = re.compile(
    r"\b(i('m| am) (sorry|afraid|unable)|i (can('t|not|’t)|won('t|’t)|do(n't| not) have (a|the|any) (tool|way|access|ability)))",
    re.IGNORECASE,
)


def classify_text(text: str) -> Decision:
    """Plain text from a stock model: a refusal phrase makes it refuse, a question clarify, else it is an answer.

    Refusal is looked for first, since polite refusals often end in a question ("I can't do that. Anything else?").
    """
    stripped = text.strip()
    if not stripped:
        return Invalid(raw=text, error="empty output: call a tool, ask_user or decline")
    if _REFUSAL.search(stripped):
        return Refuse(reason=stripped, inferred=True)
    if stripped.endswith("?"):
        return Clarify(question=stripped, inferred=True)
    return Answer(text=stripped)
