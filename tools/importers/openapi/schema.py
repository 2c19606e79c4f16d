"""OpenAPI's schemas as JSON Schema 2020-12, for requests.

3.1 is that dialect already; 3.0 and 2.0 differ (`nullable`, boolean `exclusiveMinimum`, one `example`). What only a
response may carry (`readOnly`) is left out. Referenced schemas become local `$defs`; those that are used once or are
short are put in their place, so that recursive ones remain.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tools.importers.openapi.document import Dialect, Document, Unusable, pointer_to
from tools.outcome import shorten
from tools.spec import JsonSchema

MAX_NODES = 5_000
"""Schemas within one tool's arguments; a YAML alias or a chain of references can unfold to far more."""
_MAX_LEVELS = 60
_MAX_DESCRIPTION_CHARS = 600
_MAX_EXAMPLE_CHARS = 200
_SHORT_CHARS = 160
_MAX_INLINE_LEVELS = 24
"""Levels of JSON up to which references are replaced by what they refer to."""

_ONE = ("not", "contains", "propertyNames", "if", "then", "else", "unevaluatedItems", "unevaluatedProperties")
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("patternProperties", "dependentSchemas")
_AS_THEY_ARE = (
    *("type", "enum", "const", "default", "title", "format", "multipleOf", "maximum", "minimum", "maxLength"),
    *("minLength", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties"),
    *("minProperties", "dependentRequired", "contentEncoding", "contentMediaType"),
)
# What a schema says about itself and not about values; everything else unknown is left out likewise.
_BOUNDS = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))


class SchemaConverter:
    """Converts the schemas of one tool; keeps the definitions that they share."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}
        self._pending: list[tuple[str, Any, str]] = []
        """Definitions still to be converted: name, schema and its pointer."""
        self._nodes = 0

    def convert(self, node: Any, place: str) -> Any:
        """A schema; its references lead to `#/$defs/...`, which `finish` adds.

        Raises: Unusable
        """
        made = self._convert(node, place, frozenset(), 0)
        while self._pending:  # one after another, not one within another: chains of references can be long
            name, target, at = self._pending.pop()
            self._definitions[name] = self._convert(target, at, frozenset(), 0)
        return made

    def finish(self, schema: JsonSchema) -> JsonSchema:
        """The schema that holds all that was converted, with its definitions."""
        whole = {**schema, "$defs": self._definitions} if self._definitions else schema
        try:
            inlined = _inlined(whole)
            return inlined if _levels(inlined) <= _MAX_INLINE_LEVELS else whole
        except RecursionError:
            return whole

    def is_read_only(self, node: Any, place: str) -> bool:
        """Whether only a response carries the value."""
        seen: set[str] = set()
        while isinstance(node, Mapping):
            if node.get("readOnly") is True:
                return True
            if "$ref" not in node or place in seen:
                return False
            seen.add(place)
            node, place = self._document.target(node["$ref"], f"{place}/$ref")
        return False

    def _convert(self, node: Any, place: str, dropped: frozenset[str], level: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or level > _MAX_LEVELS:
            raise Unusable(
                f"the schema unfolds to more than {MAX_NODES:,} parts or {_MAX_LEVELS} levels; simplify it", place
            )
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise Unusable(f"a schema must be an object, not {type(node).__name__}", place)
        if "$ref" in node:
            return self._reference(node, place, dropped, level)
        return self._nullable(node, self._keywords(node, place, dropped, level))

    def _reference(self, node: Mapping[str, Any], place: str, dropped: frozenset[str], level: int) -> Any:
        target, pointer = self._document.target(node["$ref"], f"{place}/$ref")
        if pointer not in self._names:
            name = _free_name(pointer, self._definitions)
            self._names[pointer] = name
            self._definitions[name] = True  # until `convert` comes to it
            self._pending.append((name, target, pointer))
        reference = {"$ref": f"#/$defs/{self._names[pointer]}"}
        if self._document.dialect is not Dialect.OPENAPI_31:
            return reference  # in 2.0 and 3.0, what stands beside a `$ref` does not count
        beside = {key: part for key, part in node.items() if key != "$ref"}
        return reference | self._keywords(beside, place, dropped, level)

    def _keywords(self, node: Mapping[str, Any], place: str, dropped: frozenset[str], level: int) -> JsonSchema:
        made = {key: node[key] for key in _AS_THEY_ARE if key in node}
        dropped = dropped | self._read_only_names(node, place, set())
        for key in _ONE:
            if key in node:
                made[key] = self._convert(node[key], pointer_to(place, key), frozenset(), level + 1)
        for key in _MANY:
            if key in node:
                inherited = dropped if key == "allOf" else frozenset[str]()
                made[key] = [
                    self._convert(part, pointer_to(place, key, index), inherited, level + 1)
                    for index, part in enumerate(_list(node[key], pointer_to(place, key)))
                ]
        for key in _NAMED:
            if key in node:
                made[key] = self._members(node[key], pointer_to(place, key), frozenset(), level)
        if "properties" in node:
            made["properties"] = self._members(node["properties"], pointer_to(place, "properties"), dropped, level)
        made |= self._lists(node, place, level)
        made |= _numbers(node)
        made |= _words(node)
        required = node.get("required")
        if isinstance(required, list):  # a boolean here is a slip from older drafts and says nothing
            made["required"] = [name for name in required if name not in dropped]
        return made

    def _members(self, node: Any, place: str, dropped: frozenset[str], level: int) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            raise Unusable(f"must be an object of schemas, not {type(node).__name__}", place)
        return {
            name: self._convert(part, pointer_to(place, name), frozenset(), level + 1)
            for name, part in node.items()
            if name not in dropped
        }

    def _lists(self, node: Mapping[str, Any], place: str, level: int) -> JsonSchema:
        made: JsonSchema = {}
        items = node.get("items")
        if isinstance(items, list):  # draft 4's tuples
            at = pointer_to(place, "items")
            made["prefixItems"] = [
                self._convert(part, pointer_to(at, index), frozenset(), level + 1) for index, part in enumerate(items)
            ]
        elif items is not None:
            made["items"] = self._convert(items, pointer_to(place, "items"), frozenset(), level + 1)
        if "additionalProperties" in node:
            at = pointer_to(place, "additionalProperties")
            made["additionalProperties"] = self._convert(node["additionalProperties"], at, frozenset(), level + 1)
        return made

    def _read_only_names(self, node: Mapping[str, Any], place: str, seen: set[str]) -> frozenset[str]:
        """Also those of `allOf`, since one part may require what another one describes."""
        found: set[str] = set()
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            at = pointer_to(place, "properties")
            found |= {name for name, part in properties.items() if self.is_read_only(part, pointer_to(at, name))}
        parts = node.get("allOf")
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            at = pointer_to(place, "allOf", index)
            if isinstance(part, Mapping) and "$ref" in part:
                part, at = self._document.target(part["$ref"], f"{at}/$ref")
            if isinstance(part, Mapping) and at not in seen:
                seen.add(at)
                found |= self._read_only_names(part, at, seen)
        return frozenset(found)

    def _nullable(self, node: Mapping[str, Any], made: JsonSchema) -> JsonSchema:
        if self._document.dialect is Dialect.OPENAPI_31:
            return made
        if node.get("nullable") is not True and node.get("x-nullable") is not True:
            return made
        kind = made.get("type")
        if not isinstance(kind, str):
            if not made:
                return made
            told = {key: made.pop(key) for key in ("title", "description") if key in made}
            return {**told, "anyOf": [made, {"type": "null"}]} if made else told
        made["type"] = [kind, "null"]
        if isinstance(made.get("enum"), list) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
        return made


def _numbers(node: Mapping[str, Any]) -> JsonSchema:
    """Draft 4's booleans beside a bound, as the bound itself."""
    made: JsonSchema = {}
    for exclusive, bound in _BOUNDS:
        value = node.get(exclusive)
        if value is True and bound in node:
            made[exclusive] = node[bound]
        elif value is not None and not isinstance(value, bool):
            made[exclusive] = value
    return made


