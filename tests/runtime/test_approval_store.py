"""The contract of the approval store, on each database."""

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from runtime.approvals.schema import Approval, ApprovalState, Ask, Use, Verdict, Why
from runtime.approvals.store import ApprovalStore
from runtime.errors import ApprovalError, ApprovalExpired, ApprovalNotFound, ApprovalSpent

START = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)
ROUNDS = 560
"""Of nine forgeries each: 10,080 on the two databases together."""


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(engine: sa.Engine, clock: Clock) -> ApprovalStore:
    return ApprovalStore(engine, ttl_s=60, clock=clock)


def asked(store: ApprovalStore, *, thread: str = "t", call: str = "c", digest: str = "d") -> Approval:
    ask = Ask(call_id=call, tool="book", tool_sha256="s", arguments={"n": [1, 2.5]}, digest=digest, why=Why.WRITES)
    return store.ask(ask, thread_id=thread, trace_id="trace", checkpoint_id="point", length=3)


def test_a_question_comes_back_as_it_was_asked(store: ApprovalStore) -> None:
    made = asked(store)
    assert store.get(made.id) == made
    assert made.expires_at == START + timedelta(seconds=60)


def test_an_answer_counts_once_and_stays(store: ApprovalStore) -> None:
    made = asked(store)
    assert store.decide(made.id, Verdict.DECLINE, via="chat").state is ApprovalState.DECLINED
    for verdict in Verdict:
        with pytest.raises(ApprovalSpent, match="declined"):
            store.decide(made.id, verdict, via="chat")
    assert store.use(made.id, thread_id="t", digest="d") is Use.MISMATCH


def test_an_answer_is_too_late_from_the_last_moment_on(store: ApprovalStore, clock: Clock) -> None:
    made = asked(store)
    clock.now = made.expires_at
    with pytest.raises(ApprovalExpired):
        store.decide(made.id, Verdict.APPROVE, via="chat")
    assert store.list(state=ApprovalState.PENDING) == []
    assert store.expire(made.id).state is ApprovalState.EXPIRED
    assert store.use(made.id, thread_id="t", digest="d") is not Use.GRANTED


def test_what_is_open_does_not_expire_and_what_was_answered_keeps_its_answer(
    store: ApprovalStore, clock: Clock
) -> None:
    made = asked(store)
    assert store.expire(made.id).state is ApprovalState.PENDING
    store.decide(made.id, Verdict.APPROVE, via="chat")
    clock.now = made.expires_at
    assert store.expire(made.id).state is ApprovalState.APPROVED


def test_an_approval_is_used_once_for_its_own_call_in_its_own_time(store: ApprovalStore, clock: Clock) -> None:
    made = asked(store)
    assert store.use(made.id, thread_id="t", digest="d") is Use.MISMATCH, "nobody has said yes"
    store.decide(made.id, Verdict.APPROVE, via="chat")
    assert store.use(made.id, thread_id="u", digest="d") is Use.MISMATCH
    assert store.use(made.id, thread_id="t", digest="e") is Use.MISMATCH
    assert store.use("other", thread_id="t", digest="d") is Use.MISMATCH
    assert store.use(made.id, thread_id="t", digest="d") is Use.GRANTED
    assert store.use(made.id, thread_id="t", digest="d") is Use.SPENT
    late = asked(store, digest="late")
    store.decide(late.id, Verdict.APPROVE, via="chat")
    clock.now = late.expires_at
    assert store.use(late.id, thread_id="t", digest="late") is Use.EXPIRED


def test_a_question_asked_again_takes_the_place_of_the_first(store: ApprovalStore) -> None:
    first, second = asked(store), asked(store)
    with pytest.raises(ApprovalExpired):
        store.decide(first.id, Verdict.APPROVE, via="chat")
    store.decide(second.id, Verdict.APPROVE, via="chat")
    assert store.use(second.id, thread_id="t", digest="d") is Use.GRANTED


