"""One measure of a list of numbers."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tools.builtin.declaration import Builtin
from tools.builtin.rounding import plain_number
from tools.outcome import refusal

_MEASURES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "mode": statistics.mode,
    "stdev": statistics.stdev,
    "variance": statistics.variance,
    "min": min,
    "max": max,
    "range": lambda numbers: max(numbers) - min(numbers),
    "sum": math.fsum,
}
_NEED_TWO = frozenset({"stdev", "variance"})
"""Of a sample: divided by one less than the count."""


def describe_numbers(numbers: list[float], measure: str) -> dict[str, Any]:
    if measure in _NEED_TWO and len(numbers) < 2:
        raise refusal(f"{measure} needs at least two numbers, not {len(numbers)}")
    try:
        value = float(_MEASURES[measure]([float(number) for number in numbers]))
    except OverflowError as e:
        raise refusal(f"the numbers are too large for their {measure}") from e
    if not math.isfinite(value):
        raise refusal(f"the numbers are too large for their {measure}")
    return {"measure": measure, "value": plain_number(value), "count": len(numbers)}


def statistics_tools() -> tuple[Builtin, ...]:
    return (
        Builtin(
            name="describe_numbers",
            description="Compute one statistic of a list of numbers.",
            function=describe_numbers,
            properties={
                "numbers": {
                    "type": "array",
                    "items": {"type": "number"},
                    "minItems": 1,
                    "maxItems": 10_000,
                    "description": "The numbers to describe",
                },
                "measure": {"type": "string", "enum": list(_MEASURES), "description": "Which statistic"},
            },
            required=("numbers", "measure"),
        ),
    )
