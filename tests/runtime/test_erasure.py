"""A thread is erased whole, or not at all: on each database, and cut short at any point."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from runtime.agent.tables import thread_heads
from runtime.agent.thread_checkpoints import open_thread_checkpoints
from runtime.approvals.schema import Ask, Verdict, Why
from runtime.approvals.store import ApprovalStore
from runtime.approvals.tables import approvals
from runtime.erasure import Erased, Erasure
from runtime.errors import StoreError, ThreadBusy, ThreadNotFound
from runtime.traces.schema import Verdict as Proof
from runtime.traces.schema import VerdictOutcome, call_prefix
from runtime.traces.store import TraceStore
from runtime.traces.tables import spans, traces, verdicts
from tests.runtime.agent_parts import tool
from tests.runtime.thread_builder import Thread, execute
from tests.runtime.thread_builder import tool as described
from tools.errors import BadRetention
from tools.journal import Journal
from tools.outcome import CallResult
from tools.spec import CallStatus, SideEffect
from tools.tables import tool_calls

FLIGHT = described("book", ["city"], city={"type": "string"})
NOON = datetime(2026, 5, 3, 12, tzinfo=UTC)
BOOK = tool("book", side_effect=SideEffect.WRITE)
TABLES = (traces, spans, verdicts, approvals, thread_heads, tool_calls)


class Checkpoints:
    """Stands for LangGraph's, in whose place threads are only counted."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget(self, connection: sa.Connection, thread_id: str) -> None:
        self.forgotten.append(thread_id)


@pytest.fixture
def checkpoints() -> Checkpoints:
    return Checkpoints()


@pytest.fixture
def erasure(engine: sa.Engine, checkpoints: Checkpoints) -> Erasure:
    return Erasure(engine, checkpoints.forget)


@pytest.fixture
def journal(engine: sa.Engine) -> Journal:
    return Journal(engine, now=lambda: NOON)


