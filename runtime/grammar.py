"""The grammar of decisions: what a policy may write, given the tools that it sees, as a Lark text for llguidance.

Under it no output is unreadable: a call is JSON, names a tool that was shown, and gives it no argument that its schema does
not know, with values of the schema's types; a question names parameters of shown tools. Whether a value is right, and whether to
act at all, stays the policy's decision. So a schema's `required` is left out: who lacks a value shall ask or leave it out, not make
one up.

Both policies decode under the same text (`SamplingParams.grammar`): the embedded one through llguidance itself, vLLM through
its guidance backend. Lark syntax and JSON schema within it are llguidance's (github.com/guidance-ai/llguidance, docs/syntax.md).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runtime.decision import ASK_USER, CALL_CLOSE, CALL_OPEN, DECLINE, RefusalCategory

_SPACING = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
"""Compact, as the starter writes, or with one space after separators, as most models do."""
_TEXT = rf"/(?s:.+)/ & ~/(?s:.*)({CALL_OPEN}|{CALL_CLOSE.replace('/', chr(92) + '/')})(?s:.*)/"
_TYPES = {"string", "integer", "number", "boolean", "array", "object", "null"}


def decision_grammar(tools: Sequence[Mapping[str, Any]], *, is_token: bool) -> str:
    """One decision: text, calls of the shown tools, or one reserved call.

    Args:
        tools: registered tools in OpenAI's shape.
        is_token: whether the marks around a call are tokens of their own in the model's vocabulary.
    """
    marks = (CALL_OPEN, CALL_CLOSE) if is_token else (f'"{CALL_OPEN}"', f'"{CALL_CLOSE}"')
    functions = [tool["function"] for tool in tools]
    rules = [f"call_{i}: {_call(f['name'], _arguments(f.get('parameters')))}" for i, f in enumerate(functions)]
    calls = " | ".join(f"call_{i}" for i in range(len(functions)))
    kinds = ["TEXT", "ask", "decline", *(["calls"] if functions else [])]
    return "\n".join(
        [
            f"start: {' | '.join(kinds)}",
            *([f"calls: ({calls})+"] if functions else []),
            *rules,
            f"ask: {_call(ASK_USER, _question(functions))}",
            f"decline: {_call(DECLINE, _refusal())}",
            f"open: {marks[0]}",
            f"close: {marks[1]}",
            f"TEXT: {_TEXT}",
            r"GAP: /\n?/",
        ]
    )


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    schema = _object({"name": {"const": name}, "arguments": arguments}, required=("name", "arguments"))
    body = json.dumps({**schema, "x-guidance": _SPACING}, ensure_ascii=False)
    return f"open GAP %json {body} GAP close GAP"


def _arguments(parameters: Any) -> dict[str, Any]:
    """An object with the properties of a schema, and others only where it says so; any object where it is not plain."""
    schema = parameters if isinstance(parameters, Mapping) else {}
    return _parts(schema) if _is_plain(schema) else {"type": "object"}


def _value(field: Any) -> dict[str, Any]:
    """The form of one value: type, choices and parts."""
    if not isinstance(field, Mapping) or not _is_plain(field):
        return {}
    if isinstance(field.get("enum"), (list, tuple)) and field["enum"]:
        return {"enum": list(field["enum"])}
    if "const" in field:
        return {"const": field["const"]}
    kind = field.get("type")
    if not {*(kind if isinstance(kind, (list, tuple)) else [kind])} <= _TYPES:
        return {}
    if kind == "array":
        return {"type": "array", "items": _value(field.get("items"))}
    return _parts(field) if kind == "object" and field.get("properties") else {"type": kind}


def _parts(schema: Mapping[str, Any]) -> dict[str, Any]:
    others = schema.get("additionalProperties", False)
    parts = _object({name: _value(part) for name, part in schema.get("properties", {}).items()})
    return parts | {"additionalProperties": others if isinstance(others, bool) else _value(others)}


_COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "prefixItems")


def _is_plain(schema: Mapping[str, Any]) -> bool:
    return not any(word in schema for word in _COMBINING)


def _question(functions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    choices = []
    for function in functions:
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        if properties:
            named = {"tool": {"const": function["name"]}, "parameter": {"enum": list(properties)}}
            choices.append(_object(named, required=("tool", "parameter")))
    items = {"anyOf": choices} if choices else _object({"tool": {"type": "string"}, "parameter": {"type": "string"}})
    missing = {"type": "array", "items": items}
    return _object({"missing": missing, "question": {"type": "string"}}, required=("missing", "question"))


def _refusal() -> dict[str, Any]:
    category = {"enum": [category.value for category in RefusalCategory]}
    return _object({"category": category, "reason": {"type": "string"}}, required=("category", "reason"))


def _object(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
