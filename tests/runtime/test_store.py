"""The contract of a trace store, on each database."""

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.database import open_database
from runtime.decision import Execute, ToolCall
from runtime.errors import StoreError, TraceNotFound
from runtime.traces.schema import Span, Trace, TraceStatus, Verdict, VerdictOutcome
from runtime.traces.store import TraceStore
from tests.runtime.thread_builder import START, Thread, answer, clarify, execute, invalid, refuse, tool

NOW = START + timedelta(days=1)
WEATHER = tool("weather", ["city"], city={"type": "string"})


@pytest.fixture
def store(engine: sa.Engine) -> TraceStore:
    return TraceStore(engine, clock=lambda: NOW)


def two_turns(thread_id: str = "thread") -> list[Trace]:
    thread = Thread(WEATHER, thread_id=thread_id).says("Weather?").does(invalid()).does(clarify(("weather", "city")))
    thread.says("Oslo").does(execute(("weather", {"city": "Oslo"}))).does(answer("Rain."))
    return thread.traces


def verdict(span_id: str, outcome: VerdictOutcome = VerdictOutcome.VERIFIED, reason: str = "succeeded") -> Verdict:
    truth = None if outcome is VerdictOutcome.UNVERIFIED else {"decision": "refuse", "category": "unsafe"}
    return Verdict(
        span_id=span_id, outcome=outcome, reason=reason, ground_truth=truth, evidence=("x", "y"), decided_at=NOW
    )


def test_a_trace_comes_back_as_it_was(store: TraceStore) -> None:
    for trace in two_turns():
        store.record(trace)
        assert store.get(trace.id) == trace
        assert store.get(trace.id).created_at.tzinfo is UTC


def test_a_trace_without_spans_comes_back_with_its_error(store: TraceStore) -> None:
    failed = two_turns()[0].model_copy(
        update={"spans": (), "status": TraceStatus.FAILED, "error": "broke\0 here", "adapter": None}
    )
    store.record(failed)
    assert store.get(failed.id) == failed


def test_recording_a_trace_again_changes_nothing(store: TraceStore) -> None:
    first = two_turns()[0]
    store.record(first)
    store.record(first)
    store.record(first.model_copy(update={"error": "other", "spans": ()}))
    assert store.get(first.id) == first
    assert store.list() == [first]


def test_a_waiting_trace_is_replaced_by_how_it_went_on_and_then_stays(store: TraceStore) -> None:
    whole = two_turns()[1]
    waiting = whole.model_copy(update={"status": TraceStatus.WAITING, "spans": whole.spans[:1]})
    store.record(waiting)
    store.record_verdicts([verdict(waiting.spans[0].id, VerdictOutcome.UNVERIFIED)])
    again = whole.model_copy(update={"resumed_at": NOW, "spans": whole.spans[:1], "status": TraceStatus.WAITING})
    for known in (again, whole.model_copy(update={"resumed_at": NOW})):
        store.record(known)
        assert store.get(whole.id) == known
        assert store.verdict(whole.spans[0].id) is None, "it is judged anew"
    store.record(waiting)
    assert store.get(whole.id).status is TraceStatus.FINISHED
    assert len(store.list()) == 1


def test_an_unknown_trace_is_named(store: TraceStore) -> None:
    with pytest.raises(TraceNotFound, match="'nothing'"):
        store.get("nothing")


def test_a_trace_that_cannot_be_kept_whole_is_not_kept_at_all(store: TraceStore) -> None:
    first, second = two_turns()
    store.record(first)
    clashing = second.model_copy(update={"spans": (second.spans[0], first.spans[0])})
    with pytest.raises(StoreError):
        store.record(clashing)
    with pytest.raises(TraceNotFound):
        store.get(second.id)


def test_pages_go_from_newest_to_oldest_without_gaps(store: TraceStore) -> None:
    base = two_turns()[0].model_copy(update={"spans": ()})
    # three of one instant: their order of recording decides
    instants = [START, START, START, START - timedelta(hours=1), START + timedelta(hours=1)]
    recorded = [base.model_copy(update={"id": f"t{i}", "created_at": at}) for i, at in enumerate(instants)]
    for trace in recorded:
        store.record(trace)
    seen: list[str] = []
    page = store.list(limit=2)
    while page:
        seen += [trace.id for trace in page]
        page = store.list(limit=2, before=page[-1].id)
    assert seen == ["t4", "t2", "t1", "t0", "t3"]
    with pytest.raises(TraceNotFound, match="gone"):
        store.list(before="gone")


def test_a_thread_reads_oldest_first_and_alone(store: TraceStore) -> None:
    mine, other = two_turns("mine"), two_turns("other")
    for trace in (mine[1], other[0], mine[0]):
        store.record(trace)
    assert store.thread("mine") == mine
    assert store.list(thread_id="other") == [other[0]]
    assert store.thread("nobody") == []


