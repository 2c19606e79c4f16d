"""Cases that follow from a definition: they fit the schema, say what they claim, and are the same each time."""

import random
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tools.tool_specs import COMPANY, EXAMPLES, FLIGHTS, tool
from tools.curriculum import CASES_PER_KIND, Case, CaseKind, curriculum, digest
from tools.examples import ClarifyExample, ExecuteExample, RefuseExample
from tools.json_schema import argument_errors
from tools.sample_values import Sampler, spoken
from tools.spec import ToolSpec

SPEC = tool(examples=EXAMPLES)


def of_kind(cases: tuple[Case, ...], kind: CaseKind) -> list[Case]:
    return [case for case in cases if case.kind is kind]


@pytest.mark.parametrize("spec", [SPEC, tool()], ids=["with examples", "schema alone"])
def test_each_kind_of_case_follows_from_a_definition(spec: ToolSpec) -> None:
    cases = curriculum(spec, COMPANY)
    assert len(of_kind(cases, CaseKind.EXAMPLE)) == len(spec.examples)
    for kind in (CaseKind.COMPLETE, CaseKind.LACKING, CaseKind.ABSENT):
        assert len(of_kind(cases, kind)) == CASES_PER_KIND
    assert len({case.id for case in cases}) == len(cases)


def test_examples_stand_as_they_were_given() -> None:
    assert [case.expected for case in of_kind(curriculum(SPEC), CaseKind.EXAMPLE)] == list(SPEC.examples)


def test_a_complete_request_says_all_its_values_and_they_fit_the_schema() -> None:
    for case in of_kind(curriculum(SPEC, COMPANY), CaseKind.COMPLETE):
        assert isinstance(case.expected, ExecuteExample)
        assert argument_errors(SPEC.parameters, case.expected.arguments) == []
        assert all(str(value) in case.expected.utterance for value in case.expected.arguments.values())
        assert SPEC.name in case.shown


def test_half_of_the_complete_requests_are_worded_as_the_examples_with_other_values() -> None:
    said = [case.expected.utterance for case in of_kind(curriculum(SPEC), CaseKind.COMPLETE)]
    after = [text for text in said if text.startswith("flights from ")]
    assert len(after) == CASES_PER_KIND / 2
    assert EXAMPLES[0]["utterance"] not in said


def test_a_lacking_request_leaves_out_what_is_missing_and_a_call_without_it_would_fail() -> None:
    cases = of_kind(curriculum(SPEC, COMPANY), CaseKind.LACKING)
    for case in cases:
        assert isinstance(case.expected, ClarifyExample)
        assert set(case.expected.missing) <= set(SPEC.required)
    assert any(case.expected.utterance == "flights from Bergen to on 2026-06-01" for case in cases) or any(
        case.expected.utterance.startswith("flights from") for case in cases
    )
    assert any(set(case.expected.model_dump()["missing"]) == set(SPEC.required) for case in cases)


def test_where_the_tool_is_absent_its_nearest_neighbours_stand_and_refusing_is_right() -> None:
    for case in of_kind(curriculum(SPEC, COMPANY), CaseKind.ABSENT):
        assert isinstance(case.expected, RefuseExample)
        assert SPEC.name not in case.shown
        assert {"find_trains", "find_hotels"} <= set(case.shown)


def test_a_tool_that_is_nearly_the_same_never_stands_beside() -> None:
    twin = tool("findFlight", "Look up connections by air.")
    other = tool("air_search", "Find flights from one city to another, on the day.")
    assert all({twin.name, other.name}.isdisjoint(case.shown) for case in curriculum(SPEC, [*COMPANY, twin, other]))


def test_the_same_tool_and_seed_give_the_same_cases_whatever_the_order_of_the_others() -> None:
    assert curriculum(SPEC, COMPANY) == curriculum(SPEC, COMPANY[::-1])
    assert curriculum(SPEC, COMPANY, seed=1) != curriculum(SPEC, COMPANY, seed=2)


def test_one_more_tool_changes_few_cases() -> None:
    before = curriculum(SPEC, COMPANY)
    after = curriculum(SPEC, [*COMPANY, tool("paint_wall", "Paint a wall in some colour.")])
    assert [case.expected for case in before] == [case.expected for case in after]
    assert sum(a == b for a, b in zip(before, after, strict=True)) > len(before) / 2


