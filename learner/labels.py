"""Labels that break their own schema, made to fit it: public sets write "2" where their schema says integer. Pure.

A value that fits is left alone. Else it becomes what it can only mean: a numeral a number, "true" a boolean, the text of a list
that list, a number the text of it where text is wanted, a value of another case the one in the enum, and a single value a list of
one. A list of scalars where a scalar is wanted stands for alternatives, as BFCL writes them within objects ("" among them: may
be left out). What fits no better so stays as it is, and the row is still measured.
"""

import ast
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from learner.matching import unwrap
from learner.rows import ExpectedCall, RewardModel, Row
from tools.json_schema import argument_errors


def fitted(row: Row) -> Row:
    """The same row with a label that fits its schemas as far as that goes; the very same object where nothing changes."""
    if row.truth.decision != "execute":
        return row
    schemas = _schemas(row)
    calls = tuple(_fitted_call(call, schemas.get(call.name, {})) for call in row.truth.tool_calls)
    if calls == row.truth.tool_calls and repr(calls) == repr(row.truth.tool_calls):  # 1 == 1.0 == True
        return row
    truth = row.truth.model_copy(update={"tool_calls": calls})
    return row.model_copy(update={"reward_model": RewardModel(ground_truth=truth)})


def label_errors(row: Row) -> list[str]:
    """How the label breaks the schemas of its tools; empty when it fits, whichever of its values is taken."""
    schemas = _schemas(row)
    found: list[str] = []
    for call in row.truth.tool_calls:
        values = {name: unwrap(value) for name, value in call.arguments.items()}
        fewest = {name: _first(given[0]) for name, (given, optional) in values.items() if given and not optional}
        found += [f"{call.name}: {error}" for error in argument_errors(schemas.get(call.name, {}), fewest)]
    return found


def _schemas(row: Row) -> dict[str, Mapping[str, Any]]:
    return {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in row.tools}


def _first(value: Any) -> Any:
    """With the first of the alternatives that stand within it."""
    values, _ = unwrap(value)
    if values and values[0] is not value:
        return _first(values[0])
    if isinstance(value, Mapping):
        return {key: _first(part) for key, part in value.items() if not unwrap(part)[1]}
    return [_first(part) for part in value] if isinstance(value, list | tuple) else value


def _fitted_call(call: ExpectedCall, schema: Mapping[str, Any]) -> ExpectedCall:
    properties = schema.get("properties", {})
    return ExpectedCall(
        name=call.name,
        arguments={name: fit_value(value, properties.get(name)) for name, value in call.arguments.items()},
    )


def fit_value(value: Any, schema: Any) -> Any:
    """The value in the form that its schema wants, as far as that is plain; alternatives one by one."""
    if not isinstance(schema, Mapping):
        return value
    values, optional = unwrap(value)
    if len(values) != 1 or values[0] is not value:  # alternatives are named already
        fits = [_fit_one(part, schema) for part in values]
        return {"any_of": fits, **({"optional": True} if optional else {})}
    return _fit_one(value, schema)


def _fit_one(value: Any, schema: Mapping[str, Any]) -> Any:
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds) if isinstance(kinds, Sequence) else []
    choices = schema.get("enum")
    if isinstance(choices, list) and not isinstance(value, list) and value not in choices:
        meant = [choice for choice in choices if str(choice).casefold() == str(value).casefold()]
        return meant[0] if len(meant) == 1 else value
    if kinds and not any(_is(value, kind) for kind in kinds):
        value = _other(value, kinds, schema)
    if isinstance(value, list) and "array" in kinds:
        return [fit_value(part, schema.get("items")) for part in value]
    if isinstance(value, Mapping) and "object" in kinds:
        properties = schema.get("properties") or {}
        return {key: fit_value(part, properties.get(key)) for key, part in value.items()}
    return value


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            )
        case "number":
            return not isinstance(value, bool) and isinstance(value, int | float)
        case "array":
            return isinstance(value, list | tuple)
        case "object":
            return isinstance(value, Mapping)
        case "null":
            return value is None
    return True


def _other(value: Any, kinds: Sequence[str], schema: Mapping[str, Any]) -> Any:
    """What a value of the wrong type can only mean; itself where that is not plain."""
    if isinstance(value, Mapping) and "any_of" in value:
        return value
    if isinstance(value, list) and value and not any(isinstance(part, list | Mapping) for part in value):
        fits = [_fit_one(part, schema) for part in value if part != "" or len(value) == 1]
        optional = {"optional": True} if len(fits) < len(value) else {}
        return fits[0] if len(fits) == 1 and not optional else {"any_of": fits, **optional}
    for kind in kinds:
        found = _as(value, kind)
        if found is not None:
            return found
    return [value] if "array" in kinds and value is not None and not isinstance(value, Mapping) else value


def _as(value: Any, kind: str) -> Any:
    if kind == "string":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return (str(int(value)) if float(value).is_integer() else str(value)) if is_number else None
    if not isinstance(value, str):
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(value.strip().lower())
    read = _read(value)
    return read if read is not None and _is(read, kind) else None


def _read(text: str) -> Any:
    """A JSON or Python literal; None where it is neither."""
    for reader in (json.loads, ast.literal_eval):
        try:
            read = reader(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return None if isinstance(read, float) and not math.isfinite(read) else read
    return None
