"""Where an answer comes from, told from the answer and the conversation alone."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.agent.citations import Citation, citations, unsupported_numbers

ASKED = {"role": "user", "content": "What is the weather in Oslo, for 3 days?"}


def result(data: Any, call_id: str = "call_1", tool: str = "weather") -> dict[str, Any]:
    content = data if isinstance(data, str) else json.dumps(data)
    return {"role": "tool", "tool_call_id": call_id, "name": tool, "content": content}


def cited(answer: str, *results: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one.text, one.path) for one in citations(answer, [ASKED, *results])]


def test_strings_and_numbers_of_a_result_are_cited_where_the_answer_has_them() -> None:
    data = {"sky": "light rain", "days": [{"high": 21.48}, {"high": -3}], "a b": "north wind"}
    assert cited("Light rain, 21.5 degrees, then -3; North wind.", result(data)) == [
        ("Light rain", "$.sky"),
        ("21.5", "$.days[0].high"),
        ("-3", "$.days[1].high"),
        ("North wind", '$["a b"]'),
    ]


def test_a_citation_names_the_call() -> None:
    (one,) = citations("It is sunny.", [ASKED, result("sunny", "call_7")])
    assert one == Citation(start=6, end=11, text="sunny", tool="weather", call_id="call_7", path="$")


@pytest.mark.parametrize("answer", ["Rainy.", "12 degrees", "2 degrees.1", "It is 2.", "1.25"])
def test_a_part_of_a_word_or_of_a_number_is_not_cited(answer: str) -> None:
    assert cited(answer, result({"sky": "rain", "high": 1.2})) == []


def test_letters_that_grow_in_lower_case_shift_nothing() -> None:
    assert cited("İİ rain", result({"sky": "Rain"})) == [("rain", "$.sky")]


def test_the_length_of_a_list_is_a_number_that_can_be_cited() -> None:
    assert cited("There are 2 flights.", result({"flights": ["a1x", "b2y"]})) == [("2", "$.flights.length()")]


def test_the_longer_part_and_then_the_newer_result_counts() -> None:
    old, new = result({"city": "New York", "part": "York"}, "call_1"), result({"city": "New York"}, "call_2")
    found = citations("In New York.", [ASKED, old, new])
    assert [(one.text, one.call_id) for one in found] == [("New York", "call_2")]


def test_numbers_that_nobody_stated_are_named() -> None:
    messages = [ASKED, result({"high": 21.48, "note": "gusts of 1,200 m"})]
    assert unsupported_numbers("For 3 days 21.5, gusts at 1200, and 99.5 % or 7.", messages) == ("99.5", "7")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.text(max_size=40),
    st.data(),
)
def test_what_is_cited_is_in_the_answer_in_order_and_apart(data: Any, before: str, draw: st.DataObject) -> None:
    words = draw.draw(st.lists(st.sampled_from([*_texts(data), before]), max_size=6))
    answer = " ".join(words)
    found = citations(answer, [ASKED, result(data)])
    assert all(one.text == answer[one.start : one.end] for one in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))


def _texts(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [text for value in data.values() for text in _texts(value)]
    if isinstance(data, list):
        return [text for value in data for text in _texts(value)]
    return [str(data)]
