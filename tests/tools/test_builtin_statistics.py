import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.builtin.statistics import describe_numbers
from tools.outcome import CallFault

NUMBERS: list[float] = [2, 4, 4, 4, 5, 5, 7, 9]


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("mean", 5),
        ("median", 4.5),
        ("mode", 4),
        ("stdev", 2.1380899353),
        ("variance", 4.57142857143),
        ("min", 2),
        ("max", 9),
        ("range", 7),
        ("sum", 40),
    ],
)
def test_each_measure_has_its_value(measure: str, value: float) -> None:
    assert describe_numbers(NUMBERS, measure) == {"measure": measure, "value": value, "count": 8}


@pytest.mark.parametrize(
    ("numbers", "measure", "told"),
    [([1], "stdev", "at least two"), ([1e308, 1e308], "sum", "too large"), ([10**400], "max", "too large")],
)
def test_what_cannot_be_measured_is_refused(numbers: list[float], measure: str, told: str) -> None:
    with pytest.raises(CallFault, match=told):
        describe_numbers(numbers, measure)


@settings(deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2), st.sampled_from(["mean", "stdev", "sum"])
)
def test_a_measure_is_finite_or_refused(numbers: list[float], measure: str) -> None:
    try:
        value = describe_numbers(numbers, measure)["value"]
    except CallFault:  # some sums of finite numbers are too large
        return
    assert math.isfinite(value)