def counts(engine: sa.Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {t.name: connection.execute(sa.select(sa.func.count()).select_from(t)).scalar_one() for t in TABLES}


def talk(engine: sa.Engine, journal: Journal, thread_id: str) -> str:
    """One turn with all that a turn leaves behind, but for the end of its call; gives the call's id."""
    store, questions = TraceStore(engine), ApprovalStore(engine, clock=lambda: NOON)
    trace_id = f"trace_{uuid.uuid4().hex}"
    (made,) = Thread(FLIGHT, thread_id=thread_id).says("Book Oslo").does(execute(("book", {"city": "Oslo"}))).traces
    renamed = [s.model_copy(update={"id": f"{trace_id}.{s.index}", "trace_id": trace_id}) for s in made.spans]
    store.record(made.model_copy(update={"id": trace_id, "spans": tuple(renamed)}))
    proof = {"outcome": VerdictOutcome.VERIFIED, "reason": "succeeded", "ground_truth": None, "evidence": ()}
    store.record_verdicts([Proof.model_validate({"span_id": renamed[0].id, "decided_at": NOON, **proof})])
    call_id = f"{call_prefix(trace_id)}0_0"
    journal.begin(BOOK, {"city": "Oslo"}, call_id, "me")
    ask = Ask(
        call_id=call_id, tool="book", tool_sha256=BOOK.sha256, arguments={}, digest=uuid.uuid4().hex, why=Why.WRITES
    )
    asked = questions.ask(ask, thread_id=thread_id, trace_id=trace_id, checkpoint_id="c", length=1)
    questions.decide(asked.id, Verdict.APPROVE, via="chat")
    questions.settle(asked.id)
    with engine.begin() as connection:
        head = {"thread_id": thread_id, "digest": trace_id, "length": 2, "created_at": NOON}
        connection.execute(sa.insert(thread_heads).values(head))
    return call_id


def ended(journal: Journal, call_id: str) -> None:
    journal.complete(call_id, "me", CallResult(CallStatus.OK, "booked", 1.0))


def test_all_that_is_kept_of_a_thread_goes_and_nothing_of_another(
    engine: sa.Engine, erasure: Erasure, checkpoints: Checkpoints, journal: Journal
) -> None:
    ended(journal, talk(engine, journal, "other"))
    alone = counts(engine)
    assert min(alone.values()) > 0
    ended(journal, talk(engine, journal, "mine"))
    assert erasure.erase("mine") == Erased(traces=1, calls=1, approvals=1, heads=1)
    assert counts(engine) == alone
    assert checkpoints.forgotten == ["mine"]
    with pytest.raises(ThreadNotFound, match="'mine'"):
        erasure.erase("mine")


@pytest.mark.parametrize("give_up", [False, True])
def test_a_thread_with_an_open_call_stays_and_the_call_is_named(
    engine: sa.Engine, erasure: Erasure, checkpoints: Checkpoints, journal: Journal, give_up: bool
) -> None:
    call_id = talk(engine, journal, "mine")
    if give_up:
        journal.give_up(journal.get(call_id))
    before = counts(engine)
    remedy = f"unknown; say what came of it .hone tools settle {call_id}" if give_up else "started; wait for its end"
    with pytest.raises(ThreadBusy, match=f"{call_id} is {remedy}"):
        erasure.erase("mine")
    assert (counts(engine), checkpoints.forgotten) == (before, [])
    if give_up:
        journal.settle(call_id, CallStatus.FAILED)
    else:
        ended(journal, call_id)
    assert erasure.erase("mine").calls == 1


def test_an_erasure_that_was_cut_short_has_changed_nothing(engine: sa.Engine, journal: Journal) -> None:
    kept = open_thread_checkpoints(engine, Path("there is none"))
    erasure = Erasure(engine, kept.forget)
    ended(journal, talk(engine, journal, "mine"))
    with engine.begin() as connection:
        row = "INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint) VALUES ('mine', 'c', '{}')"
        connection.execute(sa.text(row))
    before = counts(engine)
    with engine.begin() as connection:  # it fails once the checkpoints, the calls and the approvals are gone
        connection.execute(sa.text("ALTER TABLE thread_heads RENAME TO hidden"))
        connection.execute(sa.text("CREATE VIEW thread_heads AS SELECT DISTINCT * FROM hidden"))
    with pytest.raises(StoreError):
        erasure.erase("mine")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP VIEW thread_heads"))
        connection.execute(sa.text("ALTER TABLE hidden RENAME TO thread_heads"))
    assert (counts(engine), checkpoints_left(engine)) == (before, 1)
    assert erasure.erase("mine").traces == 1
    assert (set(counts(engine).values()), checkpoints_left(engine)) == ({0}, 0)


def checkpoints_left(engine: sa.Engine) -> int | None:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT count(*) FROM checkpoints"))


def test_a_thread_of_many_turns_is_erased_and_one_whose_calls_begin_alike_is_not(
    engine: sa.Engine, erasure: Erasure, journal: Journal
) -> None:
    for _ in range(120):
        ended(journal, talk(engine, journal, "mine"))
    journal.begin(BOOK, {}, "callX0123456789_0_0", "me")  # _ is no wildcard
    assert erasure.erase("mine").traces == 120
    assert counts(engine)["tool_calls"] == 1


def test_calls_and_approvals_are_removed_once_they_are_old_and_over(engine: sa.Engine) -> None:
    now = [NOON]
    journal = Journal(engine, now=lambda: now[0])
    for call_id, end in (("old", ended), ("open", None), ("unknown", None), ("settled", None)):
        journal.begin(BOOK, {"city": "Oslo"}, call_id, "me")
        if end is not None:
            end(journal, call_id)
    for call_id in ("unknown", "settled"):
        journal.give_up(journal.get(call_id))
    talk(engine, journal, "mine")
    now[0] += timedelta(days=3)
    journal.settle("settled", CallStatus.OK)
    journal.begin(BOOK, {"city": "Oslo"}, "new", "me")
    ended(journal, "new")
    with pytest.raises(BadRetention, match="24 hours at least"):
        journal.purge(now[0] - timedelta(hours=23))
    assert journal.purge(NOON + timedelta(days=1)) == 1
    assert {"open", "unknown", "settled", "new"} <= {record.call_id for record in journal.list()}
    questions = ApprovalStore(engine)
    assert (questions.purge(NOON), questions.purge(NOON + timedelta(seconds=1))) == (0, 1)


def test_a_repetition_of_an_open_call_is_known_after_a_purge(engine: sa.Engine) -> None:
    now = [NOON]
    journal = Journal(engine, now=lambda: now[0])
    journal.begin(BOOK, {"city": "Oslo"}, "c1", "me")
    now[0] += timedelta(days=9)
    assert journal.purge(now[0] - timedelta(days=1)) == 0
    assert not journal.begin(BOOK, {"city": "Oslo"}, "c1", "another")
