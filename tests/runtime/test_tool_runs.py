"""What a report says of recorded turns: calls, the confusion of judged decisions, failing arguments without their values."""

from collections.abc import Sequence

from runtime.report.readiness import FORMULA, readiness
from runtime.report.tool_runs import ArgumentFault, Sighting, ToolRuns, runs_of
from runtime.traces.schema import Trace, VerdictOutcome
from runtime.verify.verdict import judge_thread
from tests.runtime.thread_builder import START, Thread, answer, clarify, execute, invalid, refuse, tool
from tools.spec import CallStatus

WEATHER = tool("weather", ["city"], city={"type": "string"}, days={"type": "integer"})
OTHER = tool("timer", ["minutes"], minutes={"type": "integer"})


def sightings(traces: Sequence[Trace]) -> list[Sighting]:
    """Each span with the verdict that the judge gives it once nobody will say more."""
    verdicts = {v.span_id: v for v in judge_thread(traces, now=START, window_s=600, final=True)}
    return [
        Sighting(
            trace_id=trace.id,
            adapter=trace.adapter,
            created_at=trace.created_at,
            decision=span.decision,
            violations=span.violations,
            outcomes=span.outcomes,
            verdict=verdicts[span.id].outcome,
            reason=verdicts[span.id].reason,
            ground_truth=verdicts[span.id].ground_truth,
        )
        for trace in reversed(traces)
        for span in trace.spans
    ]


def runs(*threads: Thread) -> ToolRuns:
    return runs_of("weather", [found for thread in threads for found in sightings(thread.traces)])


def thread(thread_id: str = "thread") -> Thread:
    return Thread(WEATHER, OTHER, thread_id=thread_id)


def faults(found: ToolRuns) -> list[tuple[str, str, int]]:
    return [(fault.argument, fault.reason, fault.count) for fault in found.failing_arguments]


def test_a_tool_that_nobody_called_has_an_empty_report() -> None:
    found = runs(thread().says("hello").does(answer()))
    assert (found.decisions, found.calls, found.judged, found.failing_arguments) == (0, 0, 0, ())


def test_right_calls_and_right_questions_stand_on_the_diagonal() -> None:
    called = thread("a").says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    asked = thread("b").says("how is the weather").does(clarify(("weather", "city"))).says("Oslo")
    asked.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    found = runs(called, asked)
    assert found.confusion["execute"] == {"execute": 2, "clarify": 0, "refuse": 0}
    assert found.confusion["clarify"] == {"execute": 0, "clarify": 1, "refuse": 0}
    assert (found.verified, found.refuted, found.outcomes) == (3, 0, {"ok": 2})
    assert found.by_adapter == {"hone-v1-00000000": {"verified": 3, "refuted": 0}}
    assert found.example_traces["verified"] == ("a-0", "b-1", "b-0")


def test_a_refusal_that_should_have_been_a_call_counts_though_it_names_no_tool() -> None:
    found = runs(
        thread()
        .says("weather in Oslo")
        .does(refuse())
        .says("please, the weather in Oslo")
        .does(execute(("weather", {"city": "Oslo"})))
        .does(answer())
    )
    assert found.confusion["execute"] == {"execute": 1, "clarify": 0, "refuse": 1}
    assert found.example_traces["refuted"] == ("thread-0",)


def test_an_unreadable_decision_is_counted_beside_the_confusion() -> None:
    found = runs(
        thread().says("weather in Oslo").does(invalid()).does(execute(("weather", {"city": "Oslo"}))).does(answer())
    )
    assert (found.unreadable, found.refuted, found.verified) == (1, 1, 1)


def test_calls_are_counted_by_what_came_of_them() -> None:
    both = (
        thread()
        .says("weather in Oslo, timer 5")
        .does(execute(("weather", {"city": "Oslo"}), ("timer", {"minutes": 5})), [CallStatus.TIMEOUT, CallStatus.OK])
    )
    found = runs(both.does(answer()))
    assert (found.calls, found.outcomes) == (1, {"timeout": 1})
    assert found.example_traces["failed_call"] == ("thread-0",)


