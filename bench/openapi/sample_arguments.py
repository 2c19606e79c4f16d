"""Arguments that fit a tool's schema: as few as it allows, or as many as it describes."""

from collections.abc import Mapping
from typing import Any

from hypothesis import find
from hypothesis.strategies import from_regex

from tools.json_schema import argument_errors
from tools.spec import JsonSchema

_TEXTS = {
    "date": "2026-03-14",
    "date-time": "2026-03-14T09:26:53Z",
    "time": "09:26:53Z",
    "email": "ann@example.com",
    "uri": "https://example.com/a?b=c",
    "url": "https://example.com/a?b=c",
    "uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
_AWKWARD = "a b/ü&=%?"
"""Text that each place must carry unharmed."""
_MAX_LEVELS = 6


class Sampler:
    def __init__(self, schema: JsonSchema, *, everything: bool) -> None:
        """
        Args:
            everything: all described properties instead of only the required ones.
        """
        self._root = schema
        self._everything = everything

    def arguments(self, plain: frozenset[str] = frozenset()) -> dict[str, Any]:
        """
        Args:
            plain: arguments whose text must be simple, since a header carries it.
        """
        properties = self._root.get("properties", {})
        required = self._root.get("required", ())
        wanted = properties if self._everything else required
        made = {name: self._value(properties[name], 0, name in plain) for name in wanted}
        return {name: value for name, value in made.items() if name in required or self._fits(properties[name], value)}

    def _fits(self, schema: Any, value: Any) -> bool:
        """False where a description contradicts itself, as with text that must be one of some numbers."""
        return not argument_errors(self._whole(schema), {"it": value})

    def _value(self, schema: Any, level: int, plain: bool) -> Any:
        if not isinstance(schema, Mapping):
            return "text"
        schema = self._resolved(schema, level)
        for known in self._given(schema):
            if self._fits(schema, known):
                return known
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        match next((one for one in kinds if one != "null"), kinds[0]):
            case "string":
                return self._text(schema, plain)
            case "integer" | "number":
                return _number(schema)
            case "boolean":
                return True
            case "array":
                count = max(schema.get("minItems", 0), 0 if level > _MAX_LEVELS else 2 if self._everything else 1)
                count = min(count, schema.get("maxItems", count))
                return [self._value(schema.get("items", {}), level + 1, plain) for _ in range(count)]
            case "null":
                return None
            case "object":
                return self._object(schema, level, plain)
        return self._object(schema, level, plain) if "properties" in schema else "text"

    def _object(self, schema: Mapping[str, Any], level: int, plain: bool) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        wanted = properties if self._everything and level <= _MAX_LEVELS else required
        made = {name: self._value(properties.get(name, {}), level + 1, plain) for name in (*required, *wanted)}
        if not made and isinstance(schema.get("additionalProperties"), Mapping) and self._everything:
            made["key"] = self._value(schema["additionalProperties"], level + 1, plain)
        return made

    def _given(self, schema: Mapping[str, Any]) -> list[Any]:
        given = [schema["const"]] if "const" in schema else []
        given += schema.get("enum", [])[:1]
        return [*given, *schema.get("examples", [])[:1], *([schema["default"]] if "default" in schema else [])]

    def _resolved(self, schema: Mapping[str, Any], level: int) -> Mapping[str, Any]:
        """References followed, the parts of `allOf` put together, the first of several forms taken."""
        for _ in range(40):
            if "$ref" in schema:
                target = self._root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
                schema = {**target, **{key: part for key, part in schema.items() if key != "$ref"}}
            elif "allOf" in schema:
                schema = _merged(
                    {k: v for k, v in schema.items() if k != "allOf"},
                    [self._resolved(part, level) for part in schema["allOf"]],
                )
            elif schema.get("oneOf") or schema.get("anyOf"):
                key = "oneOf" if schema.get("oneOf") else "anyOf"
                # deep down, the last form: of those that end a recursion, most authors write it last
                form = schema[key][0 if level <= _MAX_LEVELS else -1]
                schema = _merged({k: v for k, v in schema.items() if k != key}, [self._resolved(form, level)])
            else:
                break
        return schema

    def _whole(self, schema: Any) -> JsonSchema:
        return {"type": "object", "properties": {"it": schema}, "$defs": self._root.get("$defs", {})}

    def _text(self, schema: Mapping[str, Any], plain: bool) -> str:
        if "pattern" in schema:
            return _text_like(schema)
        text = _TEXTS.get(schema.get("format", ""), "text" if plain else _AWKWARD)
        least, most = schema.get("minLength", 0), schema.get("maxLength", len(text) + 1_000_000)
        return (text + "x" * max(0, least - len(text)))[:most]


def _text_like(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minLength", 1), schema.get("maxLength", 1_000)
    texts = from_regex(schema["pattern"]).map(str.strip)
    return find(texts, lambda text: least <= len(text) <= most and text.isprintable())


def _merged(first: Mapping[str, Any], parts: Any) -> dict[str, Any]:
    made = dict(first)
    for part in parts:
        properties = {**part.get("properties", {}), **made.get("properties", {})}
        required = [*made.get("required", ()), *part.get("required", ())]
        made = {**part, **made, **({"properties": properties} if properties else {}), "required": required}
    return made


def _number(schema: Mapping[str, Any]) -> int | float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (1 if schema.get("type") == "integer" else 0.5)
    if "exclusiveMaximum" in schema and low is None:
        low = schema["exclusiveMaximum"] - 1
    step = schema.get("multipleOf")
    value = low if low is not None else min(3, high) if high is not None else 3
    return -(-value // step) * step if step else value
