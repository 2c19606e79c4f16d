"""Judges every thread of the store and keeps what changed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runtime.traces.schema import Verdict, VerdictOutcome
from runtime.traces.store import TraceStore
from runtime.verify.rules import RefuseRule, judge_by_rules
from runtime.verify.verdict import judge_thread


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep saw."""

    threads: int
    spans: int
    changed: int
    """Spans whose verdict is new or other than before."""
    outcomes: dict[VerdictOutcome, int]
    """Spans by verdict."""
    reasons: dict[str, int]
    """Spans by reason."""


def sweep(
    store: TraceStore, *, now: datetime, window_s: float, final: bool = False, rules: Sequence[RefuseRule] = ()
) -> SweepReport:
    """Judges all threads; running it twice changes nothing the second time.

    Arguments as in `judge_thread`; where one of the operator's rules speaks, it overrules.
    """
    outcomes: Counter[VerdictOutcome] = Counter()
    reasons: Counter[str] = Counter()
    changed = 0
    thread_ids = store.thread_ids()
    for thread_id in thread_ids:
        traces = store.thread(thread_id)
        ruled = judge_by_rules(traces, rules, now=now)
        proven = judge_thread(traces, now=now, window_s=window_s, final=final)
        judged = [ruled.get(verdict.span_id, verdict) for verdict in proven]
        known = store.thread_verdicts(thread_id)
        fresh = [verdict for verdict in judged if not _says_the_same(verdict, known.get(verdict.span_id))]
        store.record_verdicts(fresh)
        changed += len(fresh)
        outcomes.update(verdict.outcome for verdict in judged)
        reasons.update(verdict.reason for verdict in judged)
    return SweepReport(len(thread_ids), outcomes.total(), changed, dict(outcomes), dict(reasons))


def _says_the_same(verdict: Verdict, known: Verdict | None) -> bool:
    return known is not None and verdict == known.model_copy(update={"decided_at": verdict.decided_at})