def test_arguments_that_break_the_schema_are_named_with_reasons_and_no_values() -> None:
    broken = (
        "weather: city: required, but missing",
        'weather: days: "secret" is not of type integer',
        "weather: place, when: no such parameter; there are: city, days",
        'weather: unit: "secret" is not one of celsius, fahrenheit',
        "weather: {} does not have enough properties",
        "timer: minutes: required, but missing",
    )
    found = runs(
        thread()
        .says("weather in Oslo")
        .does(execute(("weather", {"days": "secret"})), CallStatus.BAD_ARGUMENTS, violations=broken)
    )
    assert faults(found) == [
        ("city", "left out", 1),
        ("days", "not of type integer", 1),
        ("place", "no such parameter", 1),
        ("unit", "not one of the options", 1),
        ("when", "no such parameter", 1),
    ]
    assert "secret" not in found.model_dump_json()


def test_hindsight_names_the_argument_that_was_wrong_and_the_one_that_was_guessed() -> None:
    wrong = thread("a").says("weather in Oslo for 3 days")
    wrong.does(execute(("weather", {"city": "Osl"})), CallStatus.REJECTED).does(
        execute(("weather", {"city": "Oslo", "days": 3}))
    ).does(answer())
    needless = thread("b").says("weather in Oslo").does(clarify(("weather", "city"))).says("Oslo, as I said")
    needless.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    found = faults(runs(wrong, needless))
    assert ("city", "wrong value", 1) in found
    assert ("days", "left out", 1) in found
    assert ("city", "asked for, though it was given", 1) in found


def test_another_tools_name_as_a_value_is_no_sighting() -> None:
    found = runs(thread().says("timer weather").does(execute(("timer", {"minutes": "weather"}))).does(answer()))
    assert found.decisions == 0


def test_the_most_frequent_fault_stands_first() -> None:
    bad = [
        Sighting(
            trace_id=f"t{n}", adapter=None, created_at=START, decision=execute(("weather", {})), violations=(text,)
        )
        for n, text in enumerate(
            [
                "weather: days: 3 is too long",
                "weather: city: required, but missing",
                "weather: city: required, but missing",
            ]
        )
    ]
    assert runs_of("weather", bad).failing_arguments == (
        ArgumentFault(argument="city", reason="left out", count=2),
        ArgumentFault(argument="days", reason="out of range", count=1),
    )
    assert runs_of("weather", bad).outcomes == {"not_run": 3}
    assert all(sighting.verdict is not VerdictOutcome.VERIFIED for sighting in bad)


# readiness


def test_an_unmeasured_tool_is_hardly_ready_and_a_proven_one_wholly() -> None:
    assert readiness(exact_by_kind=None, verified=0, judged=0, findings=0).score == round(100 * 10 / 70, 1)
    perfect = {"execute": 1.0, "clarify": 1.0, "refuse": 1.0}
    assert readiness(exact_by_kind=perfect, verified=40, judged=40, findings=0).score == 100.0
    assert readiness(exact_by_kind=perfect, verified=0, judged=0, findings=0).score == 100.0


def test_traffic_weighs_the_more_the_more_of_it_was_judged() -> None:
    perfect = {"execute": 1.0}
    few = readiness(exact_by_kind=perfect, verified=0, judged=3, findings=0).score
    many = readiness(exact_by_kind=perfect, verified=0, judged=30, findings=0).score
    assert (few, many) == (round(100 * 70 / 73, 1), 70.0)


def test_a_policy_that_always_does_the_same_scores_a_third_of_the_cases() -> None:
    always = readiness(exact_by_kind={"execute": 1.0, "clarify": 0.0, "refuse": 0.0}, verified=0, judged=0, findings=20)
    assert (always.cases, always.definition, always.score) == (1 / 3, 0.0, round(100 * 20 / 70, 1))
    assert always.formula == FORMULA
