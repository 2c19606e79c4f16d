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


HOME = tool("home")
NEWS = tool("news", ["city"], city={"type": "string"})


def called(name: str, **arguments: object) -> dict[str, object]:
    return {"decision": "execute", "tool_calls": [{"name": name, "arguments": arguments}]}


def missing(*values: tuple[str, str]) -> dict[str, object]:
    return {"decision": "clarify", "missing": [{"tool": t, "parameter": p} for t, p in values]}


def reasons(thread: Thread) -> list[str]:
    return [verdict.reason for verdict in judge(thread)]


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


def test_a_failure_that_is_the_tools_own_proves_nothing() -> None:
    for status in (CallStatus.FAILED, CallStatus.TIMEOUT, CallStatus.UNKNOWN_TOOL):
        thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"})), status)
        assert reasons(thread.does(answer())) == ["tool_failed", "not_judged"]


def test_a_failure_without_a_later_success_proves_nothing() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"})), CallStatus.REJECTED)
    assert reasons(thread.does(answer())) == ["call_failed", "not_judged"]


def test_the_same_call_that_went_well_later_was_not_wrong() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"})), CallStatus.REJECTED)
    thread.does(execute(("weather", {"city": "Oslo"})))
    assert reasons(thread) == ["retry_succeeded", "succeeded"]


def test_a_schema_violation_counts_as_a_failure_whatever_came_of_the_call() -> None:
    thread = Thread(TABLE).says("a table at Bellini for two")
    wrong = execute(("table", {"place": "Bellini", "guests": "two"}))
    thread.does(wrong, CallStatus.BAD_ARGUMENTS, violations=["guests: 'two' is not of type 'integer'"])
    thread.does(execute(("table", {"place": "Bellini", "guests": 2})))
    first = judge(thread)[0]
    assert (first.outcome, first.reason) == (VerdictOutcome.REFUTED, "corrected_call")
    assert first.ground_truth == called("table", place="Bellini", guests=2)
    assert first.evidence == ("thread-0-1",)


def test_a_guess_that_failed_should_have_been_a_question() -> None:
    thread = Thread(TABLE).says("a table at Bellini")
    thread.does(execute(("table", {"place": "Bellini", "guests": 40})), CallStatus.REJECTED).does(answer("Too many."))
    thread.says("for 4 then").does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    first = judge(thread)[0]
    assert (first.outcome, first.reason) == (VerdictOutcome.REFUTED, "guessed")
    assert first.ground_truth == missing(("table", "guests"))


def test_a_call_that_left_out_what_only_the_user_knew_should_have_been_a_question() -> None:
    thread = Thread(TABLE).says("a table please")
    thread.does(execute(("table", {})), CallStatus.BAD_ARGUMENTS, violations=["'place' is a required property"])
    thread.does(clarify(("table", "place"), ("table", "guests")))
    thread.says("Bellini, four of us").does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    first, second = judge(thread)[:2]
    assert first.ground_truth == second.ground_truth == missing(("table", "place"), ("table", "guests"))
    assert (first.outcome, second.outcome) == (VerdictOutcome.REFUTED, VerdictOutcome.VERIFIED)


def test_a_wrong_value_of_the_users_own_is_not_held_against_the_call() -> None:
    thread = Thread(WEATHER).says("weather in Atlantis")
    thread.does(execute(("weather", {"city": "Atlantis"})), CallStatus.REJECTED).does(answer("No such city."))
    thread.says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(thread)[0] == "truth_not_known_then"


def test_a_value_that_only_the_error_told_is_no_truth() -> None:
    thread = Thread(WEATHER).says("weather up north")
    failed = '{"error": "rejected", "message": "the cities are: Oslo"}'
    thread.does(execute(("weather", {"city": "North"})), CallStatus.REJECTED, failed)
    thread.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(thread)[:2] == ["truth_not_known_then", "ungrounded"]


def test_of_several_calls_only_the_wrong_one_is_replaced() -> None:
    thread = Thread(WEATHER).says("weather in Oslo and Bergen")
    both = execute(("weather", {"city": "Oslo"}), ("weather", {"city": "Brgn"}))
    thread.does(both, [CallStatus.OK, CallStatus.REJECTED]).does(execute(("weather", {"city": "Bergen"})))
    first = judge(thread)[0]
    assert first.outcome is VerdictOutcome.REFUTED
    assert first.ground_truth is not None
    assert [c["arguments"]["city"] for c in first.ground_truth["tool_calls"]] == ["Oslo", "Bergen"]


