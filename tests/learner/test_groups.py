import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.groups import advantages, all_equal, count

rewards = st.lists(st.floats(-1, 1), min_size=2, max_size=16)


def test_float_noise_is_no_signal() -> None:
    noisy = [0.2, 0.2 + 1.5e-8, 0.2 - 1.5e-8, 0.2]
    assert all_equal(noisy)
    assert advantages(noisy) == (0.0, 0.0, 0.0, 0.0)


def test_a_group_that_varies_has_advantages_of_both_signs() -> None:
    assert advantages([0.0, 1.0]) == (-1.0, 1.0)
    assert advantages([0.0, 0.5], scale=False) == (-0.25, 0.25)


@given(rewards)
def test_advantages_sum_to_zero(group: list[float]) -> None:
    assert math.isclose(sum(advantages(group)), 0.0, abs_tol=1e-6)


@given(rewards)
def test_a_better_rollout_never_has_a_smaller_advantage(group: list[float]) -> None:
    found = advantages(group)
    ordered = sorted(zip(group, found, strict=True))
    assert all(a[1] <= b[1] for a, b in pairwise(ordered))


def test_groups_are_counted_and_equal_ones_named() -> None:
    step = count([1.0, 1.0, 0.0, 1.0, -0.25, -0.25], 2)
    assert (step.groups, step.equal, step.no_signal) == (3, 2, False)
    assert step.mean_reward == pytest.approx(2.5 / 6)
    assert count([0.5] * 8, 4).no_signal


def test_a_short_group_is_refused() -> None:
    with pytest.raises(ValueError, match="groups of 4"):
        count([1.0] * 6, 4)
