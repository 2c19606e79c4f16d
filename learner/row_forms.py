"""One record of a file → a dataset row: the forms in which others write rows, and what makes a record unfit. Pure.

Read beside our own form (`learner.rows`): verl's Parquet, whose nested fields may be JSON texts or structs padded with nulls;
tools without the "function" wrapper; tool calls of earlier messages as bare {"name", "arguments"}; and the plain form, whose
`ground_truth` is a list of calls or a sentence, with or without <TOOLCALL> tags. A sentence is a refusal where it says so, a
question where it asks, else a refusal; such a label is marked `inferred` in `extra_info`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from learner.rows import GroundTruth, Row
from runtime.decision import RESERVED_TOOLS, Clarify, Refuse, classify_text
from tools.json_schema import schema_problem


class Fault(StrEnum):
    """Why a row cannot be measured."""

    NOT_JSON = "not_json"
    NOT_A_ROW = "not_a_row"
    """Fields are missing or of another type."""
    BAD_SCHEMA = "bad_schema"
    """A tool could not be registered as it is described."""
    BAD_LABEL = "bad_label"
    """No policy could be right: the label calls a tool that is not shown, or nothing."""
    SAME_ID = "same_id"
    TOO_LONG = "too_long"
    """Prompt and answer do not fit the policy's context."""
    UNRENDERABLE = "unrenderable"
    """The model's chat template does not take it."""
    FAILED = "failed"
    """The endpoint gave no reply that can be read, whatever was tried."""


class UnfitRow(ValueError):
    """A record that is no row that can be measured."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault, self.detail = fault, detail


_TAGS = re.compile(r"</?TOOLCALL>")
_ASKS = re.compile(r"\?|\bplease (provide|specify|tell|give|share|clarify|confirm|let me know)\b", re.IGNORECASE)
_OPEN_SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {}}


def row_of(record: Any, *, default_id: str, default_source: str) -> Row:
    """The row that a record stands for.

    Args:
        default_id: where `extra_info` names none.
        default_source: where `data_source` is missing.

    Raises: UnfitRow.
    """
    if not isinstance(record, Mapping):
        raise UnfitRow(Fault.NOT_A_ROW, f"a row is a JSON object, not a {type(record).__name__}")
    extra = dict(_mapping(record.get("extra_info"), "extra_info"))
    extra["id"] = str(extra["id"]) if extra.get("id") not in (None, "") else default_id
    tools = record.get("tools") if record.get("tools") is not None else extra.pop("tools", None)
    label = _mapping(record.get("reward_model"), "reward_model").get("ground_truth")
    truth, inferred = _truth(label)
    try:
        row = Row.model_validate(
            {
                "data_source": str(record.get("data_source") or default_source),
                "prompt": _messages(record.get("prompt")),
                "tools": _tools(tools),
                "reward_model": {"style": "rule", "ground_truth": truth},
                "extra_info": {**extra, "inferred": True} if inferred else extra,
            }
        )
    except ValidationError as e:
        first = e.errors()[0]
        raise UnfitRow(Fault.NOT_A_ROW, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from e
    _check_label(row)
    return row


def _decoded(value: Any, name: str) -> Any:
    """What a field holds, which a table may keep as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as e:
        raise UnfitRow(Fault.NOT_A_ROW, f"{name}: a text that is no JSON ({e})") from e


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    decoded = _decoded(value, name) if value else {}
    if not isinstance(decoded, Mapping):
        raise UnfitRow(Fault.NOT_A_ROW, f"{name}: must be an object, not {type(decoded).__name__}")
    return decoded