def test_a_correction_that_the_user_then_rejects_is_no_truth() -> None:
    thread = Thread(WEATHER).says("weather in Oslo or Bergen")
    thread.does(execute(("weather", {"city": "Oslo, Bergen"})), CallStatus.REJECTED)
    thread.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    thread.says("no, that's wrong").does(answer("Sorry."))
    assert reasons(thread)[:2] == ["call_failed", "user_objected"]


def test_a_value_that_a_tool_returned_is_grounded() -> None:
    thread = Thread(WEATHER, HOME).says("weather at home").does(execute(("home", {})), result='{"city": "Oslo"}')
    thread.does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(thread) == ["succeeded", "succeeded", "not_judged"]


def test_the_same_call_again_in_a_turn_earns_nothing() -> None:
    thread = Thread(WEATHER).says("weather in Oslo")
    thread.does(execute(("weather", {"city": "Oslo"}))).does(execute(("weather", {"city": "Oslo"})))
    assert reasons(thread) == ["succeeded", "redundant"]
    twice = Thread(WEATHER).says("weather in Oslo")
    twice.does(execute(("weather", {"city": "Oslo"}), ("weather", {"city": "Oslo"})))
    assert reasons(twice) == ["redundant"]


def test_a_default_in_the_truth_may_be_left_out() -> None:
    units = tool("units", ["x"], x={"type": "integer"}, system={"type": "string", "default": "metric"}, y={})
    thread = Thread(units).says("units of 3").does(execute(("units", {"x": 3, "system": "metric"})))
    (only,) = judge(thread)
    assert only.ground_truth == called("units", x=3, system={"any_of": ["metric"], "optional": True})


def test_an_argument_that_looks_like_the_notation_of_truths_is_told_apart() -> None:
    thread = Thread(tool("units", x={"type": "object"})).says("units of 3")
    (only,) = judge(thread.does(execute(("units", {"x": {"any_of": 3}}))))
    assert only.ground_truth == called("units", x={"any_of": [{"any_of": 3}]})


def test_a_call_that_the_client_runs_is_not_judged() -> None:
    (trace,) = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).traces
    handed_over = trace.spans[0].model_copy(update={"outcomes": ()})
    (only,) = judge_thread([trace.model_copy(update={"spans": (handed_over,)})], now=LATER, window_s=1, final=True)
    assert (only.outcome, only.reason) == (VerdictOutcome.UNVERIFIED, "not_run")


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


def test_a_question_about_half_of_what_is_missing_is_refuted_with_the_whole() -> None:
    thread = Thread(TABLE).says("a table please").does(clarify(("table", "place")))
    thread.says("Bellini").does(clarify(("table", "guests")))
    thread.says("4").does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    first, second = judge(thread)[:2]
    assert (first.outcome, first.reason) == (VerdictOutcome.REFUTED, "asked_too_little")
    assert first.ground_truth == missing(("table", "place"), ("table", "guests"))
    assert (second.outcome, second.ground_truth) == (VerdictOutcome.VERIFIED, missing(("table", "guests")))


def test_a_question_about_more_than_is_missing_is_refuted_with_what_is() -> None:
    thread = Thread(TABLE).says("a table at Bellini").does(clarify(("table", "place"), ("table", "guests")))
    thread.says("Bellini, 4").does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    first = judge(thread)[0]
    assert (first.outcome, first.reason) == (VerdictOutcome.REFUTED, "value_was_given")
    assert first.ground_truth == missing(("table", "guests"))


def test_a_question_about_an_optional_value_too_proves_nothing() -> None:
    forecast = tool("forecast", ["city"], city={"type": "string"}, days={"type": "integer"})
    thread = Thread(forecast).says("a forecast").does(clarify(("forecast", "city"), ("forecast", "days")))
    thread.says("Oslo, 3 days").does(execute(("forecast", {"city": "Oslo", "days": 3}))).does(answer())
    assert reasons(thread)[0] == "asked_beyond"