def test_a_digest_names_the_cases_of_one_version() -> None:
    cases = curriculum(SPEC, COMPANY)
    assert digest(SPEC, cases) == digest(SPEC, curriculum(SPEC, COMPANY))
    assert digest(SPEC, cases) != digest(SPEC, cases[1:])
    assert digest(SPEC, cases) != digest(SPEC.model_copy(update={"description": "Other."}), cases)


def test_a_tool_without_parameters_is_asked_for_and_never_lacks_anything() -> None:
    cases = curriculum(tool("roll_dice", "Roll two dice for the player.", required=[], properties={}), COMPANY)
    assert {case.kind for case in cases} == {CaseKind.COMPLETE, CaseKind.ABSENT}
    assert all(case.expected.model_dump().get("arguments", {}) == {} for case in cases)


def test_nothing_is_asked_for_that_has_a_default_or_no_choice() -> None:
    properties = {
        **FLIGHTS,
        "origin": {"type": "string", "description": "Begin.", "default": "Oslo"},
        "day": {"const": "2026-06-01", "description": "The only day."},
    }
    lacking = of_kind(curriculum(tool(properties=properties)), CaseKind.LACKING)
    assert {case.expected.model_dump()["missing"] for case in lacking} == {("destination",)}


def test_what_can_not_be_made_up_gives_no_case_unless_an_example_shows_it() -> None:
    locked = {"code": {"type": "string", "pattern": "^[A-Z]{9}$", "description": "Nine letters."}}
    spec = tool("open_locker", "Open the locker in the hall.", required=["code"], properties=locked)
    assert curriculum(spec) == ()
    example = {"utterance": "open QWERTZUIO", "decision": "execute", "arguments": {"code": "QWERTZUIO"}}
    shown = curriculum(spec.model_validate(spec.model_dump() | {"examples": [example]}))
    assert {case.kind for case in shown} == {CaseKind.EXAMPLE, CaseKind.COMPLETE, CaseKind.LACKING, CaseKind.ABSENT}


def test_cases_of_one_tool_among_ten_thousand_take_no_time() -> None:
    others = [tool(f"sort_{n}_of_kind_{n * 7919}", f"Does thing {n} with thing {n * 31}.") for n in range(10_000)]
    curriculum(SPEC, others)
    began = time.monotonic()
    curriculum(SPEC, others)
    assert time.monotonic() - began < 3


# values


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "string", "format": "date-time"},
        {"type": "string", "minLength": 6, "maxLength": 12},
        {"type": "string", "pattern": r"^\d{4}$"},
        {"type": "integer", "minimum": 100, "maximum": 103},
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        {"type": "integer", "maximum": -3},
        {"type": "number", "multipleOf": 0.25, "minimum": 2},
        {"type": ["integer", "null"]},
        {"type": "array", "items": {"type": "string"}, "minItems": 2},
        {"type": "array", "items": {"$ref": "#/$defs/unit"}},
        {"$ref": "#/$defs/unit"},
        {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 40}]},
        {"allOf": [{"type": "integer"}, {"minimum": 40}]},
        {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]},
        {"type": "boolean"},
        {"const": 7},
    ],
)
def test_a_value_of_each_kind_of_schema_fits_it_and_can_be_said(schema: dict[str, Any]) -> None:
    parameters = {"type": "object", "properties": {"part": schema}, "$defs": {"unit": {"enum": ["mm", "cm"]}}}
    spec = tool().model_copy(update={"parameters": parameters})
    for seed in range(20):
        value = Sampler(spec, random.Random(seed)).argument("part")
        assert argument_errors(parameters, {"part": value}) == []
        assert spoken(value)


def test_names_of_parameters_give_their_values() -> None:
    spec = tool(properties={"contact_email": {"type": "string"}, "home_city": {"type": "string"}}, required=[])
    sampler = Sampler(spec, random.Random(1))
    assert "@" in sampler.argument("contact_email")
    assert sampler.argument("home_city").isalpha()


@given(
    low=st.integers(-1000, 1000), size=st.integers(0, 50), step=st.sampled_from([1, 2, 5]), seed=st.integers(0, 1000)
)
@settings(deadline=None)
@example(low=0, size=1, step=2, seed=0)
def test_a_number_lies_within_its_bounds_or_is_none(low: int, size: int, step: int, seed: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": low + size, "multipleOf": step}
    spec = tool(properties={"part": schema}, required=[])
    value = Sampler(spec, random.Random(seed)).argument("part")
    if value is None:
        assert not any(n % step == 0 for n in range(low, low + size + 1))
    else:
        assert argument_errors(spec.parameters, {"part": value}) == []
