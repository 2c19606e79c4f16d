"""Served logprobs prove an adapter, or say what is wrong."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.policy.attest import attest

TRAINED = [(-1.0, -2.0), (-0.5,)]
BASE = [(-1.4, -2.3), (-0.9,)]
LOGPROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=6)


def test_the_trainers_logprobs_are_attested() -> None:
    found = attest(TRAINED, [(-1.001, -2.0), (-0.5,)], {"the base model": BASE})
    assert found.ok
    assert found.max_abs_diff == pytest.approx(0.001)
    assert found.min_change == pytest.approx(0.4)


def test_logprobs_that_the_trainer_did_not_see_are_refused() -> None:
    found = attest(TRAINED, [(-1.0, -2.0), (-0.8,)], {"the base model": BASE})
    assert not found.ok
    assert "differ from the trainer's by 0.3" in found.reason


def test_an_adapter_that_changes_nothing_is_refused_though_the_trainer_agrees() -> None:
    found = attest(TRAINED, TRAINED, {"the base model": TRAINED})
    assert not found.ok
    assert "the base model" in found.reason
    assert "changes nothing" in found.reason


def test_the_previous_adapters_stale_answers_are_refused() -> None:
    stale = [(-1.01, -2.0), (-0.5,)]
    found = attest(TRAINED, stale, {"the base model": BASE, "adapter 'hone-v1'": stale})
    assert not found.ok
    assert "hone-v1" in found.reason


def test_serving_that_is_no_nearer_to_the_trainer_than_before_is_refused() -> None:
    found = attest([(-1.0,)], [(-1.03,)], {"the base model": [(-1.02,)]})
    assert not found.ok
    assert "as near" in found.reason


def test_without_probes_nothing_is_proven() -> None:
    assert "no probes" in attest([], [], {}).reason
    assert not attest([], [], {}).ok


def test_another_number_of_logprobs_is_refused() -> None:
    assert not attest(TRAINED, [(-1.0,), (-0.5,)], {"the base model": BASE}).ok
    assert not attest(TRAINED, TRAINED, {"the base model": BASE[:1]}).ok


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_wherever_they_are(bad: float) -> None:
    assert not attest(TRAINED, [(-1.0, bad), (-0.5,)], {"the base model": BASE}).ok
    assert not attest([(-1.0, bad), (-0.5,)], TRAINED, {"the base model": BASE}).ok


def test_a_base_that_gives_nan_proves_nothing() -> None:
    assert not attest(TRAINED, TRAINED, {"the base model": [(math.nan, -2.0), (-0.5,)]}).ok


@given(LOGPROBS, st.floats(0.2, 5))
def test_no_logprobs_far_from_the_trainers_are_attested(trained: list[float], shift: float) -> None:
    served = [value - shift for value in trained]
    assert not attest([trained], [served], {"the base model": [[value - 9 for value in trained]]}).ok