def test_a_question_whose_answer_the_policy_made_up_proves_nothing() -> None:
    thread = Thread(TABLE).says("a table at Bellini").does(clarify(("table", "guests")))
    thread.says("you choose").does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    assert reasons(thread)[0] == "truth_not_known_then"


def test_a_question_that_led_nowhere_proves_nothing() -> None:
    thread = Thread(TABLE).says("a table at Bellini").does(clarify(("table", "guests")))
    assert reasons(thread) == ["no_call_followed"]
    assert judge_thread(thread.traces, now=START, window_s=600.0)[0].reason == "pending"


def test_an_answer_after_a_failed_try_still_proves_the_question() -> None:
    thread = Thread(TABLE).says("a table at Bellini").does(clarify(("table", "guests"))).says("4")
    thread.does(execute(("table", {"place": "Bellini", "guests": "4"})), CallStatus.BAD_ARGUMENTS)
    thread.does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    assert reasons(thread)[:3] == ["user_supplied_value", "corrected_call", "succeeded"]


def test_a_confirmed_suggestion_counts_as_supplied() -> None:
    ask = clarify(("weather", "city")).model_copy(update={"question": "Do you mean Oslo?"})
    thread = Thread(WEATHER).says("weather at home").does(ask)
    thread.says("Yes").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(thread)[0] == "user_supplied_value"


