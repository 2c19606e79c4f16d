"""The reward's tiers, how arguments compare, and that no policy which ignores the request gets far."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.baselines import BASELINES
from learner.rewards import INVALID, Score, read_decision, score, score_text
from learner.rows import GroundTruth, Row
from runtime.decision import Answer, Clarify, Execute, Invalid, MissingParameter, Refuse, ToolCall
from tests.learner.case_rows import NOTES, TIMER, TOOLS, WEATHER, mixed_rows, right_text, row, tool, written


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def execute(*calls: ToolCall) -> Execute:
    return Execute(calls=calls)


def truth_of(*calls: ToolCall) -> GroundTruth:
    return GroundTruth.model_validate({"decision": "execute", "tool_calls": [c.model_dump() for c in calls]})


def scored(given_call: ToolCall, expected: ToolCall, schema_tool: dict[str, Any]) -> Score:
    return score(execute(given_call), truth_of(expected), [schema_tool])


def test_right_call_earns_all() -> None:
    assert scored(call("weather", city="Oslo"), call("weather", city="Oslo"), WEATHER) == Score(1.0, True)


def test_wrong_arguments_earn_the_middle_tier_by_share() -> None:
    nothing = scored(call("weather"), call("weather", city="Oslo"), WEATHER)
    half = scored(call("weather", city="Oslo", days=2), call("weather", city="Oslo", days=3), WEATHER)
    assert nothing.reward == 0.25
    assert half.reward == pytest.approx(0.375)
    assert not nothing.exact
    assert half.reasons == ("wrong arguments of weather: days",)


def test_another_tool_earns_nothing() -> None:
    assert scored(call("timer", minutes=3), call("weather", city="Oslo"), WEATHER).reward == 0.0


def test_another_kind_of_decision_earns_nothing() -> None:
    assert score(Refuse(reason="no"), truth_of(call("timer", minutes=3)), TOOLS).reward == 0.0
    assert score(Answer(text="hi"), GroundTruth(decision="refuse"), TOOLS).reward == 0.0


def test_invalid_output_costs() -> None:
    assert score(Invalid(raw="{", error="not JSON"), GroundTruth(decision="refuse"), TOOLS) == Score(
        INVALID, False, ("not JSON",)
    )


def test_calls_compare_as_a_multiset() -> None:
    a, b = call("timer", minutes=1), call("timer", minutes=2)
    assert score(execute(b, a), truth_of(a, b), TOOLS).exact
    assert score(execute(a, a), truth_of(a, b), TOOLS).reward == pytest.approx(0.375)
    assert score(execute(a), truth_of(a, b), TOOLS).reward == pytest.approx(0.375)
    assert score(execute(a, a), truth_of(a, a), TOOLS).exact


def test_best_matching_is_found_whatever_the_order() -> None:
    either = call("timer", minutes={"any_of": [1, 2]})
    only = call("timer", minutes=1)
    for expected in ((either, only), (only, either)):
        for given_calls in ((call("timer", minutes=1), call("timer", minutes=2)),):
            assert score(execute(*given_calls), truth_of(*expected), TOOLS).exact
            assert score(execute(*reversed(given_calls)), truth_of(*expected), TOOLS).exact


@pytest.mark.parametrize(
    "calls",
    [
        [call("weather", city="Oslo")] * 5,
        [call("weather", city="Oslo"), call("timer", minutes=1)],
        [call("weather"), call("timer"), call("notes")],
    ],
)
def test_calls_that_nobody_asked_for_earn_nothing(calls: list[ToolCall]) -> None:
    assert score(execute(*calls), truth_of(call("weather", city="Oslo")), TOOLS).reward == 0.0


@pytest.mark.parametrize(
    ("schema", "expected", "given_value", "same"),
    [
        ({"type": "number"}, 3, 3.0, True),
        ({"type": "integer"}, 3, 3.0, True),
        ({"type": "number"}, 0.3, 0.1 + 0.2, True),
        ({"type": "number"}, 3, "3", False),
        ({"type": "integer"}, 1, True, False),
        ({"type": "boolean"}, True, 1, False),
        ({"type": "boolean"}, True, "true", False),
        ({"type": "string"}, "3", 3, False),
        ({"type": "string"}, "New York", "new  york ", True),
        ({"type": "string"}, "São Paulo", "Sa\u0303o Paulo", True),
        ({"type": "string"}, "AbC-12", "abc-12", False),
        ({"type": "string"}, "Ann@x.org", "ann@x.org", False),
        ({"type": "string", "enum": ["km", "KM"]}, "km", "KM", False),
        ({"type": "string", "format": "date"}, "2026-01-02", "2026-01-02", True),
        ({"type": "array", "items": {"type": "string"}}, ["a", "b"], ["b", "a"], False),
        ({"type": "array", "uniqueItems": True}, ["a", "b"], ["b", "a"], True),
        ({"type": "array", "uniqueItems": True}, ["a", "b"], ["a", "a"], False),
        ({"type": "array"}, ["a"], "a", False),
        ({"type": "object"}, {"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}, True),
        ({"type": "object"}, {"a": 1}, {"a": 1, "b": 2}, False),
        ({"type": ["string", "null"]}, None, None, True),
        ({"type": ["string", "null"]}, None, "", False),
        ({"type": "string"}, {"any_of": ["km", "kilometre"]}, "kilometre", True),
        ({"type": "string"}, {"any_of": ["km", "kilometre"]}, "mile", False),
        ({"type": "integer"}, 10**400, 1e300, False),
    ],
)
def test_values_compare_by_type(schema: dict[str, Any], expected: Any, given_value: Any, same: bool) -> None:
    one = tool("one", x=schema)
    assert scored(call("one", x=given_value), call("one", x=expected), one).exact is same


def test_a_default_may_be_spelt_out_or_left_out() -> None:
    assert scored(call("weather", city="Oslo", days=1), call("weather", city="Oslo"), WEATHER).exact
    assert scored(call("weather", city="Oslo"), call("weather", city="Oslo", days=1), WEATHER).exact
    assert not scored(call("weather", city="Oslo", days=2), call("weather", city="Oslo"), WEATHER).exact


def test_an_optional_value_may_be_left_out_but_not_be_wrong() -> None:
    expected = call("weather", city="Oslo", days={"any_of": [2, 3], "optional": True})
    assert scored(call("weather", city="Oslo"), expected, WEATHER).exact
    assert scored(call("weather", city="Oslo", days=3), expected, WEATHER).exact
    assert not scored(call("weather", city="Oslo", days=4), expected, WEATHER).exact


def test_clarify_is_right_when_it_names_what_is_missing() -> None:
    truth = GroundTruth(decision="clarify", missing=({"tool": "weather", "parameter": "city"},))
    city = MissingParameter(tool="weather", parameter="city")
    days = MissingParameter(tool="weather", parameter="days")
    assert score(Clarify(question="Where?", missing=(city,)), truth, TOOLS).exact
    assert score(Clarify(question="Where?", missing=(city, days)), truth, TOOLS).reward == pytest.approx(0.375)
    assert score(Clarify(question="What?", missing=(days,)), truth, TOOLS).reward == 0.25
    assert score(Clarify(question=" ", missing=(city,)), truth, TOOLS).reward == 0.25
    assert score(Clarify(question="What?", inferred=True), GroundTruth(decision="clarify"), TOOLS).exact


def test_refuse_is_right_when_the_category_is() -> None:
    truth = GroundTruth(decision="refuse", category="unsafe")
    assert score(
        read_decision(written("decline", reason="no", category="unsafe"), row("a", decision="refuse")), truth, TOOLS
    ).exact
    assert score(Refuse(reason="no"), truth, TOOLS).reward == 0.5
    assert score(Refuse(reason="no"), GroundTruth(decision="refuse"), TOOLS).exact


def test_plain_text_after_a_tool_result_is_an_answer() -> None:
    asked = row("a", decision="answer", text="It is 3 degrees.")
    after = asked.model_copy(update={"prompt": (*asked.prompt, {"role": "tool", "content": "3"})})
    assert score_text("Is it cold? It is 3 degrees. Anything else?", after).exact
    assert not score_text("", after).exact


def _mean(rows: list[Row], write: Callable[[Row], str]) -> float:
    return sum(score_text(write(r), r).reward for r in rows) / len(rows)


def _honest_but_weak(r: Row) -> str:
    """Takes the right decision half the time, with an argument wrong, else mixes the kinds up."""
    generator = random.Random(r.extra_info["id"])
    if generator.random() < 0.5:
        return right_text(r)
    return written("decline", reason="no", category="unavailable")


def _every_tool_empty(r: Row) -> str:
    return "".join(written(t["function"]["name"]) for t in r.tools)


def _right_call_repeated(r: Row) -> str:
    return right_text(r) * 5


def _every_parameter_missing(r: Row) -> str:
    missing = [
        {"tool": t["function"]["name"], "parameter": name}
        for t in r.tools
        for name in t["function"]["parameters"]["properties"]
    ]
    return written("ask_user", question="?", missing=missing)


def _broken(r: Row) -> str:
    return "<tool_call>{"


EXPLOITS: list[Callable[[Row], str]] = [
    _every_tool_empty,
    _right_call_repeated,
    _every_parameter_missing,
    _broken,
    lambda r: written("ask_user", question="?", missing=[]),
    lambda r: written("decline", reason="no", category="out_of_scope"),
    lambda r: "I cannot help with that.",
    lambda r: "Done.",
    lambda r: "",
    lambda r: written("weather"),
    lambda r: written("weather", city="", days=0),
    lambda r: written("weather", city="Oslo") + written("ask_user", question="?", missing=[]),
]


@pytest.mark.parametrize("exploit", EXPLOITS)
def test_no_exploit_pays(exploit: Callable[[Row], str]) -> None:
    rows = mixed_rows(300)
    assert _mean(rows, exploit) <= 0.25
    assert _mean(rows, exploit) < _mean(rows, _honest_but_weak) - 0.2


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_no_baseline_pays(name: str) -> None:
    rows = mixed_rows(300)
    rewards = [score(BASELINES[name](r), r.truth, r.tools).reward for r in rows]
    assert sum(rewards) / len(rewards) <= 0.25


def test_the_truth_itself_is_always_exact() -> None:
    assert all(score_text(right_text(r), r) == Score(1.0, True) for r in mixed_rows(30))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.sampled_from(["city", "days", "minutes", "text", "tags"]), values, max_size=4)
calls = st.builds(ToolCall, name=st.sampled_from(["weather", "timer", "notes"]), arguments=arguments)
call_lists = st.lists(calls, min_size=1, max_size=4)


@given(call_lists, st.randoms())
def test_any_calls_match_themselves_in_any_order(expected: list[ToolCall], shuffler: random.Random) -> None:
    shuffled = list(expected)
    shuffler.shuffle(shuffled)
    assert score(execute(*shuffled), truth_of(*expected), TOOLS) == Score(1.0, True)


@given(call_lists, call_lists)
def test_rewards_stay_in_their_tiers(expected: list[ToolCall], given_calls: list[ToolCall]) -> None:
    result = score(execute(*given_calls), truth_of(*expected), TOOLS)
    assert result.exact == (result.reward == 1.0) == (not result.reasons)
    assert result.reward == 1.0 or result.reward == 0.0 or 0.25 <= result.reward <= 0.5


@given(st.text(max_size=60))
def test_any_text_gets_a_reward(text: str) -> None:
    for asked in (row("a", decision="refuse"), row("b", decision="execute", tool_calls=[{"name": "timer"}])):
        assert -0.25 <= score_text(text, asked).reward <= 1.0


def test_more_right_arguments_never_earn_less() -> None:
    expected = call("notes", text="milk", tags=["shop"])
    steps = [call("notes"), call("notes", text="milk"), call("notes", text="milk", tags=["shop"])]
    rewards = [scored(step, expected, NOTES).reward for step in steps]
    assert rewards == sorted(rewards)
    assert rewards[-1] == 1.0


def test_a_string_for_a_number_is_a_near_miss() -> None:
    assert scored(call("timer", minutes="5"), call("timer", minutes=5), TIMER).reward == 0.25
