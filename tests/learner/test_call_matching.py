"""How given calls are held against a label: properties of the matching, and what is said of near misses."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from learner.figures import result_of
from learner.labels import fitted
from learner.near_misses import MissKind
from learner.rows import Row
from runtime.decision import Execute, ToolCall
from tests.learner.case_rows import row, tool

VALUES = st.one_of(st.integers(-5, 5), st.sampled_from(["x", "y z", "A-1"]))
CALLS = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)),
    min_size=1,
    max_size=5,
)
TOOLS = [tool(name, a={}, b={}, c={}) for name in ("one", "two")]


def labelled(calls: list[tuple[str, dict[str, Any]]], tools: list[dict[str, Any]] = TOOLS) -> Row:
    return row("a", tools=tools, decision="execute", tool_calls=[{"name": n, "arguments": a} for n, a in calls])


def decided(calls: list[tuple[str, dict[str, Any]]]) -> Execute:
    return Execute(calls=tuple(ToolCall(name=n, arguments=a) for n, a in calls))


@settings(deadline=None)
@given(CALLS, st.integers())
def test_any_order_of_the_calls_matches(calls: list[tuple[str, dict[str, Any]]], seed: int) -> None:
    result = result_of(labelled(calls), decided(random.Random(seed).sample(calls, len(calls))))
    assert (result.exact, result.tools_right, result.arguments_right, result.near_misses) == (True, True, 1.0, ())


@settings(deadline=None)
@given(CALLS, st.data())
def test_any_acceptable_value_matches_and_an_optional_one_may_be_left_out(
    calls: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    label = [(n, {k: {"any_of": [v, "other"], "optional": True} for k, v in a.items()}) for n, a in calls]
    chosen = [
        (n, {k: data.draw(st.sampled_from([v, "other"])) for k, v in a.items() if data.draw(st.booleans())})
        for n, a in calls
    ]
    assert result_of(labelled(label), decided(chosen)).exact


@settings(deadline=None)
@given(CALLS)
def test_a_call_too_many_or_too_few_is_not_exact(calls: list[tuple[str, dict[str, Any]]]) -> None:
    assert not result_of(labelled(calls), decided([*calls, calls[0]])).exact
    if len(calls) > 1:
        assert not result_of(labelled(calls), decided(calls[1:])).exact


def test_strict_judges_by_the_label_as_it_stands() -> None:
    strict = labelled([("act", {"n": "2"})], [tool("act", n={"type": "integer"})])
    assert not result_of(strict, decided([("act", {"n": 2})])).exact
    assert result_of(fitted(strict), decided([("act", {"n": 2})])).exact
    assert not result_of(fitted(strict), decided([("act", {"n": "2"})])).exact


def test_near_misses_say_what_is_wrong_with_each_argument() -> None:
    shown = [
        tool("act", n={"type": "integer"}, s={"type": "string"}, t={"type": "string"}, u={}, v={}, w={"type": "string"})
    ]
    label = labelled([("act", {"n": 2, "s": "AB-1", "t": "Oslo", "u": 1, "w": "red"})], shown)
    result = result_of(label, decided([("act", {"n": "2", "s": "ab 1", "t": "in Oslo", "v": 5, "w": "blue"})]))
    assert result.tools_right
    assert {miss.argument: miss.kind for miss in result.near_misses} == {
        "n": MissKind.TYPE,
        "s": MissKind.SPELLING,
        "t": MissKind.PART,
        "u": MissKind.LEFT_OUT,
        "v": MissKind.ADDED,
        "w": MissKind.VALUE,
    }
    other = result_of(label, Execute(calls=(ToolCall(name="none"),)))
    assert (other.tools_right, other.arguments_right, other.near_misses) == (False, None, ())