def _words(node: Mapping[str, Any]) -> JsonSchema:
    """Description, examples and pattern; a pattern that Python cannot read is told instead of checked."""
    made: JsonSchema = {}
    description = node.get("description")
    told = shorten(description, _MAX_DESCRIPTION_CHARS) if isinstance(description, str) else ""
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        try:
            re.compile(pattern)
            made["pattern"] = pattern
        except (re.error, RecursionError, OverflowError):
            told = f"{told} (must match {pattern})".strip()
    if told:
        made["description"] = told
    examples = node.get("examples") if isinstance(node.get("examples"), list) else None
    if examples is None and "example" in node:
        examples = [node["example"]]
    if examples and len(json.dumps(examples)) <= _MAX_EXAMPLE_CHARS:
        made["examples"] = examples
    return made


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unusable(f"must be a list of schemas, not {type(value).__name__}", place)
    return value


def _free_name(pointer: str, taken: Iterable[str]) -> str:
    base = re.sub(r"[^a-zA-Z0-9_.-]", "_", pointer.rpartition("/")[2]) or "definition"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _inlined(schema: JsonSchema) -> JsonSchema:
    """References to definitions that are used once, or are short, replaced by the definitions; recursive ones stay."""
    definitions: dict[str, Any] = schema.get("$defs", {})
    uses = _uses(schema)
    recursive = {name for name in definitions if name in _reachable(name, definitions)}
    # A short one that refers to others is not put in its place: a chain of those would double at each link.
    short = {name for name, part in definitions.items() if not _uses(part) and len(json.dumps(part)) <= _SHORT_CHARS}
    gone = {name for name in definitions if name not in recursive and (uses.get(name, 0) <= 1 or name in short)}

    def put_in(node: Any) -> Any:
        if isinstance(node, list):
            return [put_in(part) for part in node]
        if not isinstance(node, dict):
            return node
        name = _name_in(node)
        if name not in gone:
            return {key: put_in(part) for key, part in node.items()}
        beside = {key: put_in(part) for key, part in node.items() if key != "$ref"}
        target = put_in(definitions[name])
        if not beside:
            return target
        if isinstance(target, dict) and not set(beside) & set(target) - {"description", "title", "default", "examples"}:
            return target | beside
        return {**beside, "allOf": [target, *beside.get("allOf", [])]}

    kept = {name: put_in(part) for name, part in definitions.items() if name not in gone}
    made = put_in({key: part for key, part in schema.items() if key != "$defs"})
    return {**made, "$defs": kept} if kept else made


def _uses(node: Any) -> dict[str, int]:
    counted: dict[str, int] = {}
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = _name_in(part)
            if name is not None:
                counted[name] = counted.get(name, 0) + 1
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return counted


def _reachable(name: str, definitions: Mapping[str, Any]) -> set[str]:
    """The definitions that one refers to, directly or through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for other in _uses(definitions.get(waiting.pop())):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _name_in(node: Mapping[str, Any]) -> str | None:
    reference = node.get("$ref")
    return reference.removeprefix("#/$defs/") if isinstance(reference, str) else None


def _levels(node: Any) -> int:
    if isinstance(node, dict):
        return 1 + max((_levels(part) for part in node.values()), default=0)
    if isinstance(node, list):
        return 1 + max((_levels(part) for part in node), default=0)
    return 0
