"""Findings on definitions that models misuse: each rule fires where it should, says where, and leaves sound ones alone."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.tool_specs import COMPANY, FLIGHTS, tool
from tools.lint import MAX_PARAMETERS, Rule, lint, lint_all, listed_options
from tools.spec import ToolSpec


def rules(spec: ToolSpec) -> list[tuple[str, str]]:
    return [(finding.rule.value, finding.path) for finding in lint(spec)]


def parameter(name: str, **schema: Any) -> list[tuple[str, str]]:
    """Findings on a tool that has one such parameter beside its sound ones."""
    return rules(tool(properties={**FLIGHTS, name: schema}))


def test_a_sound_definition_has_no_findings() -> None:
    assert lint_all([tool(), *COMPANY]) == []


@pytest.mark.parametrize(
    ("description", "rule"), [("", "no-description"), ("  ", "no-description"), ("Finds flights.", "short-description")]
)
def test_a_missing_or_short_description_is_found(description: str, rule: str) -> None:
    assert rules(tool(description=description)) == [(rule, "$.description")]


def test_a_parameter_without_description_is_found_with_its_path() -> None:
    assert parameter("airline", type="string") == [
        ("undescribed-parameter", "$.parameters.properties.airline.description")
    ]
    assert parameter("air-line", type="string") == [
        ("undescribed-parameter", "$.parameters.properties['air-line'].description")
    ]


@pytest.mark.parametrize("name", ["id", "ID", "data", "value", "x", "_q"])
def test_a_name_that_says_nothing_is_found(name: str) -> None:
    found = parameter(name, type="string", description="Of the airline.")
    assert found == ([("ambiguous-name", f"$.parameters.properties.{name}")] if name != "_q" else [])


def test_a_tool_named_for_nothing_is_found() -> None:
    assert rules(tool("run")) == [("ambiguous-name", "$.name")]


def test_names_that_differ_by_case_or_underscore_alone_are_found() -> None:
    spec = tool(properties={**FLIGHTS, "Origin": FLIGHTS["origin"], "desti_nation": FLIGHTS["destination"]})
    assert rules(spec) == [
        ("names-alike", "$.parameters.properties.Origin"),
        ("names-alike", "$.parameters.properties.desti_nation"),
    ]


@pytest.mark.parametrize(
    ("description", "options"),
    [
        ("One of: red, green, blue", ("red", "green", "blue")),
        ("Size of the pizza: small, medium or large.", ("small", "medium", "large")),
        ("Either 'asc' or 'desc'.", ("asc", "desc")),
        ('The unit. Can be "celsius", "fahrenheit".', ("celsius", "fahrenheit")),
        ("low|medium|high", ("low", "medium", "high")),
        ("Order of the list (asc/desc)", ("asc", "desc")),
        ("Allowed values: daily, weekly, monthly", ("daily", "weekly", "monthly")),
        ("City, such as 'Oslo' or 'Rome'", ()),
        ("Location (e.g. 'Oslo', 'Rome')", ()),
        ("Where it is (city, country)", ()),
        ("Name of the artist or the band", ()),
    ],
)
def test_text_whose_description_lists_options_should_be_an_enum(description: str, options: tuple[str, ...]) -> None:
    assert listed_options(description) == options
    found = parameter("choice", type="string", description=description)
    assert found == ([("should-be-enum", "$.parameters.properties.choice")] if options else [])
    assert parameter("choice", type="string", enum=["a", "b"], description=description) == []


@pytest.mark.parametrize(
    ("name", "description", "wanted"),
    [
        ("start", "Date of the first night.", "date"),
        ("departure_date", "When the journey begins.", "date"),
        ("starts_at", "Date and time of the meeting.", "date-time"),
        ("alarm", "Time at which it rings.", "time"),
        ("contact", "E-mail of the guest.", "email"),
        ("guest_email", "Where the ticket goes.", "email"),
        ("zone", "The time zone of the city.", None),
        ("subject", "Subject of the email.", None),
        ("timeout", "The time limit of the search as ISO 8601 text.", None),
    ],
)
def test_a_moment_or_address_without_format_is_found(name: str, description: str, wanted: str | None) -> None:
    findings = lint(tool(properties={**FLIGHTS, name: {"type": "string", "description": description}}))
    assert [(f.rule, f.path) for f in findings] == (
        [(Rule.MISSING_FORMAT, f"$.parameters.properties.{name}")] if wanted else []
    )
    assert all(f'"{wanted}"' in finding.remedy for finding in findings)
    assert parameter(name, type="string", description=description, pattern="^x") == []


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("seats", {"description": "Number of seats."}),
        ("amount", {"description": "What is to be paid."}),
        ("duration", {"description": "How long it takes in minutes."}),
        ("bags", {"description": "Bags to be checked in.", "default": "2"}),
    ],
)
def test_a_number_kept_as_text_is_found(name: str, schema: dict[str, Any]) -> None:
    assert parameter(name, type="string", **schema) == [("number-in-string", f"$.parameters.properties.{name}")]
    assert parameter(name, type="integer", **schema) == []


def test_numbers_that_are_names_are_no_numbers() -> None:
    assert parameter("flight_number", type="string", description="The number of the flight.") == []


def test_too_many_parameters_are_found() -> None:
    many = {f"part_{n}": {"type": "string", "description": "One part."} for n in range(MAX_PARAMETERS + 1)}
    assert ("too-many-parameters", "$.parameters.properties") in rules(tool(properties=many, required=[]))


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "description": "The innermost."}
    for level in range(levels):
        schema = {
            "type": "object",
            "description": "Holds more.",
            "properties": {f"level_{level}": schema},
            "required": [],
        }
    return schema


def test_objects_nested_deeper_than_two_are_found() -> None:
    assert parameter("outer", **nested(2)) == []
    assert parameter("outer", **nested(3)) == [
        ("nested-too-deep", "$.parameters.properties.outer.properties.level_2.properties.level_1")
    ]


def test_a_schema_that_refers_to_itself_is_found_as_too_deep() -> None:
    spec = tool()
    node = {"type": "object", "properties": {"below": {"$ref": "#/$defs/node"}}, "required": []}
    parameters = {
        **spec.parameters,
        "properties": {**FLIGHTS, "tree": {"$ref": "#/$defs/node", "description": "A tree."}},
        "$defs": {"node": node},
    }
    assert ("nested-too-deep", "$.parameters.properties.tree.properties.below") in rules(
        spec.model_copy(update={"parameters": parameters})
    )


def test_parameters_without_a_word_on_which_are_required_are_found() -> None:
    spec = tool()
    silent = {key: value for key, value in spec.parameters.items() if key != "required"}
    assert rules(spec.model_copy(update={"parameters": silent})) == [("required-missing", "$.parameters.required")]
    assert rules(tool(required=[])) == []
    assert rules(tool(required=["origin", "gate"])) == [("required-undefined", "$.parameters.required[1]")]


@pytest.mark.parametrize(
    ("name", "description", "path"),
    [
        ("findFlights", "Look up the timetable of an airline.", "$.name"),
        ("find_flight", "Look up the timetable of an airline.", "$.name"),
        ("flights_find", "Look up the timetable of an airline.", "$.name"),
        ("search_connections", "Find a flight from one city to another on the day.", "$.description"),
    ],
)
def test_two_tools_that_are_nearly_the_same_are_found_on_both(name: str, description: str, path: str) -> None:
    first, second = tool(), tool(name, description)
    assert {(f.tool, f.path) for f in lint_all([first, second, *COMPANY])} == {(first.name, path), (name, path)}
    assert [(f.tool, f.rule, f.path) for f in lint(second, [first, *COMPANY])] == [(name, Rule.TOOLS_ALIKE, path)]


def test_a_new_version_is_not_compared_with_the_one_that_it_replaces() -> None:
    assert lint(tool(), [tool(), *COMPANY]) == []


def test_findings_within_lists_and_definitions_have_their_paths() -> None:
    rows = {
        "type": "array",
        "description": "Rows.",
        "items": {"type": "object", "properties": {"sort": {"type": "string"}}},
    }
    assert parameter("rows", **rows) == [
        ("undescribed-parameter", "$.parameters.properties.rows.items.properties.sort.description")
    ]


def test_ten_thousand_tools_are_compared_within_seconds() -> None:
    specs = [
        tool(f"tool_of_sort_{n}_kind_{n * 7919}", f"Does thing {n} with thing {n * 31} for {n}.") for n in range(10_000)
    ]
    began = time.monotonic()
    lint_all(specs)
    assert time.monotonic() - began < 30


_KEYWORDS = [
    "type",
    "properties",
    "items",
    "enum",
    "required",
    "$ref",
    "$defs",
    "#/$defs/x",
    "anyOf",
    "description",
    "x",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(_KEYWORDS),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(_KEYWORDS), part, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["properties", "required", "$defs", "items", "anyOf"]), JSON, max_size=4))
@settings(max_examples=150, deadline=None)
def test_no_schema_however_odd_breaks_the_linter(schema: Mapping[str, Any]) -> None:
    spec = tool().model_copy(update={"parameters": {"type": "object", **schema}})
    assert all(finding.path.startswith("$") for finding in lint(spec))
