"""From judged spans to training rows: what is trained on, and why the rest is not.

Order of preference: refuted spans with a hindsight truth (the policy got them wrong), then verified ones. Pure and
deterministic by seed.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from learner.rows import GroundTruth, RewardModel, Row
from learner.settings import SelectionSettings
from runtime.traces.schema import Span, Trace, Verdict, VerdictOutcome

_PREFERENCE = {VerdictOutcome.REFUTED: 0, VerdictOutcome.VERIFIED: 1}


class SelectionReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    considered: int
    """Judged spans that were looked at."""
    selected: int
    by_class: dict[str, int]
    by_outcome: dict[str, int]
    left_out: dict[str, int]
    """Reason: number of spans."""
    reason: str | None = None
    """Why nothing was selected; None when something was."""


class Selection(BaseModel):
    model_config = ConfigDict(frozen=True)

    rows: tuple[Row, ...]
    report: SelectionReport


def select(
    judged: Iterable[tuple[Trace, Span, Verdict]],
    *,
    settings: SelectionSettings,
    never_train: frozenset[str] = frozenset(),
    seed: int = 0,
) -> Selection:
    """Chooses training rows.

    Args:
        never_train: names of the tools that serve evaluation only. A row that is about one of them is left out; from
            the others they are removed, so that not even their schemas are trained on.
    """
    left_out: Counter[str] = Counter()
    considered = 0
    candidates: list[Row] = []
    for trace, span, verdict in judged:
        considered += 1
        row = _row_of(trace, span, verdict, never_train)
        if isinstance(row, str):
            left_out[row] += 1
        else:
            candidates.append(row)
    rows = _without_doubles(candidates, left_out)
    rows = _in_order(rows, seed)
    rows = _within_caps(rows, settings, left_out)
    rows = _balanced(rows, settings, left_out)
    rows = _fitting(rows, settings.max_rows, left_out)
    reason = _why_empty(rows, considered, settings)
    if reason:
        left_out["batch refused as a whole"] += len(rows)
        rows = []
    return Selection(rows=tuple(rows), report=_report(rows, considered, left_out, reason))


def _row_of(trace: Trace, span: Span, verdict: Verdict, never_train: frozenset[str]) -> Row | str:
    """The row, or why there is none."""
    if verdict.outcome not in _PREFERENCE:
        return "unverified"
    if verdict.ground_truth is None:
        return "no ground truth"
    try:
        truth = GroundTruth.model_validate(verdict.ground_truth)
    except ValidationError:
        return "unreadable ground truth"
    about = {call.name for call in truth.tool_calls} | {missing["tool"] for missing in truth.missing}
    used = {call["function"]["name"] for message in span.messages for call in message.get("tool_calls") or ()}
    if (about | used) & never_train:
        return "never-train tool"
    tools = tuple(tool for tool in span.tools if tool["function"]["name"] not in never_train)
    if not about <= {tool["function"]["name"] for tool in tools}:
        return "ground truth names a tool that was not shown"
    return Row(
        data_source="traces",
        prompt=span.messages,
        tools=tools,
        reward_model=RewardModel(ground_truth=truth),
        extra_info={
            "id": span.id,
            "split": "train",
            "tool_ids": sorted(about),
            "trace_id": trace.id,
            "thread_id": trace.thread_id,
            "adapter": trace.adapter,
            "outcome": verdict.outcome.value,
            "reason": verdict.reason,
            "decided_at": verdict.decided_at.isoformat(),
        },
    )


def _without_doubles(rows: list[Row], left_out: Counter[str]) -> list[Row]:
    """One row per prompt: the same truth is kept once, of contradicting ones the one decided last."""
    newest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (r.extra_info["decided_at"], r.extra_info["id"]), reverse=True):
        key = _digest([row.prompt, row.tools])
        kept = newest.setdefault(key, row)
        if kept is not row:
            left_out["duplicate" if kept.truth == row.truth else "contradicted by a later verdict"] += 1
    return list(newest.values())


def _in_order(rows: list[Row], seed: int) -> list[Row]:
    """By preference, then shuffled by seed; the order in which the rows came does not matter."""

    def key(row: Row) -> tuple[int, str]:
        return _PREFERENCE[VerdictOutcome(row.extra_info["outcome"])], _digest([seed, row.extra_info["id"]])

    return sorted(rows, key=key)


def _within_caps(rows: Sequence[Row], settings: SelectionSettings, left_out: Counter[str]) -> list[Row]:
    kept: list[Row] = []
    threads: Counter[str] = Counter()
    tools: Counter[str] = Counter()
    for row in rows:
        thread, about = row.extra_info["thread_id"], row.extra_info["tool_ids"]
        if threads[thread] >= settings.max_per_thread:
            left_out["thread cap"] += 1
        elif any(tools[name] >= settings.max_per_tool for name in about):
            left_out["tool cap"] += 1
        else:
            threads[thread] += 1
            tools.update(about)
            kept.append(row)
    return kept


def _balanced(rows: Sequence[Row], settings: SelectionSettings, left_out: Counter[str]) -> list[Row]:
    """Cuts the big classes until none takes more than its share; the preferred rows stay."""
    classes: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        classes[row.truth.decision].append(row)
    if len(classes) > 1:
        allowed = _class_cap([len(members) for members in classes.values()], settings.max_class_share)
    else:
        allowed = len(rows)
    kept = {id(row) for members in classes.values() for row in members[:allowed]}
    left_out["class cap"] += len(rows) - len(kept)
    return [row for row in rows if id(row) in kept]


def _fitting(rows: Sequence[Row], most: int, left_out: Counter[str]) -> list[Row]:
    """Of more rows than the batch has room for the preferred ones of each class, in proportion."""
    if len(rows) <= most:
        return list(rows)
    sizes = Counter(row.truth.decision for row in rows)
    room = {kind: size * most // len(rows) for kind, size in sizes.items()}
    nearest = sorted(sizes, key=lambda kind: (room[kind] > 0, -(sizes[kind] * most % len(rows)), kind))
    for kind in nearest[: most - sum(room.values())]:
        room[kind] += 1
    kept: list[Row] = []
    for row in rows:
        if room[row.truth.decision] > 0:
            room[row.truth.decision] -= 1
            kept.append(row)
    left_out["batch is full"] += len(rows) - len(kept)
    return kept


def _class_cap(sizes: list[int], share: float) -> int:
    """The most rows per class such that none takes more than `share` of what is kept; at least the second largest
    class stays whole, since equal classes are balance enough."""
    largest, second = sorted(sizes, reverse=True)[:2]
    cap = largest
    while cap > second and cap > share * sum(min(size, cap) for size in sizes):
        cap -= 1
    return cap


def _why_empty(rows: Sequence[Row], considered: int, settings: SelectionSettings) -> str | None:
    if not considered:
        return "no judged traces yet: talk to the agent, then learn"
    if len(rows) < settings.min_rows:
        return f"{len(rows)} usable rows, {settings.min_rows} are needed"
    classes = sorted({row.truth.decision for row in rows})
    if len(classes) < settings.min_classes:
        return f"only {', '.join(classes)} rows; {settings.min_classes} decision classes are needed"
    return None


def _report(rows: Sequence[Row], considered: int, left_out: Counter[str], reason: str | None) -> SelectionReport:
    return SelectionReport(
        considered=considered,
        selected=len(rows),
        by_class=dict(sorted(Counter(row.truth.decision for row in rows).items())),
        by_outcome=dict(sorted(Counter(row.extra_info["outcome"] for row in rows).items())),
        left_out={why: n for why, n in sorted(left_out.items()) if n},
        reason=reason,
    )


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
