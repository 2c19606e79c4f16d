"""Measuring a policy: the same rows, greedy decoding, the reward of training.

Figures are given per decision class and never only as a mean, beside policies that ignore the request (`BASELINES`), so
that a number can be read for what it is. Results are kept per row, so that two reports can be paired.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from learner.bootstrap import Interval, mean_interval
from learner.errors import BadRows
from learner.rewards import Score, read_decision, score
from learner.rows import Row
from learner.settings import EvaluationSettings
from runtime.decision import (
    Answer,
    Clarify,
    Decision,
    DecisionKind,
    Execute,
    MissingParameter,
    Refuse,
    ToolCall,
)
from runtime.errors import PromptTooLong
from runtime.policy.base import Policy, SamplingParams
from runtime.prompt import Renderer

CLASSES = ("execute", "clarify", "refuse", "answer")

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class RowResult(_Frozen):
    id: str
    truth: str
    """Class of the right decision."""
    decided: str
    reward: float
    exact: bool
    reasons: tuple[str, ...] = ()
    text: str = ""
    """What the policy wrote; empty for baselines."""


class Figures(_Frozen):
    """Over one class or all rows."""

    n: int
    reward: Interval
    exact: Interval
    decision_accuracy: float
    """Share of rows where the kind of decision is right, whatever its details."""
    invalid_rate: float


class EvaluationReport(_Frozen):
    model: str
    adapter: str | None
    overall: Figures | None
    """None when no row could be measured."""
    per_class: dict[str, Figures]
    """Classes that occur among the rows."""
    macro_f1: float
    """Mean F1 of the kinds of decision that occur among the rows."""
    confusion: dict[str, dict[str, int]]
    """Right kind -> decided kind -> rows; decided kinds include answer and invalid."""
    baselines: dict[str, dict[str, float]]
    """Name of a policy that ignores the request -> {"reward", "exact", "macro_f1"} on the same rows."""
    too_long: tuple[str, ...]
    """Ids of rows whose prompt leaves no room; they are not measured."""
    truncated: int
    """Completions that were cut at `max_tokens`."""
    seconds: float
    rows: tuple[RowResult, ...]


async def evaluate(
    policy: Policy,
    renderer: Renderer,
    rows: Sequence[Row],
    *,
    adapter: str | None = None,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Runs every row once at temperature 0.

    Raises:
        BadRows: two rows share an id.
        PolicyUnavailable, UnknownAdapter: from the policy.
    """
    settings = settings or EvaluationSettings()
    ids = row_ids(rows)
    slots = asyncio.Semaphore(settings.concurrency)
    done = 0

    async def measure(row: Row, row_id: str) -> tuple[RowResult, bool] | None:
        nonlocal done
        async with slots:
            try:
                prompt = renderer.render(row.prompt, row.tools)
                grammar = renderer.grammar(row.tools)
                params = SamplingParams(max_tokens=settings.max_tokens, temperature=0.0, grammar=grammar)
                completion = await policy.sample(prompt.token_ids, params, adapter=adapter)
            except PromptTooLong:
                return None
            finally:
                done += 1
                if progress:
                    progress(done, len(rows))
        decision = read_decision(completion.text, row)
        result = _result(row, row_id, decision, score(decision, row.truth, row.tools), completion.text)
        return result, completion.finish_reason == "length"

    started = asyncio.get_running_loop().time()
    running = [asyncio.create_task(measure(row, row_id)) for row, row_id in zip(rows, ids, strict=True)]
    try:
        measured = await asyncio.gather(*running)
    finally:
        for task in running:  # after a failure the others would go on for nothing
            task.cancel()
    seconds = asyncio.get_running_loop().time() - started
    kept = [(row, outcome) for row, outcome in zip(rows, measured, strict=True) if outcome is not None]
    return _report(
        [result for _, (result, _) in kept],
        baselines=_baselines([row for row, _ in kept]),
        settings=settings,
        model=policy.model,
        adapter=adapter,
        too_long=tuple(row_id for row_id, outcome in zip(ids, measured, strict=True) if outcome is None),
        truncated=sum(cut for _, (_, cut) in kept),
        seconds=seconds,
    )


