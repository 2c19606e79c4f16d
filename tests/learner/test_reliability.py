"""Whether confidence can be trusted: bands, calibration error, ranking."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.reliability import reliability_of


@dataclass(frozen=True)
class Row:
    confidence: float | None
    exact: bool


told = st.builds(Row, st.floats(0, 1), st.booleans())


@given(st.lists(st.one_of(told, st.builds(Row, st.none(), st.booleans())), min_size=1, max_size=60))
def test_each_row_that_tells_stands_in_one_band_and_no_figure_leaves_its_range(rows: list[Row]) -> None:
    known = [row for row in rows if row.confidence is not None]
    found = reliability_of(rows)
    if found is None:
        assert not known
        return
    assert found.n == len(known) == sum(band.n for band in found.bands)
    for band in found.bands:
        assert band.low <= band.confidence <= band.high + 1e-9
        assert 0 <= band.exact <= 1
    assert 0 <= found.error <= 1
    assert (found.ranking is None) is (len({row.exact for row in known}) == 1)


@given(st.lists(told, min_size=2, max_size=40))
def test_ranking_is_the_share_of_pairs_in_which_the_right_row_is_the_surer(rows: list[Row]) -> None:
    right, wrong = [[r.confidence or 0.0 for r in rows if r.exact is exact] for exact in (True, False)]
    pairs = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    found = reliability_of(rows)
    assert found is not None
    assert found.ranking == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


def test_one_that_is_as_sure_as_right_has_no_error_and_a_boaster_has_much() -> None:
    honest = reliability_of([Row(0.75, exact=i < 3) for i in range(4)] + [Row(0.25, exact=i < 1) for i in range(4)])
    boaster = reliability_of([Row(0.99, exact=i < 1) for i in range(4)])
    assert honest is not None
    assert boaster is not None
    assert honest.error == pytest.approx(0)
    assert honest.ranking == 0.75
    assert boaster.error == pytest.approx(0.74)
    assert (boaster.ranking, [band.n for band in boaster.bands]) == (0.5, [4])


def test_certainty_belongs_to_the_last_band_and_silence_to_none() -> None:
    found = reliability_of([Row(1.0, exact=True), Row(None, exact=False)])
    assert found is not None
    assert [(band.low, band.n) for band in found.bands] == [(0.9, 1)]
    assert reliability_of([Row(None, exact=True)]) is None
