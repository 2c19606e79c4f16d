"""Converted schemas accept what the described ones accept."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_schema_validator import OAS30WriteValidator

from tests.tools.openapi_specs import spec
from tools.importers.openapi.document import as_document
from tools.importers.openapi.schema import SchemaConverter


def converted(schema: Any, *, version: str = "3.0.3", **components: Any) -> Any:
    document = as_document(spec({}, version=version, components={"schemas": components}), source="pets")
    converter = SchemaConverter(document)
    made = converter.convert(schema, "/schema")
    return converter.finish(made) if isinstance(made, dict) else made


@pytest.mark.parametrize(
    ("described", "made"),
    [
        ({"type": "string", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"allOf": [{"type": "string"}], "nullable": True}, {"anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]}),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True},
         {"type": "number", "minimum": 1, "exclusiveMinimum": 1}),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": False}, {"type": "number", "maximum": 1}),
        ({"type": "string", "example": "x", "xml": {}, "x-y": 1, "externalDocs": {}}, {"type": "string", "examples": ["x"]}),
        ({"type": "string", "pattern": "["}, {"type": "string", "description": "(must match [)"}),
        ({"type": "string", "required": True}, {"type": "string"}),
        ({"type": "object", "properties": {"id": {"readOnly": True}, "n": {}}, "required": ["id", "n"]},
         {"type": "object", "properties": {"n": {}}, "required": ["n"]}),
        ({"$ref": "#/components/schemas/A", "description": "beside"}, {"type": "integer"}),
        ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "prefixItems": [{"type": "string"}]}),
    ],
)  # fmt: skip
def test_what_3_0_says_in_its_own_way_is_said_in_2020_12(described: Any, made: Any) -> None:
    assert converted(described, A={"type": "integer"}) == made


def test_what_3_1_says_is_kept() -> None:
    schema = {"type": ["string", "null"], "const": "x", "if": {"minLength": 2}, "then": {"pattern": "x"}}
    assert converted(schema, version="3.1.0") == schema
    beside = {"$ref": "#/components/schemas/A", "description": "beside"}
    assert converted(beside, version="3.1.0", A={"type": "integer"}) == {"type": "integer", "description": "beside"}


def test_short_or_single_definitions_are_put_in_place_and_shared_long_ones_are_kept() -> None:
    long = {"type": "object", "properties": {f"property_{n}": {"type": "string"} for n in range(20)}}
    both = {"type": "array", "items": {"$ref": "#/components/schemas/Long"}}
    made = converted({"properties": {"a": both, "b": both}}, Long=long)
    assert made["$defs"] == {"Long": long}
    assert converted({"properties": {"a": both}}, Long=long)["properties"]["a"]["items"] == long


_LEAVES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("integer")},
        optional={
            "minimum": st.integers(-3, 3),
            "maximum": st.integers(-3, 3),
            "nullable": st.booleans(),
            "exclusiveMinimum": st.booleans(),
            "exclusiveMaximum": st.booleans(),
        },
    ).map(lambda leaf: {k: v for k, v in leaf.items() if not k.startswith("exclusive") or k[9:].lower() in leaf}),
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"maxLength": st.integers(0, 2), "nullable": st.booleans()}
    ),
    st.just({"type": "string", "enum": ["a", "b"]}),
    st.just({"$ref": "#/components/schemas/Tree"}),
)
_NAMES = st.sampled_from(["a", "b", "c"])
_SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"maxItems": st.integers(0, 2)}),
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(_NAMES, inner, max_size=3)},
            optional={
                "required": st.lists(_NAMES, unique=True, min_size=1),
                "additionalProperties": st.booleans() | inner,
                "nullable": st.booleans(),
            },
        ),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=2)}),
    ),
    max_leaves=6,
)
_VALUES = st.recursive(
    st.none() | st.integers(-4, 4) | st.sampled_from(["", "a", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_TREE = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/Tree"}}, "additionalProperties": False}


@settings(max_examples=300, deadline=None)
@given(_SCHEMAS, _VALUES)
def test_a_converted_schema_accepts_exactly_what_the_described_one_does(schema: dict[str, Any], value: Any) -> None:
    with_tree = {**schema, "components": {"schemas": {"Tree": _TREE}}}
    if "$ref" in schema:
        with_tree = {"allOf": [schema], "components": with_tree["components"]}
    accepted = OAS30WriteValidator(with_tree).is_valid(value)
    made = converted(schema, Tree=_TREE)
    Draft202012Validator.check_schema(made)
    assert Draft202012Validator(made).is_valid(value) == accepted