def test_no_call_begins_twice_by_two_approvals(store: ApprovalStore) -> None:
    for use in (Use.GRANTED, Use.SPENT):
        made = asked(store)
        store.decide(made.id, Verdict.APPROVE, via="chat")
        assert store.use(made.id, thread_id="t", digest="d") is use


def test_of_answers_and_uses_at_once_one_counts(store: ApprovalStore) -> None:
    made = asked(store)
    answers: list[str] = []
    uses: list[Use] = []

    def decide(verdict: Verdict) -> None:
        try:
            answers.append(store.decide(made.id, verdict, via="chat").state.value)
        except ApprovalSpent:
            answers.append("spent")

    for work in (
        [lambda: decide(Verdict.APPROVE)] * 8,
        [lambda: uses.append(store.use(made.id, thread_id="t", digest="d"))] * 8,
    ):
        together = [threading.Thread(target=each) for each in work]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    assert sorted(answers) == ["approved"] + ["spent"] * 7
    assert sorted(uses) == [Use.GRANTED] + [Use.SPENT] * 7


def test_what_is_due_is_answered_or_out_of_time_and_not_settled(store: ApprovalStore, clock: Clock) -> None:
    yes, no, silent = (asked(store, digest=d) for d in "abc")
    assert store.due() == []
    store.decide(yes.id, Verdict.APPROVE, via="command line")
    store.decide(no.id, Verdict.DECLINE, via="command line")
    assert {a.id for a in store.due()} == {yes.id, no.id}
    store.settle(yes.id)
    assert [a.id for a in store.due()] == [no.id]
    clock.now = silent.expires_at
    assert {a.id for a in store.due()} == {no.id, silent.id}


def test_lists_go_by_state_and_thread_newest_first(store: ApprovalStore, clock: Clock) -> None:
    first = asked(store, digest="1")
    clock.now += timedelta(seconds=1)
    second = asked(store, digest="2", thread="u")
    assert [a.id for a in store.list()] == [second.id, first.id]
    assert [a.id for a in store.list(thread_id="t")] == [first.id]
    store.decide(first.id, Verdict.APPROVE, via="http")
    assert [a.id for a in store.list(state=ApprovalState.PENDING)] == [second.id]
    assert [a.id for a in store.list(limit=1)] == [second.id]


def test_no_forged_answer_or_use_is_accepted(store: ApprovalStore, clock: Clock) -> None:
    """Promise 13: altered, replayed, expired or another's."""
    chance = random.Random(7)
    granted = 0
    for n in range(ROUNDS):
        clock.now = START + timedelta(seconds=100 * n)
        mine, other = asked(store, digest=f"d{n}"), asked(store, digest=f"o{n}", thread="other")
        letters = list(mine.id)
        letters[chance.randrange(len(letters))] = chance.choice("ghxyz_")
        tries = [("".join(letters), "t"), (mine.id, "other"), (other.id, "t"), (mine.id, "t ")]
        for approval_id, thread in tries:
            with pytest.raises(ApprovalError):
                store.decide(approval_id, Verdict.APPROVE, via="http", thread_id=thread)
        store.decide(mine.id, Verdict.APPROVE, via="http", thread_id="t")
        altered = [("t", f"o{n}"), ("other", f"d{n}"), ("t", f"d{n}x"), ("t", "")]
        granted += sum(store.use(mine.id, thread_id=t, digest=d) is Use.GRANTED for t, d in altered)
        if n % 2:
            assert store.use(mine.id, thread_id="t", digest=f"d{n}") is Use.GRANTED
        else:
            clock.now = mine.expires_at
        granted += store.use(mine.id, thread_id="t", digest=f"d{n}") is Use.GRANTED
    assert granted == 0


def test_an_unknown_approval_is_named(store: ApprovalStore) -> None:
    for step in (store.get, store.expire):
        with pytest.raises(ApprovalNotFound, match="'nothing'"):
            step("nothing")
