"""Whether a policy is right as often as it says: rows by how sure it was of what it wrote. Pure.

Who may hold back what is unsure (`HONE_CONFIRM_BELOW`) needs to know how much of what is wrong that would stop, and how much of
what is right. Rows whose policy does not tell its confidence are left out.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Told(Protocol):
    """One row: how sure the policy was, and whether it was right."""

    @property
    def confidence(self) -> float | None: ...
    @property
    def exact(self) -> bool: ...


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Band(_Frozen):
    """The rows whose confidence lies between two edges, the lower one included."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean over the rows."""
    exact: float
    """Share that is right in full."""


class Reliability(_Frozen):
    n: int
    error: float
    """How far confidence and share of right rows lie apart, in the mean over the rows' bands (expected calibration error,
    arXiv 1706.04599); 0: as sure as right."""
    ranking: float | None
    """How often, of a right and a wrong row, the right one is the surer (area under the ROC curve); 0.5: chance. None: all rows are
    right, or all wrong."""
    bands: tuple[Band, ...]
    """Those that have rows, the least sure first."""


def reliability_of(rows: Sequence[Told]) -> Reliability | None:
    """None: of no row is the confidence known."""
    told = [(row.confidence, row.exact) for row in rows if row.confidence is not None]
    if not told:
        return None
    bands = [
        _band(low, high, [one for one in told if low <= one[0] < high or (high == EDGES[-1] and one[0] >= high)])
        for low, high in pairwise(EDGES)
    ]
    held = tuple(band for band in bands if band is not None)
    return Reliability(
        n=len(told),
        error=sum(band.n * abs(band.confidence - band.exact) for band in held) / len(told),
        ranking=_ranking(told),
        bands=held,
    )


def _band(low: float, high: float, told: Sequence[tuple[float, bool]]) -> Band | None:
    if not told:
        return None
    n = len(told)
    said, right = sum(confidence for confidence, _ in told) / n, sum(exact for _, exact in told) / n
    return Band(low=low, high=high, n=n, confidence=said, exact=right)


def _ranking(told: Sequence[tuple[float, bool]]) -> float | None:
    right = np.array([confidence for confidence, exact in told if exact])
    wrong = np.sort([confidence for confidence, exact in told if not exact])
    if not right.size or not wrong.size:
        return None
    # those that tie count half
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / 2 / wrong.size)
