"""The gate: may this candidate replace the incumbent?

Both were measured on the same rows, so the comparison is paired: what counts is the difference on each row. A candidate
passes only if

- its overall gain is beyond chance (lower bound of the paired 95 % interval above `min_gain`),
- no class of decisions is worse beyond chance, nor falls by more than `max_class_drop` within it,
- it earns more than every policy that ignores the request.

It fails closed: whatever is missing, not finite or does not match means no promotion. Pure.
"""

import math

from pydantic import BaseModel, ConfigDict

from learner.baselines import BASELINES
from learner.bootstrap import Interval, mean_interval
from learner.evaluation import EvaluationReport
from learner.figures import RowResult
from learner.settings import GateSettings


class GateReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    promote: bool
    reasons: tuple[str, ...]
    """Why not; when promoted, what spoke for it."""
    overall: Interval | None = None
    """Paired gain in reward, candidate less incumbent; None when the reports cannot be paired."""
    per_class: dict[str, Interval] = {}


def decide(
    incumbent: EvaluationReport, candidate: EvaluationReport, *, settings: GateSettings | None = None
) -> GateReport:
    """Compares two reports on the same rows."""
    settings = settings or GateSettings()
    unfit = _unfit(incumbent, candidate, settings)
    if unfit:
        return GateReport(promote=False, reasons=tuple(unfit))
    gains = _gains(incumbent, candidate)
    overall = mean_interval(list(gains.values()), resamples=settings.resamples, seed=settings.seed)
    kinds = {row.id: row.truth for row in candidate.rows}
    per_class = {
        kind: mean_interval(
            [gain for row_id, gain in gains.items() if kinds[row_id] == kind],
            resamples=settings.resamples,
            seed=settings.seed,
        )
        for kind in sorted(set(kinds.values()))
    }
    reasons = _objections(overall, per_class, candidate, settings)
    promote = not reasons
    if promote:
        reasons = [f"reward rises by {overall.mean:.3f} (95 % interval {overall.low:.3f} to {overall.high:.3f})"]
    return GateReport(promote=promote, reasons=tuple(reasons), overall=overall, per_class=per_class)


def _unfit(incumbent: EvaluationReport, candidate: EvaluationReport, settings: GateSettings) -> list[str]:
    """Why the reports cannot be compared at all."""
    if not incumbent.rows or not candidate.rows:
        return ["nothing was measured"]
    old, new = _by_id(incumbent), _by_id(candidate)
    if len(old) != len(incumbent.rows) or len(new) != len(candidate.rows):
        return ["a report holds a row twice"]
    if old.keys() != new.keys():
        return [f"the reports differ in {len(old.keys() ^ new.keys())} rows"]
    if any(old[row_id].truth != new[row_id].truth for row_id in old):
        return ["the reports disagree about the right decision of a row"]
    if not all(math.isfinite(row.reward) for row in (*incumbent.rows, *candidate.rows)):
        return ["a reward is not finite"]
    if len(new) < settings.min_rows:
        return [f"{len(new)} rows were measured, {settings.min_rows} are needed"]
    missing = sorted(set(BASELINES) - set(candidate.baselines))
    if missing:
        return [f"no figures of the baseline {name}" for name in missing]
    if not all(math.isfinite(figures.get("reward", math.nan)) for figures in candidate.baselines.values()):
        return ["a baseline's reward is missing or not finite"]
    return []


def _objections(
    overall: Interval, per_class: dict[str, Interval], candidate: EvaluationReport, settings: GateSettings
) -> list[str]:
    reasons: list[str] = []
    if not overall.low > settings.min_gain:
        reasons.append(
            f"no gain beyond chance: {overall.mean:+.3f} (95 % interval {overall.low:+.3f} to {overall.high:+.3f}, "
            f"more than {settings.min_gain:+.3f} is needed)"
        )
    for kind, gain in per_class.items():
        if gain.high < 0:
            reasons.append(f"{kind} is worse: {gain.mean:+.3f} (95 % interval {gain.low:+.3f} to {gain.high:+.3f})")
        elif gain.mean < -settings.max_class_drop:
            reasons.append(f"{kind} falls by {-gain.mean:.3f}, more than {settings.max_class_drop:.3f} is not allowed")
    reward = sum(row.reward for row in candidate.rows) / len(candidate.rows)
    for name, figures in sorted(candidate.baselines.items()):
        if not reward > figures["reward"]:
            reasons.append(
                f"{name}, which ignores the request, earns {figures['reward']:.3f}; the candidate {reward:.3f}"
            )
    return reasons


def _gains(incumbent: EvaluationReport, candidate: EvaluationReport) -> dict[str, float]:
    """By row id, in an order that does not depend on the reports' own."""
    old, new = _by_id(incumbent), _by_id(candidate)
    return {row_id: new[row_id].reward - old[row_id].reward for row_id in sorted(new)}


def _by_id(report: EvaluationReport) -> dict[str, RowResult]:
    return {row.id: row for row in report.rows}
