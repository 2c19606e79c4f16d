"""What results on single rows say together: shares with their intervals, a confusion matrix, baselines beside them. Pure.

Figures are given per decision class and never only as a mean.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from learner.baselines import BASELINES
from learner.bootstrap import Interval, mean_interval
from learner.near_misses import NearMiss, near_misses
from learner.reliability import Reliability, reliability_of
from learner.rewards import compare_calls, score
from learner.rows import Row
from learner.settings import EvaluationSettings
from runtime.decision import Decision, DecisionKind

CLASSES = ("execute", "clarify", "refuse", "answer")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class RowResult(_Frozen):
    id: str
    source: str = ""
    truth: str
    """Class of the right decision."""
    decided: str
    reward: float
    exact: bool
    tools_right: bool | None = None
    """Whether the right tools were called, each as often as wanted; None where the label does not say execute."""
    arguments_right: float | None = None
    """Share of right arguments; None where the tools are not right."""
    reasons: tuple[str, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    truncated: bool = False
    """The output was cut at `max_tokens`."""
    text: str = ""
    """What the policy wrote; empty for baselines."""
    confidence: float | None = None
    """How sure it was of that (`runtime.decision.confidence`); None: it does not tell."""


class Figures(_Frozen):
    """Over one class or all rows."""

    n: int
    reward: Interval
    exact: Interval
    decision_accuracy: Interval
    """Share of rows where the kind of decision is right, whatever its details."""
    tool_accuracy: Interval | None
    """Of rows whose label says execute: share where the right tools were called. None: there are no such rows."""
    argument_accuracy: Interval | None
    """Of rows where the right tools were called: mean share of right arguments. None: there are no such rows."""
    invalid_rate: float


class Group(_Frozen):
    """The rows of one source, or all."""

    overall: Figures | None
    """None when no row could be measured."""
    per_class: dict[str, Figures]
    """Classes that occur among the rows."""
    macro_f1: float
    """Mean F1 of the kinds of decision that occur among the rows."""
    macro_f1_interval: Interval | None = None
    confusion: dict[str, dict[str, int]]
    """Right kind -> decided kind -> rows; decided kinds include answer and invalid."""
    reliability: Reliability | None = None
    """Whether confidence can be trusted; None: the policy does not tell it."""
    call_reliability: Reliability | None = None
    """The same over rows of which the policy made calls; None: there are none."""
    baselines: dict[str, dict[str, float]]
    """Name of a policy that ignores the request -> {"reward", "exact", "decision_accuracy", "macro_f1"} on the same rows."""


def result_of(
    row: Row, decision: Decision, text: str = "", *, truncated: bool = False, confidence: float | None = None
) -> RowResult:
    scored = score(decision, row.truth, row.tools)
    calls = compare_calls(decision, row.truth, row.tools) if row.truth.decision == "execute" else None
    return RowResult(
        id=str(row.extra_info.get("id", "")),
        source=row.data_source,
        truth=row.truth.decision,
        decided=decision.kind.value,
        reward=scored.reward,
        exact=scored.exact,
        tools_right=calls.tools_right if calls else None,
        arguments_right=calls.arguments_right if calls and calls.tools_right else None,
        reasons=scored.reasons,
        near_misses=near_misses(calls.wrong, row.tools) if calls and not scored.exact else (),
        truncated=truncated,
        text=text,
        confidence=confidence,
    )


def group_of(results: Sequence[RowResult], rows: Sequence[Row], settings: EvaluationSettings) -> Group:
    """Args: rows: those of the results, for the baselines."""
    per_class = {kind: [r for r in results if r.truth == kind] for kind in CLASSES}
    confusion = confusion_of(results)
    return Group(
        overall=figures_of(results, settings) if results else None,
        per_class={kind: figures_of(members, settings) for kind, members in per_class.items() if members},
        macro_f1=macro_f1(confusion),
        macro_f1_interval=(
            macro_f1_interval(confusion, resamples=settings.resamples, seed=settings.seed) if results else None
        ),
        confusion=confusion,
        reliability=reliability_of(results),
        call_reliability=reliability_of([r for r in results if r.decided == DecisionKind.EXECUTE.value]),
        baselines=baselines_of(rows),
    )


def by_source(results: Sequence[RowResult], rows: Sequence[Row]) -> dict[str, tuple[list[RowResult], list[Row]]]:
    """Results and rows of each source; sources with the same first part ("bfcl/simple", "bfcl/multiple") also together."""
    parts = Counter(name.split("/")[0] for name in {row.data_source for row in rows})
    found: dict[str, tuple[list[RowResult], list[Row]]] = {}
    for result, row in zip(results, rows, strict=True):
        first = row.data_source.split("/")[0]
        names = [row.data_source] if parts[first] == 1 else dict.fromkeys((first, row.data_source))
        for name in names:
            members = found.setdefault(name, ([], []))
            members[0].append(result)
            members[1].append(row)
    return dict(sorted(found.items()))


TURNS = {"1 turn": 1, "2 turns": 2, "3 to 4 turns": 4, "5 and more": sys.maxsize}
"""Name → the most messages of the user that its rows have."""


def by_turns(results: Sequence[RowResult], rows: Sequence[Row]) -> dict[str, list[RowResult]]:
    """Results by how many messages of the user lead to the decision: what holds for one need not hold for ten."""
    found: dict[str, list[RowResult]] = {name: [] for name in TURNS}
    for result, row in zip(results, rows, strict=True):
        turns = sum(message["role"] == "user" for message in row.prompt)
        found[next(name for name, most in TURNS.items() if turns <= most)].append(result)
    return {name: members for name, members in found.items() if members}


def figures_of(results: Sequence[RowResult], settings: EvaluationSettings) -> Figures:
    n = len(results)

    def interval(values: Sequence[float]) -> Interval | None:
        return mean_interval(values, resamples=settings.resamples, seed=settings.seed) if values else None

    def share(of: Callable[[RowResult], float]) -> Interval:
        return mean_interval([of(r) for r in results], resamples=settings.resamples, seed=settings.seed)

    return Figures(
        n=n,
        reward=share(lambda r: r.reward),
        exact=share(lambda r: float(r.exact)),
        decision_accuracy=share(lambda r: float(r.decided == r.truth)),
        tool_accuracy=interval([float(r.tools_right) for r in results if r.tools_right is not None]),
        argument_accuracy=interval([r.arguments_right for r in results if r.arguments_right is not None]),
        invalid_rate=sum(r.decided == DecisionKind.INVALID.value for r in results) / n,
    )


def confusion_of(results: Sequence[RowResult]) -> dict[str, dict[str, int]]:
    counts = Counter((r.truth, r.decided) for r in results)
    decided = [kind.value for kind in DecisionKind]
    present = [kind for kind in CLASSES if any(r.truth == kind for r in results)]
    return {truth: {kind: counts[truth, kind] for kind in decided} for truth in present}


def macro_f1(confusion: Mapping[str, Mapping[str, int]]) -> float:
    """Mean over the right kinds that occur; 0 when there are none."""
    scores: list[float] = []
    for kind, decided in confusion.items():
        hits = decided[kind]
        total = sum(decided.values()) + sum(other[kind] for other in confusion.values())
        scores.append(2 * hits / total if total else 0.0)
    return sum(scores) / len(scores) if scores else 0.0


def macro_f1_interval(confusion: Mapping[str, Mapping[str, int]], *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap of `macro_f1`. Rows drawn with replacement make cells that are drawn from a multinomial distribution, so
    no row is looked at. Args: confusion: of at least one row.
    """
    kinds = [kind.value for kind in DecisionKind]
    cells_KK = np.array([[confusion.get(truth, {}).get(kind, 0) for kind in kinds] for truth in kinds])
    n = int(cells_KK.sum())
    draws_RKK = (
        np.random.default_rng(seed).multinomial(n, cells_KK.ravel() / n, size=resamples).reshape(-1, *cells_KK.shape)
    )
    truths_RK, hits_RK = draws_RKK.sum(axis=2), draws_RKK.diagonal(axis1=1, axis2=2)
    totals_RK = np.maximum(truths_RK + draws_RKK.sum(axis=1), 1)
    occur_RK = truths_RK > 0
    found_R = np.where(occur_RK, 2 * hits_RK / totals_RK, 0.0).sum(axis=1) / occur_RK.sum(axis=1)
    low, high = np.percentile(found_R, [2.5, 97.5])
    return Interval(mean=macro_f1(confusion), low=float(low), high=float(high), n=n)


def baselines_of(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    if not rows:
        return {}
    figures: dict[str, dict[str, float]] = {}
    for name, decide in BASELINES.items():
        decisions = [decide(row) for row in rows]
        scored = [score(decision, row.truth, row.tools) for decision, row in zip(decisions, rows, strict=True)]
        results = [
            RowResult(id="", truth=row.truth.decision, decided=d.kind.value, reward=s.reward, exact=s.exact)
            for row, d, s in zip(rows, decisions, scored, strict=True)
        ]
        figures[name] = {
            "reward": sum(r.reward for r in results) / len(results),
            "exact": sum(r.exact for r in results) / len(results),
            "decision_accuracy": sum(r.decided == r.truth for r in results) / len(results),
            "macro_f1": macro_f1(confusion_of(results)),
        }
    return figures
