"""Two results on the same rows: the statistics against scipy and by hand, and what is refused."""

import random

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from learner.comparison import Results, compare, mcnemar
from learner.errors import BadRows
from learner.figures import RowResult, confusion_of, macro_f1, macro_f1_interval


def results(exact: dict[str, bool], *, sha: str = "s", strict: bool = False, source: str = "bfcl/simple") -> Results:
    rows = tuple(
        RowResult(id=i, source=source, truth="execute", decided="execute" if e else "refuse", reward=float(e), exact=e)
        for i, e in exact.items()
    )
    return Results(policy={"model": "m"}, data_sha256=sha, strict=strict, rows=rows)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (3, 9), (20, 20), (60, 31), (700, 620)])
def test_mcnemar_is_the_two_sided_binomial_test(only_a: int, only_b: int) -> None:
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected)
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


def test_a_comparison_counts_by_hand() -> None:
    a = results({"1": True, "2": True, "3": False, "4": False})
    b = results({"1": True, "2": False, "3": True, "4": True})
    found = compare(a, b)
    assert (found.overall.n, found.overall.reward_a, found.overall.reward_b) == (4, 0.5, 0.75)
    assert found.overall.reward_gain.mean == 0.25
    exact = found.overall.exact
    assert (exact.a, exact.b, exact.only_a, exact.only_b, exact.p) == (0.5, 0.75, 1, 2, 1.0)
    assert set(found.per_source) == {"bfcl", "bfcl/simple"}
    assert found.per_class["execute"] == found.overall


def test_the_gain_of_paired_rows_has_scipys_interval() -> None:
    generator = random.Random(0)
    first = {str(i): generator.random() < 0.4 for i in range(300)}
    second = {i: e or generator.random() < 0.2 for i, e in first.items()}
    gain = compare(results(first), results(second)).overall.reward_gain
    gains = np.array([float(second[i]) - float(first[i]) for i in first])
    theirs = bootstrap((gains,), np.mean, method="percentile", rng=1).confidence_interval
    assert (gain.low, gain.high) == pytest.approx((theirs.low, theirs.high), abs=0.008)
    assert gain.low > 0


def test_the_interval_of_macro_f1_is_that_of_resampled_rows() -> None:
    generator = random.Random(1)
    kinds = ("execute", "clarify", "refuse")
    pairs = [(t, t if generator.random() < 0.7 else generator.choice(kinds)) for t in generator.choices(kinds, k=150)]
    rows = [RowResult(id="", truth=t, decided=d, reward=0, exact=False) for t, d in pairs]
    mine = macro_f1_interval(confusion_of(rows))
    resampled = [macro_f1(confusion_of(generator.choices(rows, k=len(rows)))) for _ in range(1500)]
    low, high = np.percentile(resampled, [2.5, 97.5])
    assert mine.mean == macro_f1(confusion_of(rows))
    assert (mine.low, mine.high) == pytest.approx((low, high), abs=0.012)


def test_results_over_other_rows_are_refused() -> None:
    a, b = results({"1": True, "2": True}), results({"2": True, "3": True}, sha="t")
    with pytest.raises(BadRows, match=r"different rows \(1 ids in both, 1 only in the first, 1 only in the second"):
        compare(a, b)


def test_results_of_another_rule_are_refused() -> None:
    with pytest.raises(BadRows, match="--strict"):
        compare(results({"1": True}), results({"1": True}, strict=True))


def test_rows_that_one_could_not_take_are_left_out_and_named() -> None:
    found = compare(results({"1": True, "2": True}), results({"1": False}))
    assert (found.overall.n, found.only_in_a, found.only_in_b) == (1, ("2",), ())
    with pytest.raises(BadRows, match="nothing to compare"):
        compare(results({"1": True}), results({"2": True}))


@pytest.mark.parametrize(
    "data", [[], {}, {"policy": {}, "data": {"sha256": "x"}, "settings": {"strict": False}, "rows": [{}]}]
)
def test_a_file_of_something_else_is_refused(data: object) -> None:
    with pytest.raises(BadRows, match=r"a\.json holds no results"):
        Results.read(data, "a.json")
