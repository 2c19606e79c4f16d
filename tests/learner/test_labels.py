"""Labels that break their own schema are made to fit it; labels that fit are left alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.labels import fitted, label_errors
from learner.rows import Row
from tests.learner.case_rows import row, tool


def labelled(schema: dict[str, Any], value: Any) -> Row:
    return row(
        "a", tools=[tool("act", x=schema)], decision="execute", tool_calls=[{"name": "act", "arguments": {"x": value}}]
    )


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"type": "integer"}, "2", 2),
        ({"type": "number"}, " 2.5 ", 2.5),
        ({"type": "boolean"}, "True", True),
        ({"type": "string"}, 5, "5"),
        ({"type": "array", "items": {"type": "string"}}, "['John', 'Jane']", ["John", "Jane"]),
        ({"type": "array", "items": {"type": "integer"}}, '["1", "2"]', [1, 2]),
        ({"type": "array", "items": {"type": "string"}}, "milk", ["milk"]),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, '{"n": "3"}', {"n": 3}),
        ({"enum": ["low", "high"]}, "High", "high"),
        ({"type": "string"}, ["NYC", "New York"], {"any_of": ["NYC", "New York"]}),
        ({"type": "string"}, ["NYC", ""], {"any_of": ["NYC"], "optional": True}),
        ({"type": "integer"}, {"any_of": ["1", 2], "optional": True}, {"any_of": [1, 2], "optional": True}),
        ({"type": "object", "properties": {"f": {"type": "string"}}}, {"f": ["age"]}, {"f": "age"}),
    ],
)
def test_a_value_becomes_what_it_can_only_mean(schema: dict[str, Any], value: Any, fits: Any) -> None:
    found = fitted(labelled(schema, value)).truth.tool_calls[0].arguments["x"]
    assert (found, repr(found)) == (fits, repr(fits))
    assert not label_errors(fitted(labelled(schema, value)))


@pytest.mark.parametrize("value", ["per month", "API_call_0", "", "1e999", "(" * 300])
def test_what_means_nothing_else_stays_and_is_named(value: str) -> None:
    before = labelled({"type": "integer"}, value)
    assert fitted(before) is before
    assert "act: x" in label_errors(before)[0]


@given(
    st.one_of(
        st.integers().map(lambda v: ({"type": "integer"}, v)),
        st.booleans().map(lambda v: ({"type": "boolean"}, v)),
        st.text().map(lambda v: ({"type": "string"}, v)),
        st.lists(st.text()).map(lambda v: ({"type": "array", "items": {"type": "string"}}, v)),
    )
)
def test_a_label_that_fits_is_the_very_same(case: tuple[dict[str, Any], Any]) -> None:
    before = labelled(*case)
    assert fitted(before) is before
