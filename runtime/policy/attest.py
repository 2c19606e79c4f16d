"""Proof that what serves is what was trained: a pure comparison of logprobs on the trainer's probes.

An adapter can be loaded without error and still not serve: a stale cache, weights that were not applied, another base
underneath, a training run that changed nothing. So the served logprobs must be the trainer's, and must not be those of
what served before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOLERANCE = 0.05
"""Nats. Two float32 programs agree within 1e-3; a bfloat16 server needs more."""
MIN_CHANGE = 1e-4
"""Nats. Below this two sets of logprobs are the same model, summed in another order."""

Logprobs = Sequence[Sequence[float]]
"""One sequence per probe."""


@dataclass(frozen=True, slots=True)
class Attestation:
    ok: bool
    reason: str
    """What is wrong, or "served logprobs are the trainer's"."""
    max_abs_diff: float = math.nan
    """Nats: the largest difference between served and trained."""
    min_change: float = math.nan
    """Nats: over what served before (base and previous adapter), the smallest of the largest differences."""


def attest(
    trained: Logprobs,
    served: Logprobs,
    before: Mapping[str, Logprobs],
    *,
    tolerance: float = TOLERANCE,
    min_change: float = MIN_CHANGE,
) -> Attestation:
    """Compares logprobs of the same completions.

    Args:
        trained: the trainer's, from the manifest.
        served: the same server's with the adapter.
        before: the same server's without it: its name for messages ("the base model", an adapter) → logprobs.
    """
    if not trained:
        return Attestation(False, "the manifest holds no probes: publish the adapter with some")
    if any(_lengths(other) != _lengths(trained) for other in (served, *before.values())):
        return Attestation(False, "served logprobs are not as many as the trainer's")
    diff = _distance(served, trained)
    if not diff <= tolerance:  # so written that NaN fails
        return Attestation(
            False, f"served logprobs differ from the trainer's by {diff:.2g} nats, over {tolerance:.2g}", diff
        )
    change = min((_distance(served, other) for other in before.values()), default=math.nan)
    for name, other in before.items():
        if not _distance(served, other) >= min_change:
            return Attestation(False, f"served logprobs are those of {name}: the adapter changes nothing", diff, change)
        if not _squares(served, trained) < _squares(other, trained):
            return Attestation(False, f"{name} is as near to the trainer's logprobs as what is served", diff, change)
    return Attestation(True, "served logprobs are the trainer's", diff, change)


def _lengths(logprobs: Logprobs) -> list[int]:
    return [len(sequence) for sequence in logprobs]


def _differences(a: Logprobs, b: Logprobs) -> list[float]:
    return [abs(x - y) for xs, ys in zip(a, b, strict=True) for x, y in zip(xs, ys, strict=True)]


def _distance(a: Logprobs, b: Logprobs) -> float:
    """The largest difference; NaN when any number is one."""
    differences = _differences(a, b)
    return math.nan if any(math.isnan(value) for value in differences) else max(differences, default=0.0)


def _squares(a: Logprobs, b: Logprobs) -> float:
    return math.fsum(value * value for value in _differences(a, b))
