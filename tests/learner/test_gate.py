"""The gate promotes what is better beyond chance, and nothing else."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.baselines import BASELINES
from learner.evaluation import EvaluationReport
from learner.figures import RowResult
from learner.gate import decide
from learner.settings import GateSettings

KINDS = ("execute", "clarify", "refuse")
QUICK = GateSettings(resamples=300)


def report(
    rewards: dict[str, float], *, baseline: float = 0.2, kinds: dict[str, str] | None = None
) -> EvaluationReport:
    kinds = kinds or {row_id: KINDS[place % 3] for place, row_id in enumerate(sorted(rewards))}
    rows = tuple(
        RowResult(id=row_id, truth=kinds[row_id], decided=kinds[row_id], reward=value, exact=value == 1.0)
        for row_id, value in rewards.items()
    )
    return EvaluationReport(
        model="m",
        adapter=None,
        overall=None,
        per_class={},
        macro_f1=0.0,
        confusion={},
        baselines={name: {"reward": baseline} for name in BASELINES},
        too_long=(),
        truncated=0,
        seconds=0.0,
        rows=rows,
    )


def rewards(share: float, n: int = 150, seed: int = 0) -> dict[str, float]:
    generator = random.Random(seed)
    return {f"r{i:03}": float(generator.random() < share) for i in range(n)}


def test_a_clear_gain_is_promoted() -> None:
    result = decide(report(rewards(0.4)), report(rewards(0.8, seed=1)), settings=QUICK)
    assert result.promote
    assert result.overall is not None
    assert result.overall.low > 0
    assert set(result.per_class) == set(KINDS)
    assert result.reasons[0].startswith("reward rises by")


def test_noise_is_not_promoted() -> None:
    result = decide(report(rewards(0.5)), report(rewards(0.5, seed=1)), settings=QUICK)
    assert not result.promote
    assert "no gain beyond chance" in result.reasons[0]


def test_a_loss_is_not_promoted() -> None:
    assert not decide(report(rewards(0.8)), report(rewards(0.4, seed=1)), settings=QUICK).promote


def test_a_gain_smaller_than_asked_for_is_not_promoted() -> None:
    old, new = report(rewards(0.4)), report(rewards(0.8, seed=1))
    assert not decide(old, new, settings=QUICK.model_copy(update={"min_gain": 0.6})).promote


def test_a_class_that_pays_for_the_others_blocks() -> None:
    ids = [f"r{i:03}" for i in range(150)]
    old = {row_id: (1.0 if place % 3 == 2 else 0.0) for place, row_id in enumerate(ids)}
    new = {row_id: (0.0 if place % 3 == 2 else 1.0) for place, row_id in enumerate(ids)}
    result = decide(report(old), report(new), settings=QUICK)
    assert not result.promote
    assert any(reason.startswith("refuse is worse") for reason in result.reasons)


def test_a_small_class_may_not_fall_far_even_within_noise() -> None:
    kinds = {f"r{i:03}": ("refuse" if i < 3 else "execute") for i in range(150)}
    old = dict.fromkeys(kinds, 0.0) | {"r000": 1.0}
    new = dict.fromkeys(kinds, 1.0) | {"r000": 0.0, "r001": 0.0, "r002": 0.0}
    result = decide(report(old, kinds=kinds), report(new, kinds=kinds), settings=QUICK)
    assert not result.promote
    assert any(reason.startswith("refuse falls by 0.333") for reason in result.reasons)


def test_a_policy_below_a_trivial_one_is_not_promoted() -> None:
    result = decide(report(rewards(0.1)), report(rewards(0.6, seed=1), baseline=0.7), settings=QUICK)
    assert not result.promote
    assert len(result.reasons) == len(BASELINES)


def broken_reports() -> list[tuple[str, EvaluationReport, EvaluationReport]]:
    old, new = report(rewards(0.2)), report(rewards(0.9, seed=1))
    twice = new.model_copy(update={"rows": (*new.rows, new.rows[0])})
    other_kind = report(rewards(0.9, seed=1), kinds=dict.fromkeys(rewards(0.9), "refuse"))
    nan_baseline = new.model_copy(update={"baselines": {n: {"reward": math.nan} for n in BASELINES}})
    return [
        ("empty", report({}), report({})),
        ("empty candidate", old, report({})),
        ("fewer rows", old, report(rewards(0.9, n=149))),
        ("a row twice", old, twice),
        ("another truth", old, other_kind),
        ("not a number", old, report(rewards(0.9, seed=1) | {"r000": math.nan})),
        ("infinite", old, report(rewards(0.9, seed=1) | {"r000": math.inf})),
        ("incumbent not a number", report(rewards(0.2) | {"r000": math.nan}), new),
        ("too few", report(rewards(0.0, n=40)), report(rewards(1.0, n=40))),
        ("no baselines", old, new.model_copy(update={"baselines": {}})),
        ("baseline without a reward", old, new.model_copy(update={"baselines": {n: {} for n in BASELINES}})),
        ("baseline not a number", old, nan_baseline),
    ]


@pytest.mark.parametrize(("what", "old", "new"), broken_reports(), ids=[case[0] for case in broken_reports()])
def test_it_fails_closed(what: str, old: EvaluationReport, new: EvaluationReport) -> None:
    result = decide(old, new, settings=QUICK)
    assert not result.promote
    assert result.reasons


any_rewards = st.lists(st.sampled_from([-0.25, 0.0, 0.25, 0.5, 1.0]), min_size=60, max_size=60)


def _of(values: list[Any]) -> EvaluationReport:
    return report({f"r{i:03}": value for i, value in enumerate(values)}, baseline=-1.0)


@settings(max_examples=30)
@given(any_rewards)
def test_nothing_is_promoted_over_itself(values: list[float]) -> None:
    assert not decide(_of(values), _of(values), settings=QUICK).promote


@settings(max_examples=30)
@given(any_rewards, any_rewards)
def test_never_both_ways(a: list[float], b: list[float]) -> None:
    forth, back = decide(_of(a), _of(b), settings=QUICK), decide(_of(b), _of(a), settings=QUICK)
    assert not (forth.promote and back.promote)


@settings(max_examples=30)
@given(any_rewards, st.floats(0.01, 1.0))
def test_better_on_every_row_is_promoted(values: list[float], gain: float) -> None:
    assert decide(_of(values), _of([v + gain for v in values]), settings=QUICK).promote


@settings(max_examples=30)
@given(any_rewards, any_rewards, st.randoms())
def test_the_order_of_rows_does_not_matter(a: list[float], b: list[float], shuffler: random.Random) -> None:
    old, new = _of(a), _of(b)
    rows = list(new.rows)
    shuffler.shuffle(rows)
    shuffled = new.model_copy(update={"rows": tuple(rows)})
    assert decide(old, shuffled, settings=QUICK) == decide(old, new, settings=QUICK)


@settings(max_examples=30)
@given(any_rewards, any_rewards, st.integers(0, 59), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_one_broken_number_is_enough_to_refuse(a: list[float], b: list[float], place: int, broken: float) -> None:
    b[place] = broken
    assert not decide(_of(a), _of(b), settings=QUICK).promote
