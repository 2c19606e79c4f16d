"""Figures on a tool's cases, and decisions found by tool: on SQLite and on PostgreSQL."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from runtime.report.measurements import CaseResult, Measurement, Measurements
from runtime.traces.schema import VerdictOutcome
from runtime.traces.store import TraceStore
from runtime.verify.sweep import sweep
from tests.runtime.thread_builder import START, Thread, answer, execute, refuse, tool

WEATHER = tool("weather_now", ["city"], city={"type": "string"})


def measured(adapter: str | None = None, *, name: str = "weather_now", exact: int = 2, minute: int = 0) -> Measurement:
    kinds = ("execute", "clarify", "refuse")
    results = tuple(
        CaseResult(
            case=f"{name}/{kind}",
            said="weather",
            truth=kind,
            decided=kind if place < exact else "invalid",
            reward=1.0 if place < exact else -0.25,
            exact=place < exact,
        )
        for place, kind in enumerate(kinds)
    )
    return Measurement(
        tool=name,
        tool_sha256="a" * 64,
        cases="c" * 64,
        model="starter",
        adapter=adapter,
        results=results,
        measured_at=START + timedelta(minutes=minute),
    )


@pytest.fixture
def store(engine: sa.Engine) -> Measurements:
    return Measurements(engine)


def test_a_measurement_comes_back_as_it_was_kept(store: Measurements) -> None:
    store.keep(measured())
    assert store.latest("weather_now") == [measured()]
    assert store.latest("other") == []


def test_the_newest_of_each_policy_counts(store: Measurements) -> None:
    for each in (measured(exact=0), measured("hone-v1"), measured(exact=1, minute=1), measured(name="other")):
        store.keep(each)
    assert store.latest("weather_now") == [measured("hone-v1"), measured(exact=1, minute=1)]


def test_figures_follow_from_the_single_results() -> None:
    found = measured(exact=2)
    assert (found.reward, found.exact) == (pytest.approx(1.75 / 3), pytest.approx(2 / 3))
    assert found.exact_by_kind == {"execute": 1.0, "clarify": 1.0, "refuse": 0.0}
    assert found.confusion["refuse"] == {"execute": 0, "clarify": 0, "refuse": 0, "answer": 0, "invalid": 1}


def test_decisions_about_a_tool_are_found_by_what_was_decided_and_by_what_was_right(engine: sa.Engine) -> None:
    traces = TraceStore(engine)
    refused = (
        Thread(WEATHER, thread_id="refused").says("weather in Oslo").does(refuse()).says("the weather in Oslo please")
    )
    refused.does(execute(("weather_now", {"city": "Oslo"}))).does(answer())
    alike = Thread(tool("weatherXnow"), thread_id="alike").says("hi").does(execute(("weatherXnow", {}))).does(answer())
    for trace in (*refused.traces, *alike.traces):
        traces.record(trace)
    sweep(traces, now=START, window_s=600, final=True)
    found = traces.sightings("weather_now")
    assert [(s.trace_id, s.decision.kind.value, s.verdict) for s in found] == [
        ("refused-1", "execute", VerdictOutcome.VERIFIED),
        ("refused-0", "refuse", VerdictOutcome.REFUTED),
    ]
    assert [s.trace_id for s in traces.sightings("weather_now", limit=1)] == ["refused-1"]
    assert found[0].outcomes[0].call.arguments == {"city": "Oslo"}
