"""Whether a policy is right as often as it says: rows by how sure it was of what it wrote. Pure.

Who may hold back what is unsure (`HONE_CONFIRM_BELOW`) needs to know how much of what is wrong that would stop, and how much of
what is right. Rows whose policy does not tell its confidence are left out.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

_LOWS = tuple(tenth / 10 for tenth in range(10))
"""Where bands begin; certainty belongs to the last one."""


class Told(Protocol):
    """One row: how sure the policy was, and whether it was right."""

    @property
    def confidence(self) -> float | None: ...
    @property
    def exact(self) -> bool: ...


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Band(_Frozen):
    """The rows whose confidence lies in one tenth, `low` included."""

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
    tenths: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for confidence, exact in told:
        tenths[bisect_right(_LOWS, confidence)].append((confidence, exact))
    bands = tuple(_band(tenth, members) for tenth, members in sorted(tenths.items()))
    return Reliability(
        n=len(told),
        error=sum(band.n * abs(band.confidence - band.exact) for band in bands) / len(told),
        ranking=_ranking(told),
        bands=bands,
    )


def _band(tenth: int, told: Sequence[tuple[float, bool]]) -> Band:
    """Args: tenth: counted from 1."""
    n = len(told)
    said, right = sum(confidence for confidence, _ in told) / n, sum(exact for _, exact in told) / n
    return Band(low=_LOWS[tenth - 1], high=tenth / 10, n=n, confidence=said, exact=right)


def _ranking(told: Sequence[tuple[float, bool]]) -> float | None:
    right = np.array([confidence for confidence, exact in told if exact])
    wrong = np.sort([confidence for confidence, exact in told if not exact])
    if not right.size or not wrong.size:
        return None
    # those that tie count half
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / 2 / wrong.size)
