"""JSON Schema (draft 2020-12) of a tool's arguments: is the schema sound, and do these arguments fit it?

Pure, and never on the network: a `$ref` may only point into the schema itself. `date`, `date-time` and `time` formats
are checked; other formats are descriptions.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

_CHECKED_FORMATS = ("date", "date-time", "time")
_FORMAT_HINTS = {
    "date": "a date as YYYY-MM-DD",
    "date-time": "a date and time with offset as YYYY-MM-DDTHH:MM:SSZ (RFC 3339)",
    "time": "a time with offset as HH:MM:SSZ (RFC 3339)",
}
MAX_DEPTH = 32
"""Levels of nesting that arguments and schemas may have; beyond it, recursive code is at risk."""
MAX_ERRORS = 8
MAX_VALUE_CHARS = 60


def schema_problem(schema: Any) -> str | None:
    """What keeps `schema` from describing a tool's arguments, after its JSON path; None when it is sound."""
    if not isinstance(schema, Mapping):
        return f"$: must be an object, not {_show(schema)}"
    broken = next(_unsound_values(schema, "$"), None)
    if broken is not None:
        return broken
    worst = None if _is_plain(schema) else best_match(_meta_validator().iter_errors(schema))
    if worst is not None:
        return f"{_path('$', worst.absolute_path)}: {_explain(worst)}"
    if schema.get("type") != "object":
        return f'$.type: must be "object", since arguments go by name, not {_show(schema.get("type"))}'
    return next(_unresolvable_references(schema), None)


def argument_errors(schema: Mapping[str, Any], arguments: Any, *, root: str = "") -> list[str]:
    """What is wrong with `arguments`, in words that the policy can act on; empty when they fit.

    Args: root: JSON path of the arguments, where they are part of something larger.
    """
    if not isinstance(arguments, Mapping):
        return [f"arguments: must be an object, not {_show(arguments)}"]
    unsound = list(_unsound_values(arguments, root))
    if unsound:
        return unsound[:MAX_ERRORS]
    validator = Draft202012Validator(
        dict(schema), format_checker=FormatChecker(formats=_CHECKED_FORMATS), registry=Registry()
    )
    try:
        found = sorted(validator.iter_errors(arguments), key=lambda error: [str(part) for part in error.absolute_path])
    except Unresolvable as e:
        return [f"schema: the reference {e.ref!r} leads nowhere; the tool's developer must mend it"]
    except RecursionError:
        return ["schema: refers to itself without end; the tool's developer must mend it"]
    return [_argument_error(error, root) for error in found[:MAX_ERRORS]]


_KINDS = {"string", "integer", "number", "boolean", "array", "object", "null"}
_TEXTS = ("description", "title", "format")
_PLAIN = {"type", "properties", "required", "items", "enum", "default", *_TEXTS}


def _is_plain(schema: Any) -> bool:
    """Whether a schema holds common keywords alone, each as the meta-schema wants it: the meta-schema itself takes milliseconds for
    each schema, and of those in public sets nearly all are plain."""
    if not isinstance(schema, Mapping) or not schema.keys() <= _PLAIN:
        return False
    properties, required, choices = schema.get("properties", {}), schema.get("required", []), schema.get("enum", [])
    return (
        ("type" not in schema or (isinstance(schema["type"], str) and schema["type"] in _KINDS))
        and all(isinstance(schema.get(name, ""), str) for name in _TEXTS)
        and isinstance(choices, list)
        and isinstance(required, list)
        and all(isinstance(name, str) for name in required)
        and len(set(required)) == len(required)
        and isinstance(properties, Mapping)
        and all(map(_is_plain, properties.values()))
        and ("items" not in schema or _is_plain(schema["items"]))
    )


@cache
def _meta_validator() -> Draft202012Validator:
    """Kept, since it takes in the vocabularies of the meta-schema, which is most of the work of judging one schema."""
    return Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _argument_error(error: ValidationError, root: str) -> str:
    where = _path(root, error.absolute_path)
    return f"{where}: {_explain(error)}" if where else _explain(error)


def _explain(error: ValidationError) -> str:
    """jsonschema's message where it is short and plain, our own where it would repeat a whole value or schema."""
    keyword, wanted, value = str(error.validator), error.validator_value, error.instance
    match keyword:
        case "required" if isinstance(value, Mapping):
            missing = [name for name in _strings(wanted) if name not in value and error.message.startswith(repr(name))]
            return f"{', '.join(missing)}: required, but missing" if missing else _cut(error.message)
        case "additionalProperties" if isinstance(value, Mapping):
            known = list(error.schema.get("properties", ())) if isinstance(error.schema, Mapping) else []
            extra = [name for name in value if name not in known]
            return f"{', '.join(map(str, extra))}: no such parameter; there are: {', '.join(known) or 'none'}"
        case "type":
            kinds = " or ".join(_strings(wanted))
            return f"{_show(value)} is not of type {kinds}"
        case "enum" if isinstance(wanted, list):
            return f"{_show(value)} is not one of {', '.join(_show(choice) for choice in wanted[:20])}"
        case "format":
            return f"{_show(value)} is not {_FORMAT_HINTS.get(str(wanted), f'a {wanted}')}"
        case "pattern":
            return f"{_show(value)} does not match the pattern {wanted}"
        case "anyOf" | "oneOf":
            closest = best_match(error.context or ())
            return f"{_show(value)} fits none of the {keyword} forms" + (
                f" (nearest: {_explain(closest)})" if closest is not None else ""
            )
    return _cut(error.message)


def _unsound_values(value: Any, where: str = "", depth: int = 0) -> Iterator[str]:
    """Values that JSON cannot carry, though Python can: they would break the call after the schema let them pass."""
    if depth > MAX_DEPTH:
        yield f"{where[:MAX_VALUE_CHARS]}...: nested deeper than {MAX_DEPTH} levels"
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str) or not _encodes(key):
                yield f"{where or 'arguments'}: the name {key!r} is not text"
                continue
            yield from _unsound_values(part, f"{where}.{key}" if where else key, depth + 1)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _unsound_values(part, f"{where}[{index}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where}: {value} is not a number that JSON knows"
    elif isinstance(value, str) and not _encodes(value):
        yield f"{where}: holds a broken character (a lone surrogate)"
    elif value is not None and not isinstance(value, str | int | float | bool):
        yield f"{where}: a {type(value).__name__} is not JSON"


def _unresolvable_references(schema: Mapping[str, Any]) -> Iterator[str]:
    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
    for path, reference in _references(schema, "$"):
        if not reference.startswith("#"):
            yield f"{path}: {reference!r} points outside the schema; put the definition under $defs"
            continue
        try:
            resolver.lookup(reference)
        except Unresolvable:
            yield f"{path}: {reference!r} leads nowhere; define it under $defs"


def _references(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, part in node.items():
            if key in ("$ref", "$dynamicRef") and isinstance(part, str):
                yield f"{path}.{key}", part
            elif key not in ("enum", "const", "default", "examples"):  # data, not schema
                yield from _references(part, f"{path}.{key}")
    elif isinstance(node, list):
        for index, part in enumerate(node):
            yield from _references(part, f"{path}[{index}]")


def _path(root: str, parts: Iterable[str | int]) -> str:
    path = root
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(part) for part in value] if isinstance(value, list) else []


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _show(value: Any) -> str:
    """A value as JSON, cut to a length that leaves the message readable."""
    try:
        return _cut(json.dumps(value, ensure_ascii=False), MAX_VALUE_CHARS)
    except (TypeError, ValueError):
        return _cut(repr(value), MAX_VALUE_CHARS)


def _cut(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