def test_a_question_in_plain_text_counts_only_when_the_request_was_about_that_tool() -> None:
    about = Thread(WEATHER).says("how's the weather").does(clarify())
    about.says("Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert judge(about)[0].ground_truth == missing(("weather", "city"))
    greeting = Thread(WEATHER).says("hello").does(clarify())
    greeting.says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(greeting)[0] == "truth_not_known_then"


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


def test_a_refusal_before_another_request_proves_nothing() -> None:
    thread = Thread(WEATHER, HOME).says("sing a song").does(refuse())
    thread.says("then list where I live").does(execute(("home", {}))).does(answer())
    assert reasons(thread)[0] == "truth_not_known_then"


def test_a_refusal_before_the_same_request_with_the_missing_value_should_have_been_a_question() -> None:
    thread = Thread(WEATHER).says("what is the weather").does(refuse())
    thread.says("what is the weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge(thread)[0]
    assert (first.outcome, first.reason) == (VerdictOutcome.REFUTED, "should_have_asked")
    assert first.ground_truth == missing(("weather", "city"))


@pytest.mark.parametrize(
    "wrong",
    [invalid(), clarify(("news", "city")), execute(("news", {"town": "Oslo"}))],
    ids=["unreadable", "asked about another tool", "called another tool with wrong arguments"],
)
def test_whatever_went_wrong_a_rephrased_request_that_was_served_shows_what_was_right(wrong: Decision) -> None:
    thread = Thread(WEATHER, NEWS).says("weather in Oslo").does(wrong, CallStatus.BAD_ARGUMENTS)
    thread.says("the weather for Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge(thread)[0]
    assert (first.outcome, first.reason) == (VerdictOutcome.REFUTED, "request_was_servable")
    assert first.ground_truth == called("weather", city="Oslo")


def test_a_verified_call_proves_more_than_an_earlier_one_with_a_made_up_value() -> None:
    sky = tool("sky", ["city"], city={"type": "string"}, hour={"type": "integer"})
    thread = Thread(sky).says("sky Oslo").does(refuse())
    thread.says("the sky in Oslo").does(execute(("sky", {"city": "Oslo", "hour": 3}))).does(answer())
    thread.says("and sky for Oslo now").does(execute(("sky", {"city": "Oslo"}))).does(answer())
    assert judge(thread)[0].ground_truth == called("sky", city="Oslo")


def test_another_request_served_later_does_not_show_what_an_unreadable_output_should_have_been() -> None:
    thread = Thread(WEATHER, HOME).says("weather in Oslo").does(invalid())
    thread.says("where do I live").does(execute(("home", {}))).does(answer())
    assert reasons(thread)[0] == "call_failed"


def test_a_refusal_without_the_tool_was_right() -> None:
    before = Thread(HOME).says("weather in Oslo").does(refuse())
    after = Thread(WEATHER).says("weather in Oslo").does(refuse())
    after.says("weather in Oslo!").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge_thread([before.traces[0], after.traces[1]], now=LATER, window_s=600.0, final=True)[0]
    assert first.reason == "truth_not_known_then"


def test_every_unreadable_output_of_a_turn_gets_the_truth_of_its_repair() -> None:
    thread = Thread(TABLE).says("a table at Bellini").does(invalid()).does(invalid()).does(clarify(("table", "guests")))
    thread.says("4").does(execute(("table", {"place": "Bellini", "guests": 4}))).does(answer())
    first, second, third = judge(thread)[:3]
    assert first.ground_truth == second.ground_truth == third.ground_truth == missing(("table", "guests"))
    assert first.outcome is second.outcome is VerdictOutcome.REFUTED


def test_an_unreadable_output_without_a_proved_repair_proves_nothing() -> None:
    assert reasons(Thread(WEATHER).says("weather in Oslo").does(invalid())) == ["call_failed"]
    assert reasons(Thread(WEATHER).says("hello").does(invalid()).does(answer()))[0] == "truth_not_known_then"
    made_up = Thread(WEATHER).says("hello").does(invalid()).does(execute(("weather", {"city": "Oslo"})))
    assert reasons(made_up) == ["truth_not_known_then", "ungrounded"]


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


def test_an_objection_refutes_when_the_right_call_was_known() -> None:
    thread = Thread(WEATHER).says("I'm in Bergen, weather in Oslo").does(execute(("weather", {"city": "Bergen"})))
    thread.does(answer()).says("No, I meant Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge(thread)[0]
    assert (first.outcome, first.reason) == (VerdictOutcome.REFUTED, "user_corrected")
    assert first.ground_truth == called("weather", city="Oslo")


def test_an_objection_to_the_wrong_tool_refutes_when_the_right_one_was_known() -> None:
    thread = Thread(WEATHER, NEWS).says("news from Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    thread.says("that's not what I asked for").does(execute(("news", {"city": "Oslo"}))).does(answer())
    assert judge(thread)[0].ground_truth == called("news", city="Oslo")


def test_a_guess_that_went_well_and_was_objected_to_should_have_been_a_question() -> None:
    thread = Thread(WEATHER).says("weather please").does(execute(("weather", {"city": "Bergen"}))).does(answer())
    thread.says("no, Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    first = judge(thread)[0]
    assert (first.reason, first.ground_truth) == ("guessed", missing(("weather", "city")))


def test_a_user_who_changes_their_mind_proves_nothing() -> None:
    thread = Thread(WEATHER).says("weather in Bergen").does(execute(("weather", {"city": "Bergen"}))).does(answer())
    thread.says("actually, Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(thread)[0] == "truth_not_known_then"


def test_an_objection_means_the_call_of_the_same_tool_among_several() -> None:
    thread = Thread(WEATHER, HOME).says("I'm in Bergen, weather in Oslo").does(execute(("home", {})))
    thread.does(execute(("weather", {"city": "Bergen"}))).does(answer())
    thread.says("no, Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(thread)[:2] == ["user_objected", "user_corrected"]


def test_an_objection_or_repetition_without_another_call_only_withholds_proof() -> None:
    objected = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(objected.says("that is wrong").does(answer()))[0] == "user_objected"
    repeated = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    assert reasons(repeated.says("Weather in Oslo?").does(answer()))[0] == "user_repeated"


@pytest.mark.parametrize("text", ["thanks!", "no thanks", "No, that's all.", "and in Bergen?", "no problem"])
def test_moving_on_is_no_objection(text: str) -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    thread.says(text).does(answer())
    (first, *_) = judge_thread(thread.traces, now=START + timedelta(seconds=11), window_s=600.0)
    assert first.outcome is VerdictOutcome.VERIFIED


def test_an_objection_after_the_window_is_too_late() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer())
    thread.says("no, Bergen", after_s=601).does(answer())
    assert reasons(thread)[0] == "succeeded"


def test_turns_in_which_nothing_was_decided_are_passed_over() -> None:
    thread = Thread(WEATHER).says("weather in Oslo").does(execute(("weather", {"city": "Oslo"})))
    thread.says("lost").says("weather in Oslo").does(answer())
    first, _ = judge(thread)
    assert first.reason == "user_repeated"


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