def row_ids(rows: Sequence[Row]) -> list[str]:
    """Each row's id, or its place where it has none. Raises: BadRows: two rows share an id."""
    ids = [str(row.extra_info.get("id", f"row-{place}")) for place, row in enumerate(rows)]
    double = [row_id for row_id, n in Counter(ids).items() if n > 1]
    if double:
        raise BadRows(f"rows share the id {double[0]!r}: give each row its own extra_info.id")
    return ids


def _result(row: Row, row_id: str, decision: Decision, scored: Score, text: str = "") -> RowResult:
    return RowResult(
        id=row_id,
        truth=row.truth.decision,
        decided=decision.kind.value,
        reward=scored.reward,
        exact=scored.exact,
        reasons=scored.reasons,
        text=text,
    )


def _report(results: Sequence[RowResult], *, settings: EvaluationSettings, **rest: Any) -> EvaluationReport:
    per_class = {kind: [r for r in results if r.truth == kind] for kind in CLASSES}
    confusion = confusion_of(results)
    return EvaluationReport(
        overall=_figures(results, settings) if results else None,
        per_class={kind: _figures(members, settings) for kind, members in per_class.items() if members},
        macro_f1=macro_f1(confusion),
        confusion=confusion,
        rows=tuple(results),
        **rest,
    )


def _figures(results: Sequence[RowResult], settings: EvaluationSettings) -> Figures:
    n = len(results)
    bootstrap = {"resamples": settings.resamples, "seed": settings.seed}
    return Figures(
        n=n,
        reward=mean_interval([r.reward for r in results], **bootstrap),
        exact=mean_interval([float(r.exact) for r in results], **bootstrap),
        decision_accuracy=sum(r.decided == r.truth for r in results) / n,
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


def _always_clarify(row: Row) -> Decision:
    """Asks for all that the first tool requires: the best guess that needs no reading."""
    function = row.tools[0]["function"] if row.tools else {"name": "", "parameters": {}}
    required = function.get("parameters", {}).get("required", ())
    missing = tuple(MissingParameter(tool=function["name"], parameter=name) for name in required)
    return Clarify(question="Could you tell me more?", missing=missing)


def _always_refuse(row: Row) -> Decision:
    return Refuse(reason="I cannot do that.")


def _never_call(row: Row) -> Decision:
    return Answer(text="Done.")


def _call_first(row: Row) -> Decision:
    return _calls(row, 1)


def _call_all(row: Row) -> Decision:
    return _calls(row, len(row.tools))


def _calls(row: Row, n: int) -> Decision:
    calls = tuple(ToolCall(name=tool["function"]["name"]) for tool in row.tools[:n])
    return Execute(calls=calls) if calls else Answer(text="Done.")


BASELINES: Mapping[str, Callable[[Row], Decision]] = {
    "always_clarify": _always_clarify,
    "always_refuse": _always_refuse,
    "never_call": _never_call,
    "call_first": _call_first,
    "call_all": _call_all,
}
"""Policies that ignore the request; a policy that does not beat them has learnt nothing."""


def _baselines(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    if not rows:
        return {}
    figures: dict[str, dict[str, float]] = {}
    for name, decide in BASELINES.items():
        decisions = [decide(row) for row in rows]
        scored = [score(decision, row.truth, row.tools) for decision, row in zip(decisions, rows, strict=True)]
        results = [_result(r, "", d, s) for r, d, s in zip(rows, decisions, scored, strict=True)]
        figures[name] = {
            "reward": sum(r.reward for r in results) / len(results),
            "exact": sum(r.exact for r in results) / len(results),
            "macro_f1": macro_f1(confusion_of(results)),
        }
    return figures