def test_threads_that_changed_are_told_from_those_that_did_not(engine: sa.Engine) -> None:
    instants = iter([NOW, NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)])
    store = TraceStore(engine, clock=lambda: next(instants))
    mine, other = two_turns("mine"), two_turns("other")
    for trace in (mine[0], other[0], mine[1]):
        store.record(trace)
    assert store.thread_ids() == ["mine", "other"]
    assert store.thread_ids(changed_since=NOW + timedelta(minutes=1)) == ["mine", "other"]
    assert store.thread_ids(changed_since=NOW + timedelta(minutes=2)) == ["mine"]
    assert store.thread_ids(changed_since=NOW + timedelta(minutes=3)) == []


def test_a_later_verdict_takes_the_place_of_an_earlier_one(store: TraceStore) -> None:
    first = two_turns()[0]
    store.record(first)
    span_id = first.spans[0].id
    assert store.verdict(span_id) is None
    store.record_verdicts([verdict(span_id, VerdictOutcome.UNVERIFIED, "pending")])
    assert store.verdict(span_id) == verdict(span_id, VerdictOutcome.UNVERIFIED, "pending")
    store.record_verdicts([verdict(span_id)])
    assert store.verdict(span_id) == verdict(span_id)
    assert store.thread_verdicts("thread") == {span_id: verdict(span_id)}
    store.record_verdicts([])


def test_a_verdict_on_an_unknown_span_keeps_none_of_its_batch(store: TraceStore) -> None:
    first = two_turns()[0]
    store.record(first)
    with pytest.raises(TraceNotFound, match="'nothing'"):
        store.record_verdicts([verdict(first.spans[0].id), verdict("nothing")])
    assert store.verdict(first.spans[0].id) is None


def test_judged_spans_come_newest_first_and_only_those_asked_for(store: TraceStore) -> None:
    first, second = two_turns()
    for trace in (first, second):
        store.record(trace)
    verified, refuted = VerdictOutcome.VERIFIED, VerdictOutcome.REFUTED
    judged = [
        verdict(first.spans[0].id, refuted),
        verdict(first.spans[1].id, verified),
        verdict(second.spans[0].id, verified),
        verdict(second.spans[1].id, VerdictOutcome.UNVERIFIED),
    ]
    store.record_verdicts(judged)
    assert store.judged_spans() == [
        (second, second.spans[0], judged[2]),
        (first, first.spans[0], judged[0]),
        (first, first.spans[1], judged[1]),
    ]
    assert store.judged_spans(outcomes=[refuted]) == [(first, first.spans[0], judged[0])]
    assert store.judged_spans(limit=1) == [(second, second.spans[0], judged[2])]
    assert store.judged_spans(outcomes=[]) == []


def test_writers_at_once_all_get_through(store: TraceStore) -> None:
    problems: list[Exception] = []

    def write(worker: int) -> None:
        try:
            for turn in range(5):
                base = two_turns(f"w{worker}-{turn}")[0]
                store.record(base)
                store.record_verdicts([verdict(span.id) for span in base.spans])
        except Exception as e:  # any failure is the finding
            problems.append(e)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(store.list(limit=100)) == 30
    assert len(store.judged_spans()) == 60


def test_many_judged_spans_are_read_in_one_go(store: TraceStore) -> None:
    base = two_turns()[0]
    for number in range(600):
        span = base.spans[0].model_copy(update={"id": f"s{number}", "trace_id": f"t{number}"})
        store.record(base.model_copy(update={"id": f"t{number}", "spans": (span,)}))
    store.record_verdicts([verdict(f"s{number}") for number in range(600)])
    assert len(store.judged_spans()) == 600


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def lasting_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """SQLite: one database for all the examples of a property."""
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('store') / 'hone.db'}")
    yield engine
    engine.dispose()


@given(
    text=st.text(),
    arguments=st.dictionaries(st.text(), JSON_VALUES, max_size=3),
    logprobs=st.lists(st.floats(max_value=0, allow_infinity=False), max_size=4),
    at=st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_model_writes_comes_back_as_it_was(
    lasting_engine: sa.Engine,
    text: str,
    arguments: dict[str, object],
    logprobs: list[float],
    at: datetime,
) -> None:
    trace_id = uuid.uuid4().hex  # not drawn: the store keeps the first of an id
    span = Span(
        id=trace_id,
        trace_id=trace_id,
        index=0,
        messages=({"role": "user", "content": text},),
        tools=(),
        prompt_token_ids=(),
        completion_token_ids=tuple(range(len(logprobs))),
        logprobs=tuple(logprobs),
        text=text,
        decision=Execute(calls=(ToolCall(name="t", arguments=arguments),)),
        violations=(text,),
    )
    trace = two_turns()[0].model_copy(update={"id": trace_id, "created_at": at, "spans": (span,)})
    store = TraceStore(lasting_engine)
    store.record(trace)
    assert store.get(trace_id) == trace


def test_what_text_columns_cannot_hold_is_kept_on_each_database(store: TraceStore) -> None:
    thread = Thread(WEATHER).says("a\0b \ud800").does(refuse())
    (trace,) = thread.traces
    odd = trace.spans[0].model_copy(update={"text": "\0\ud800", "logprobs": (float("-inf"), -1.0)})
    trace = trace.model_copy(update={"spans": (odd,)})
    store.record(trace)
    assert store.get(trace.id) == trace
