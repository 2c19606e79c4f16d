"""Percentile bootstrap: how far chance alone moves a figure. Pure; the same seed gives the same interval."""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

_CHUNK = 4_000_000
"""Draws held in memory at once."""


class Interval(BaseModel):
    """A mean with the interval that holds it in 95 % of resamples."""

    model_config = ConfigDict(frozen=True)

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Raises: ValueError: no values, or one that is not finite."""
    if not len(values) or not all(math.isfinite(value) for value in values):
        raise ValueError("a bootstrap needs finite values")
    data = np.asarray(values, dtype=np.float64)
    if data.min() == data.max():
        return Interval(mean=float(data[0]), low=float(data[0]), high=float(data[0]), n=data.size)
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // data.size)
    means = [
        data[generator.integers(0, data.size, size=(min(rows, resamples - start), data.size))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Interval(mean=float(data.mean()), low=float(low), high=float(high), n=data.size)
