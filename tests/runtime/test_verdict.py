"""What the world proves about a decision: each kind of proof, and that nothing else counts."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.decision import Decision
from runtime.traces.schema import Trace, Verdict, VerdictOutcome
from runtime.verify.verdict import judge_thread
from tests.runtime.thread_builder import START, Thread, answer, clarify, execute, invalid, refuse, tool
from tools.spec import CallStatus

WEATHER = tool("weather", ["city"], city={"type": "string"})
TABLE = tool("table", ["place", "guests"], place={"type": "string"}, guests={"type": "integer"})
LATER = START + timedelta(days=1)


def judge(thread: Thread, *, final: bool = True, window_s: float = 600.0) -> list[Verdict]:
    return judge_thread(thread.traces, now=LATER, window_s=window_s, final=final)


def test_a_grounded_call_that_went_well_is_verified() -> None:
    first, _ = judge(
        Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    )
    assert first.outcome is VerdictOutcome.VERIFIED
    assert first.ground_truth is not None
    assert first.ground_truth["tool_calls"] == [{"name": "weather", "arguments": {"city": "Oslo"}}]


def test_a_value_from_nowhere_is_not_verified() -> None:
    first, _ = judge(Thread(WEATHER).says("weather please").does(execute(("weather", {"city": "Oslo"}))).does(answer()))
    assert first.outcome is VerdictOutcome.UNVERIFIED


def test_a_value_that_an_error_quoted_back_is_not_grounded() -> None:
    thread = Thread(WEATHER).says("weather please")
    failed = '{"error": "rejected", "message": "no city Oslo today"}'
    thread.does(execute(("weather", {"city": "Oslo"})), CallStatus.REJECTED, failed)
    thread.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert all(v.outcome is not VerdictOutcome.VERIFIED for v in judge(thread))


def test_a_failed_call_that_was_corrected_is_refuted_with_hindsight() -> None:
    thread = Thread(WEATHER).says("weather in Oslo, not Bergen")
    thread.does(execute(("weather", {"city": "Bergen"})), CallStatus.REJECTED)
    thread.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge(thread)[0]
    assert first.outcome is VerdictOutcome.REFUTED
    assert first.ground_truth is not None
    assert first.ground_truth["tool_calls"][0]["arguments"] == {"city": "Oslo"}


def test_a_question_that_the_user_answered_is_verified_by_what_followed() -> None:
    thread = Thread(TABLE).says("a table at Bellini").does(clarify(("table", "guests")))
    thread.says("4").does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    first = judge(thread)[0]
    assert first.outcome is VerdictOutcome.VERIFIED
    assert first.ground_truth == {"decision": "clarify", "missing": [{"tool": "table", "parameter": "guests"}]}


def test_a_question_about_what_was_said_is_refuted_with_the_call() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(clarify(("weather", "city")))
    thread.says("Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge(thread)[0]
    assert first.outcome is VerdictOutcome.REFUTED
    assert first.ground_truth is not None
    assert first.ground_truth["decision"] == "execute"


def test_a_refusal_of_what_could_be_served_is_refuted() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(refuse())
    thread.says("give me the weather for Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge(thread)[0]
    assert first.outcome is VerdictOutcome.REFUTED
    assert first.ground_truth is not None
    assert first.ground_truth["tool_calls"][0]["name"] == "weather"


def test_a_refusal_alone_proves_nothing() -> None:
    (only,) = judge(Thread(WEATHER).says("sing a song").does(refuse()))
    assert only.outcome is VerdictOutcome.UNVERIFIED


def test_an_unreadable_output_is_refuted_by_the_repair() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(invalid())
    thread.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert judge(thread)[0].outcome is VerdictOutcome.REFUTED


def test_a_success_waits_for_the_window_to_pass() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    early = judge_thread(thread.traces, now=START + timedelta(seconds=5), window_s=600.0)
    late = judge_thread(thread.traces, now=START + timedelta(seconds=700), window_s=600.0)
    assert early[0].outcome is VerdictOutcome.UNVERIFIED
    assert late[0].outcome is VerdictOutcome.VERIFIED


def test_an_objection_takes_a_success_back() -> None:
    thread = (
        Thread(WEATHER).says("weather in Oslo or Bergen").does(execute(("weather", {"city": "Bergen"}))).does(answer())
    )
    thread.says("No, I meant: weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert judge(thread)[0].outcome is not VerdictOutcome.VERIFIED


DECISIONS = st.sampled_from(
    [
        execute(("weather", {"city": "Oslo"})),
        execute(("table", {"place": "Bellini", "guests": 4})),
        clarify(("table", "guests")),
        refuse(),
        answer(),
        invalid(),
    ]
)
TURNS = st.lists(
    st.tuples(
        st.sampled_from(["weather in Oslo", "no, Bergen", "4", "a table at Bellini for 4", "thanks"]),
        st.lists(st.tuples(DECISIONS, st.sampled_from(list(CallStatus))), min_size=1, max_size=3),
    ),
    max_size=4,
)


@given(TURNS)
def test_any_thread_gets_one_verdict_a_span_and_proof_carries_a_truth(
    turns: list[tuple[str, list[tuple[Decision, CallStatus]]]],
) -> None:
    thread = Thread(WEATHER, TABLE)
    for text, decisions in turns:
        thread.says(text)
        for decision, status in decisions:
            thread.does(decision, status)
    traces: list[Trace] = thread.traces if turns else []
    verdicts = judge_thread(traces, now=LATER, window_s=600.0, final=True)
    assert [v.span_id for v in verdicts] == [s.id for t in traces for s in t.spans]
    for verdict in verdicts:
        assert (verdict.outcome is VerdictOutcome.UNVERIFIED) == (verdict.ground_truth is None)


@pytest.mark.parametrize("final", [True, False])
def test_an_empty_thread_has_no_verdicts(final: bool) -> None:
    assert judge_thread([], now=LATER, window_s=1.0, final=final) == []
