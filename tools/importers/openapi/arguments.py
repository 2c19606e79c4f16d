"""The inputs of one operation as one schema of arguments, with the place in the request that each one goes to.

A body that is a plain object gives one argument for each property; any other body is one argument, `body`. Names that
two places share, or that models refuse, are changed in the arguments and kept on the wire.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.importers.openapi.document import Dialect, Document, Unusable, pointer_to
from tools.importers.openapi.inputs import Body, Input, Inputs, is_binary
from tools.importers.openapi.schema import SchemaConverter
from tools.outcome import shorten
from tools.request_layout import FORM, MULTIPART, is_json
from tools.spec import JsonSchema, Place, Placement, RequestLayout, SecretName, Style

MAX_NAME_CHARS = 64
_MAX_DESCRIPTION_CHARS = 600
_MAX_ALL_OF = 200
_PLAIN_OBJECT = frozenset(
    {
        *("type", "properties", "required", "title", "description", "additionalProperties", "allOf", "$ref"),
        *("example", "examples", "default", "nullable", "discriminator", "xml", "externalDocs", "deprecated"),
        *("$schema", "$comment", "readOnly", "writeOnly"),
    }
)
"""What an object may say and still be no more than its properties."""


@dataclass(frozen=True, slots=True)
class Arguments:
    parameters: JsonSchema
    layout: RequestLayout


@dataclass
class _Members:
    """The properties of an object, put together from all parts of its `allOf`."""

    schemas: dict[str, list[tuple[Any, str]]] = field(default_factory=dict)
    """Each with its JSON pointer."""
    required: set[str] = field(default_factory=set)
    parts: int = 0


def build_arguments(document: Document, inputs: Inputs, secrets: Mapping[str, SecretName]) -> Arguments:
    """
    Args:
        secrets: parameters, by their names on the wire, that a secret fills; the policy never sees those.

    Raises: Unusable
    """
    builder = _Builder(document, secrets)
    for parameter in inputs.parameters:
        builder.add_parameter(parameter)
    if inputs.body is not None:
        builder.add_body(inputs.body)
    return builder.finish()


class _Builder:
    def __init__(self, document: Document, secrets: Mapping[str, SecretName]) -> None:
        self._document = document
        self._secrets = secrets
        self._converter = SchemaConverter(document)
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._dependent: dict[str, list[str]] = {}
        self._placements: list[Placement] = []
        self._media_type: str | None = None
        self._body_required = False

    def add_parameter(self, given: Input) -> None:
        if given.name in self._secrets:
            self._place(given.place, given.name, None, given.style, given.explode)
            return
        if is_binary(given.schema):
            raise Unusable(f"{given.name!r} is a file", given.schema_place)
        schema = self._converter.convert(given.schema, given.schema_place)
        argument = self._free_name(given.name, given.place)
        self._properties[argument] = _described(schema, given.description)
        if given.required:
            self._required.append(argument)
        self._place(given.place, given.name, argument, given.style, given.explode)

    def add_body(self, body: Body) -> None:
        self._media_type = body.media_type
        members = self._members(body)
        if members is None:
            self._add_whole(body)
        else:
            self._add_members(body, members)

    def finish(self) -> Arguments:
        schema: JsonSchema = {"type": "object", "properties": self._properties, "additionalProperties": False}
        if self._required:
            schema["required"] = self._required
        if self._dependent:
            schema["dependentRequired"] = self._dependent
        layout = RequestLayout(
            placements=tuple(self._placements), media_type=self._media_type, body_required=self._body_required
        )
        return Arguments(self._converter.finish(schema), layout)

    def _add_whole(self, body: Body) -> None:
        schema = self._converter.convert(body.schema, body.schema_place)
        resolved = self._document.follow(body.schema, body.schema_place)[0] if isinstance(body.schema, Mapping) else {}
        if body.media_type in (FORM, MULTIPART) and resolved.get("type", "object") != "object":
            raise Unusable(f"{body.media_type} is written from an object", body.schema_place)
        argument = self._free_name("body", Place.WHOLE_BODY)
        self._properties[argument] = _described(schema, body.description)
        if body.required is not False:
            self._required.append(argument)
        self._place(Place.WHOLE_BODY, "", argument, Style.SIMPLE, False)

    def _add_members(self, body: Body, members: _Members) -> None:
        names: dict[str, str] = {}
        for name, schemas in members.schemas.items():
            if any(self._converter.is_read_only(schema, at) for schema, at in schemas):
                continue
            required = name in members.required
            if name in self._secrets:
                self._place(Place.BODY, name, None, *self._body_style(body, name, schemas))
                continue
            if body.media_type == MULTIPART and self._is_file(schemas):
                if required:
                    raise Unusable(f"{name!r} is a file, which no argument can hold", schemas[0][1])
                continue
            converted = [self._converter.convert(schema, at) for schema, at in schemas]
            argument = self._free_name(name, Place.BODY)
            self._properties[argument] = converted[0] if len(converted) == 1 else {"allOf": converted}
            self._place(Place.BODY, name, argument, *self._body_style(body, name, schemas))
            names[name] = argument
        needed = [names[name] for name in members.schemas if name in members.required and name in names]
        # A body whose own `required` is left out, but that has required properties, is meant to be sent.
        self._body_required = body.required if body.required is not None else bool(needed)
        if self._body_required:
            self._required += needed
        elif needed:
            self._dependent = {one: [other for other in needed if other != one] for one in names.values()}
            self._dependent = {one: others for one, others in self._dependent.items() if others}

    def _members(self, body: Body) -> _Members | None:
        """The properties of a body that is a plain object; None for any other."""
        members = _Members()
        if not self._collect(body.schema, body.schema_place, members) or not members.schemas:
            return None
        # What is required but not described can be given only in a body that is one argument.
        return members if members.required <= members.schemas.keys() else None

    def _collect(self, node: Any, place: str, members: _Members) -> bool:
        members.parts += 1
        if members.parts > _MAX_ALL_OF or not isinstance(node, Mapping):
            return False
        if any(key not in _PLAIN_OBJECT and not key.startswith("x-") for key in node):
            return False
        if node.get("type", "object") != "object" or isinstance(node.get("additionalProperties"), Mapping):
            return False
        if "$ref" in node:
            target, at = self._document.target(node["$ref"], f"{place}/$ref")
            if not self._collect(target, at, members):
                return False
            if self._document.dialect is not Dialect.OPENAPI_31:
                return True
        parts = node.get("allOf", [])
        if not isinstance(parts, list):
            raise Unusable("must be a list of schemas", pointer_to(place, "allOf"))
        for index, part in enumerate(parts):
            if not self._collect(part, pointer_to(place, "allOf", index), members):
                return False
        properties = node.get("properties", {})
        if not isinstance(properties, Mapping):
            raise Unusable("must be an object of schemas", pointer_to(place, "properties"))
        for name, schema in properties.items():
            members.schemas.setdefault(name, []).append((schema, pointer_to(place, "properties", name)))
        required = node.get("required")
        members.required |= (
            {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        )
        return True

    def _is_file(self, schemas: list[tuple[Any, str]]) -> bool:
        for schema, at in schemas:
            resolved = self._document.follow(schema, at)[0] if isinstance(schema, Mapping) else {}
            items = resolved.get("items")
            if isinstance(items, Mapping) and is_binary(self._document.follow(items, pointer_to(at, "items"))[0]):
                return True
            if is_binary(resolved):
                return True
        return False

    def _body_style(self, body: Body, name: str, schemas: list[tuple[Any, str]]) -> tuple[Style, bool]:
        if is_json(body.media_type):
            return Style.SIMPLE, False
        if body.styles and name in body.styles:
            return body.styles[name]
        schema, at = schemas[0]
        resolved = self._document.follow(schema, at)[0] if isinstance(schema, Mapping) else {}
        is_object = resolved.get("type") == "object" or "properties" in resolved
        return (Style.JSON if is_object else Style.FORM), True

    def _place(self, place: Place, name: str, argument: str | None, style: Style, explode: bool) -> None:
        secret = self._secrets.get(name) if argument is None else None
        self._placements.append(
            Placement(place=place, name=name, argument=argument, secret=secret, style=style, explode=explode)
        )

    def _free_name(self, name: str, place: Place) -> str:
        base = re.sub(r"[^a-zA-Z0-9_.-]+", "_", name)[:MAX_NAME_CHARS].strip("_") or "argument"
        suffix = "body" if place is Place.WHOLE_BODY else place.value
        for free in (base, f"{base[: MAX_NAME_CHARS - 7]}_{suffix}"):
            if free not in self._properties:
                return free
        number = 2
        while f"{base[: MAX_NAME_CHARS - 7]}_{number}" in self._properties:
            number += 1
        return f"{base[: MAX_NAME_CHARS - 7]}_{number}"


def _described(schema: Any, description: str) -> Any:
    """The parameter's own description before the schema's."""
    told = shorten(description, _MAX_DESCRIPTION_CHARS)
    if not told:
        return schema
    return {**(schema if isinstance(schema, dict) else {}), "description": told} if schema is not False else schema
