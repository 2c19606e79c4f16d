import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tools.json_schema import MAX_DEPTH, argument_errors, schema_problem

BOOKING = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1},
        "nights": {"type": "integer", "minimum": 1},
        "arrival": {"type": "string", "format": "date"},
        "remind_at": {"type": "string", "format": "date-time"},
        "board": {"type": "string", "enum": ["none", "half", "full"]},
        "guests": {"type": "array", "items": {"$ref": "#/$defs/guest"}},
    },
    "required": ["city", "nights"],
    "additionalProperties": False,
    "$defs": {"guest": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
}
VALID = {"city": "Oslo", "nights": 2}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"city": None}, "city: null is not of type string"),
        ({"nights": "2"}, 'nights: "2" is not of type integer'),
        ({"nights": True}, "nights: true is not of type integer"),
        ({"nights": 0}, "nights: 0 is less than the minimum of 1"),
        ({"arrival": "tomorrow"}, 'arrival: "tomorrow" is not a date as YYYY-MM-DD'),
        ({"arrival": "2026-02-30"}, 'arrival: "2026-02-30" is not a date as YYYY-MM-DD'),
        ({"remind_at": "2026-02-03"}, 'remind_at: "2026-02-03" is not a date and time with offset'),
        ({"board": "all"}, 'board: "all" is not one of "none", "half", "full"'),
        ({"guests": [{"name": "A"}, {}]}, "guests[1]: name: required, but missing"),
        ({"guests": "A"}, 'guests: "A" is not of type array'),
        ({"town": "Oslo"}, "town: no such parameter; there are: city, nights, arrival"),
        ({"nights": float("nan")}, "nights: nan is not a number that JSON knows"),
        ({"city": "\ud800"}, "city: holds a broken character"),
        ({"city": {1, 2}}, "city: a set is not JSON"),
    ],
)
def test_each_fault_is_told_with_its_place(changes: dict[str, Any], told: str) -> None:
    errors = argument_errors(BOOKING, VALID | changes)
    assert len(errors) == 1
    assert errors[0].startswith(told)


def test_all_faults_are_told_at_once() -> None:
    assert argument_errors(BOOKING, {"board": "all"}) == [
        "city: required, but missing",
        "nights: required, but missing",
        'board: "all" is not one of "none", "half", "full"',
    ]


def test_fitting_arguments_have_no_errors() -> None:
    whole = VALID | {"arrival": "2026-03-01", "remind_at": "2026-02-28T09:00:00Z", "guests": [{"name": "Å"}]}
    assert argument_errors(BOOKING, whole) == []


def test_a_long_value_is_not_repeated_in_full() -> None:
    (error,) = argument_errors(BOOKING, VALID | {"board": "x" * 10_000})
    assert len(error) < 200


def test_deep_arguments_are_refused_not_followed() -> None:
    deep: Any = "end"
    for _ in range(5_000):
        deep = [deep]
    (error,) = argument_errors({"type": "object"}, {"a": deep})
    assert f"deeper than {MAX_DEPTH} levels" in error


def test_the_nearest_form_is_told() -> None:
    schema = {"type": "object", "properties": {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}
    (error,) = argument_errors(schema, {"n": "1"})
    assert error.startswith('n: "1" fits none of the anyOf forms (nearest: "1" is not of type')


def test_a_reference_to_the_network_is_never_fetched() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    (error,) = argument_errors(schema, {"a": 1})
    assert "leads nowhere" in error


def test_an_endless_reference_is_told() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/x"}}}
    (error,) = argument_errors(schema, {"a": 1})
    assert "without end" in error


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ([], "$"),
        ({}, "$.type"),
        ({"type": "array"}, "$.type"),
        ({"type": "object", "properties": {"a": {"type": "strng"}}}, "$.properties.a.type"),
        ({"type": "object", "properties": {"a": {"enum": "red"}}}, "$.properties.a.enum"),
        ({"type": "object", "properties": {"a": "string"}}, "$.properties.a"),
        ({"type": "object", "properties": []}, "$.properties"),
        ({"type": "object", "required": "a"}, "$.required"),
        ({"type": "object", "required": ["a", 1]}, "$.required[1]"),
        ({"type": "object", "properties": {"a": {"pattern": "["}}}, "$.properties.a.pattern"),
        ({"type": "object", "properties": {"a": {"minimum": float("inf")}}}, "$.properties.a.minimum"),
        ({"type": "object", "properties": {"a": {"$ref": "other.json"}}}, "$.properties.a.$ref"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, "$.properties.a.$ref"),
    ],
)
def test_an_unsound_schema_is_told_with_its_path(schema: Any, path: str) -> None:
    problem = schema_problem(schema)
    assert problem is not None
    assert problem.startswith(f"{path}: ")


def test_a_sound_schema_has_no_problem() -> None:
    assert schema_problem(BOOKING) is None
    assert (
        schema_problem({"type": "object", "properties": {"$ref": {"type": "string"}, "again": {"$ref": "#"}}}) is None
    )


@settings(deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_whatever_the_arguments_there_is_a_plain_verdict(arguments: dict[str, Any]) -> None:
    errors = argument_errors(BOOKING, arguments)
    assert all(isinstance(error, str) and error for error in errors)
    if not errors:
        json.dumps(arguments, allow_nan=False).encode()
        assert arguments["city"]
        assert arguments["nights"] >= 1


@settings(deadline=None)
@given(json_values)
def test_whatever_the_schema_there_is_a_plain_verdict(schema: Any) -> None:
    problem = schema_problem(schema)
    assert problem is None or problem.startswith("$")


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"city": st.text(min_size=1), "nights": st.integers(min_value=1)},
        optional={
            "arrival": st.dates().map(str),
            "board": st.sampled_from(["none", "half", "full"]),
            "guests": st.lists(st.fixed_dictionaries({"name": st.text()}), max_size=3),
        },
    )
)
def test_arguments_made_to_the_schema_always_pass(arguments: dict[str, Any]) -> None:
    assert argument_errors(BOOKING, arguments) == []


_SCRAPS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.sampled_from(["a", "b", 1]), max_size=3)
)
_TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null", "text"])
_SCHEMAS = st.recursive(
    st.one_of(_SCRAPS, st.just({})),
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["type", "properties", "required", "items", "enum", "default", "description", "format", "minimum"]
        ),
        st.one_of(inner, _TYPES, _SCRAPS, st.dictionaries(st.text(max_size=2), inner, max_size=2)),
        max_size=4,
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=2), _SCHEMAS, max_size=3))
def test_soundness_is_what_the_meta_schema_says(properties: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": properties}
    assert (schema_problem(schema) is None) == Draft202012Validator(Draft202012Validator.META_SCHEMA).is_valid(schema)
