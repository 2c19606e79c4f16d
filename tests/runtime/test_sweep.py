"""Judging the whole store."""

from datetime import timedelta

import sqlalchemy as sa

from runtime.decision import RefusalCategory
from runtime.traces.schema import VerdictOutcome
from runtime.traces.store import TraceStore
from runtime.verify.rules import OPERATOR_RULE, RefuseRule
from runtime.verify.sweep import sweep
from tests.runtime.thread_builder import START, Thread, answer, execute, refuse, tool

WEATHER = tool("weather", ["city"], city={"type": "string"})


def test_a_sweep_judges_each_thread_once_and_again_when_time_has_passed(engine: sa.Engine) -> None:
    store = TraceStore(engine)
    asked = Thread(WEATHER, thread_id="a").says("weather in Oslo").does(execute(("weather", {"city": "Oslo"})))
    refused = Thread(WEATHER, thread_id="b").says("sing a song").does(refuse()).does(answer())
    for trace in (*asked.traces, *refused.traces):
        store.record(trace)

    early = sweep(store, now=START + timedelta(seconds=1), window_s=60.0)
    assert (early.threads, early.spans, early.changed) == (2, 3, 3)
    assert early.outcomes == {VerdictOutcome.UNVERIFIED: 3}
    assert early.reasons == {"pending": 2, "not_judged": 1}

    again = sweep(store, now=START + timedelta(seconds=2), window_s=60.0)
    assert (again.spans, again.changed) == (3, 0)

    late = sweep(store, now=START + timedelta(seconds=61), window_s=60.0)
    assert (late.changed, late.outcomes[VerdictOutcome.VERIFIED]) == (2, 1)
    ((trace, _, verdict),) = store.judged_spans()
    assert (trace.thread_id, verdict.reason) == ("a", "succeeded")
    assert verdict.decided_at == START + timedelta(seconds=61)


def test_a_final_sweep_leaves_nothing_pending(engine: sa.Engine) -> None:
    store = TraceStore(engine)
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"})))
    store.record(thread.traces[0])
    report = sweep(store, now=START, window_s=60.0, final=True)
    assert report.reasons == {"succeeded": 1}


def test_an_operators_rule_overrules_what_happened(engine: sa.Engine) -> None:
    store = TraceStore(engine)
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"})))
    store.record(thread.traces[0])
    rule = RefuseRule(pattern="oslo", category=RefusalCategory.UNSAFE)
    report = sweep(store, now=START, window_s=60.0, final=True, rules=[rule])
    assert (report.outcomes, report.reasons) == ({VerdictOutcome.REFUTED: 1}, {OPERATOR_RULE: 1})


def test_an_empty_store_is_swept_without_a_word(engine: sa.Engine) -> None:
    report = sweep(TraceStore(engine), now=START, window_s=60.0)
    assert (report.threads, report.spans, report.changed) == (0, 0, 0)