def _messages(prompt: Any) -> list[dict[str, Any]]:
    if isinstance(prompt, str) and not prompt.lstrip().startswith("["):
        prompt = [{"role": "user", "content": prompt}]
    prompt = _decoded(prompt, "prompt")
    if not isinstance(prompt, Sequence) or not prompt:
        raise UnfitRow(Fault.NOT_A_ROW, "prompt: there are no messages")
    return [_message(message, f"prompt[{i}]") for i, message in enumerate(prompt)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise UnfitRow(Fault.NOT_A_ROW, f"{where}: a message has a role and a content")
    shaped = dict(message)
    if shaped.get("content") is not None and not isinstance(shaped["content"], str | list):
        raise UnfitRow(Fault.NOT_A_ROW, f"{where}.content: must be text, not {type(shaped['content']).__name__}")
    if shaped.get("tool_calls"):
        shaped["tool_calls"] = [_earlier_call(call, f"{where}.tool_calls") for call in shaped["tool_calls"]]
    else:
        shaped.pop("tool_calls", None)
    return shaped


def _earlier_call(call: Any, where: str) -> dict[str, Any]:
    """In OpenAI's shape with arguments as an object, as chat templates want them."""
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise UnfitRow(Fault.NOT_A_ROW, f"{where}: a call has a name and arguments")
    arguments = _mapping(inner.get("arguments"), f"{where}.arguments")
    kept = {"id": call["id"]} if call.get("id") else {}
    return {**kept, "type": "function", "function": {"name": inner["name"], "arguments": dict(arguments)}}


def _tools(tools: Any) -> list[dict[str, Any]]:
    tools = _decoded(tools, "tools") or []
    if not isinstance(tools, Sequence):
        raise UnfitRow(Fault.NOT_A_ROW, f"tools: must be a list, not {type(tools).__name__}")
    shaped = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in shaped]
    for name in names:
        if names.count(name) > 1 or name in RESERVED_TOOLS:
            why = "is reserved" if name in RESERVED_TOOLS else "belongs to two tools"
            raise UnfitRow(Fault.BAD_SCHEMA, f"the tool name {name!r} {why}")
    return shaped


def _tool(tool: Any, where: str) -> dict[str, Any]:
    function = _decoded(tool, where)
    function = function.get("function", function) if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise UnfitRow(Fault.BAD_SCHEMA, f"{where}: a tool has a name")
    try:
        parameters = _decoded(function.get("parameters"), "parameters")
    except UnfitRow as e:
        raise UnfitRow(Fault.BAD_SCHEMA, f"{function['name']}: {e.detail}") from e
    if parameters is None or parameters == {}:
        parameters = dict(_OPEN_SCHEMA)
    problem = _problem(json.dumps(parameters))
    if problem is not None:
        raise UnfitRow(Fault.BAD_SCHEMA, f"{function['name']}: {problem}")
    described = {"name": function["name"], "description": str(function.get("description") or "")}
    return {"type": "function", "function": {**described, "parameters": parameters}}


@lru_cache(maxsize=20_000)
def _problem(schema: str) -> str | None:
    """Kept, since rows of a file share their tools and judging a schema takes milliseconds."""
    return schema_problem(json.loads(schema))


def _truth(label: Any) -> tuple[dict[str, Any], bool]:
    """The label as data for `GroundTruth`, and whether it was inferred from a sentence."""
    if isinstance(label, str):
        text = _TAGS.sub("", label).strip()
        if not text:
            raise UnfitRow(Fault.BAD_LABEL, "ground_truth is empty")
        try:
            label = json.loads(text)
        except (ValueError, RecursionError):
            return {"decision": _meant(text), "text": text}, True
        if not isinstance(label, Mapping | list):
            return {"decision": _meant(text), "text": text}, True
    if isinstance(label, Mapping) and "decision" in label:
        return {key: part for key, part in label.items() if part is not None}, False
    if isinstance(label, Mapping) and "name" in label:
        label = [label]
    if isinstance(label, list) and label:
        return {"decision": "execute", "tool_calls": [_expected(call) for call in label]}, False
    raise UnfitRow(Fault.BAD_LABEL, "ground_truth is neither a decision, nor a list of calls, nor a sentence")


def _expected(call: Any) -> Mapping[str, Any]:
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise UnfitRow(Fault.BAD_LABEL, "ground_truth: a call has a name and arguments")
    return {"name": inner["name"], "arguments": _mapping(inner.get("arguments"), "ground_truth.arguments")}


def _meant(sentence: str) -> str:
    read = classify_text(sentence)
    return (
        "clarify"
        if not isinstance(read, Refuse) and (isinstance(read, Clarify) or _ASKS.search(sentence))
        else "refuse"
    )


def _check_label(row: Row) -> None:
    truth: GroundTruth = row.truth
    shown = {tool["function"]["name"] for tool in row.tools}
    if truth.decision == "execute" and not truth.tool_calls:
        raise UnfitRow(Fault.BAD_LABEL, "the label says execute and names no call")
    for call in truth.tool_calls:
        if call.name not in shown:
            listed = ", ".join(sorted(shown)[:8]) or "none"
            raise UnfitRow(Fault.BAD_LABEL, f"the label calls {call.name!r}, which is not among the tools: {listed}")
    for part in truth.missing:
        if "parameter" not in part:
            raise UnfitRow(Fault.BAD_LABEL, "missing: each part names a parameter, and its tool where that is known")
