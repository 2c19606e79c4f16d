"""The journal of tool calls, on each database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.runtime.agent_parts import tool
from tools.catalogue import Catalogue
from tools.errors import CallNotFound, CallNotUnknown, JournalUnavailable
from tools.journal import GRACE, Journal, is_same_call
from tools.outcome import CallResult
from tools.spec import CallStatus, SideEffect, ToolSpec

START = datetime(2026, 5, 3, 12, 0, tzinfo=UTC)
BOOK = tool("book", side_effect=SideEffect.WRITE)
OSLO = {"city": "Oslo"}
BOOKED = CallResult(CallStatus.OK, '{"booked": true}', 12.5)


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(engine: sa.Engine, clock: Clock) -> Journal:
    return Journal(engine, now=clock)


def test_a_call_is_on_record_before_its_end_with_all_that_was_sent(engine: sa.Engine, journal: Journal) -> None:
    Catalogue(engine).add(BOOK.model_copy(update={"description": "Older."}))
    book = Catalogue(engine).add(BOOK, replace=True)
    arguments: dict[str, Any] = {"city": "Ålesund \u0001 \U0001f600", "n": 2**60, "deep": [{"x": None, "y": 0.1}]}
    assert journal.begin(book, arguments, "c1", "me")
    record = journal.get("c1")
    assert (record.tool, record.version, record.tool_sha256) == ("book", 2, book.sha256)
    assert record.arguments == arguments
    assert (record.side_effect, record.idempotency_key, record.attempts) == (SideEffect.WRITE, "c1", 1)
    assert (record.status, record.outcome, record.content, record.finished_at) == ("started", None, None, None)
    assert (record.started_at, record.deadline) == (START, START + timedelta(seconds=BOOK.timeout_s) + GRACE)


def test_its_outcome_comes_beside_it(journal: Journal, clock: Clock) -> None:
    journal.begin(BOOK, OSLO, "c1", "me")
    clock.time += timedelta(seconds=3)
    journal.complete("c1", "me", BOOKED)
    record = journal.get("c1")
    assert record.result == BOOKED
    assert record.finished_at == clock.time
    assert record.version is None
    assert journal.unfinished() == []


def test_an_id_begins_one_call_only(journal: Journal) -> None:
    assert journal.begin(BOOK, OSLO, "c1", "me")
    assert not journal.begin(BOOK, {"city": "Rome"}, "c1", "other")
    assert journal.get("c1").arguments == OSLO


def test_a_read_is_written_once_with_its_outcome(journal: Journal) -> None:
    journal.record(tool(), OSLO, "c1", "me", BOOKED)
    journal.record(tool(), OSLO, "c1", "me", CallResult(CallStatus.FAILED, "later", 1.0))
    record = journal.get("c1")
    assert (record.result, record.idempotency_key) == (BOOKED, None)
    assert record.started_at == START - timedelta(milliseconds=12.5)


def test_every_outcome_has_a_place(journal: Journal) -> None:
    for status in CallStatus:
        journal.begin(BOOK, OSLO, status.value, "me")
        journal.complete(status.value, "me", CallResult(status, "x" * 100_000, 1.0))
        assert journal.get(status.value).outcome is status


def test_whoever_takes_a_call_over_is_one(journal: Journal) -> None:
    journal.begin(BOOK, OSLO, "c1", "dead")
    left = journal.get("c1")
    assert journal.begin_again(left, BOOK, "me")
    assert not journal.begin_again(left, BOOK, "other")
    assert not journal.give_up(left)
    record = journal.get("c1")
    assert (record.owner, record.attempts, record.outcome) == ("me", 2, None)
    journal.complete("c1", "dead", CallResult(CallStatus.FAILED, "late", 1.0))
    assert journal.get("c1").outcome is None, "its former owner has no say any more"


def test_a_call_given_up_is_unknown_until_its_own_outcome_comes_after_all(journal: Journal) -> None:
    journal.begin(BOOK, OSLO, "c1", "me")
    assert journal.give_up(journal.get("c1"))
    assert not journal.give_up(journal.get("c1"))
    record = journal.get("c1")
    assert record.outcome is CallStatus.UNKNOWN
    assert "do not call it again" in record.result.content
    journal.complete("c1", "me", BOOKED)
    assert journal.get("c1").result == BOOKED


@pytest.mark.parametrize(
    ("outcome", "result", "told"),
    [
        (CallStatus.OK, '{"id": 7}', '{"id": 7}'),
        (CallStatus.OK, "", "(no content)"),
        (CallStatus.FAILED, "card refused", "card refused"),
        (CallStatus.FAILED, "", "did not happen"),
    ],
)
def test_a_person_settles_what_is_unknown_once(journal: Journal, outcome: Any, result: str, told: str) -> None:
    journal.begin(BOOK, OSLO, "c1", "me")
    with pytest.raises(CallNotUnknown, match="'c1' is started"):
        journal.settle("c1", outcome)
    journal.give_up(journal.get("c1"))
    record = journal.settle("c1", outcome, result=result, note="asked the shop\0")
    assert record.outcome is outcome
    assert told in record.result.content
    assert (record.note, record.settled_at) == ("asked the shop\ufffd", START)
    with pytest.raises(CallNotUnknown, match="only an unknown one"):
        journal.settle("c1", outcome)
    journal.complete("c1", "me", CallResult(CallStatus.TIMEOUT, "late", 1.0))
    assert journal.get("c1") == record
    with pytest.raises(CallNotFound, match="'c2'"):
        journal.settle("c2", outcome)


def test_calls_are_listed_newest_first_by_status_and_tool_in_pages(journal: Journal) -> None:
    for n in range(5):
        journal.begin(tool("book" if n % 2 else "pay", side_effect=SideEffect.WRITE), OSLO, f"c{n}", "me")
    journal.give_up(journal.get("c3"))
    assert [r.call_id for r in journal.list()] == ["c4", "c3", "c2", "c1", "c0"]
    assert [r.call_id for r in journal.list(status="unknown")] == ["c3"]
    assert [r.call_id for r in journal.list(tool="pay", status="started")] == ["c4", "c2", "c0"]
    first = journal.list(limit=2)
    assert [r.call_id for r in journal.list(limit=2, before=first[-1].seq)] == ["c2", "c1"]
    assert [r.call_id for r in journal.unfinished()] == ["c0", "c1", "c2", "c4"]


def test_the_same_call_is_known_by_tool_and_arguments(journal: Journal) -> None:
    journal.begin(BOOK, {"city": "Oslo", "n": 1}, "c1", "me")
    record = journal.get("c1")
    assert is_same_call(record, BOOK, {"n": 1, "city": "Oslo"})
    assert is_same_call(record, BOOK.model_copy(update={"description": "New."}), {"city": "Oslo", "n": 1})
    assert not is_same_call(record, BOOK, {"city": "Oslo", "n": "1"})
    assert not is_same_call(record, tool("pay"), {"city": "Oslo", "n": 1})


def test_a_database_that_fails_is_named_with_a_remedy(engine: sa.Engine, journal: Journal) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE tool_calls"))
    spec: ToolSpec = BOOK
    with pytest.raises(JournalUnavailable, match=r"tool_calls.*check that the database runs"):
        journal.begin(spec, OSLO, "c1", "me")
    with pytest.raises(JournalUnavailable):
        journal.find("c1")
