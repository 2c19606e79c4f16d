"""Calls made once, and what is done about those that a stopped server left: on each database, with real locks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from tests.runtime.agent_parts import tool
from tools.catalogue import Catalogue
from tools.errors import JournalUnavailable
from tools.execution import Executor
from tools.journal import GRACE, CallRecord, Journal
from tools.journaled_calls import JournaledCalls
from tools.outcome import CallResult
from tools.presence import Presence
from tools.recovery import KEY_LIFE, Recovery
from tools.spec import CallStatus, SideEffect, ToolSpec

OSLO = {"city": "Oslo"}
READ, IDEMPOTENT, WRITE = (tool("book", side_effect=effect) for effect in SideEffect)


class Shop:
    """A tool that counts; it fails or waits as a test says."""

    def __init__(self) -> None:
        self.bookings: list[str] = []
        self.failure: BaseException | None = None

    def __call__(self, city: str) -> dict[str, Any]:
        self.bookings.append(city)
        if self.failure is not None:
            raise self.failure
        return {"number": len(self.bookings)}


class Clock:
    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def presence(tmp_path: Path) -> Iterator[Presence]:
    held = Presence(tmp_path / "servers")
    yield held
    held.close()


@pytest.fixture
def stopped(tmp_path: Path) -> str:
    """Name of a process of this home that has ended."""
    other = Presence(tmp_path / "servers")
    other.close()
    return other.owner


@pytest.fixture
def journal(engine: sa.Engine, clock: Clock) -> Journal:
    return Journal(engine, now=clock)


@pytest.fixture
async def executor(journal: Journal, presence: Presence, shop: Shop, clock: Clock) -> AsyncIterator[Executor]:
    opened = Executor(builtins={"book": shop}, calls=JournaledCalls(journal, presence, now=clock))
    yield opened
    await opened.close()


@pytest.fixture
def recovery(engine: sa.Engine, journal: Journal, presence: Presence, executor: Executor, clock: Clock) -> Recovery:
    return Recovery(journal, presence, Catalogue(engine), executor, now=clock)


def left_by(journal: Journal, owner: str, spec: ToolSpec, call_id: str = "c1") -> CallRecord:
    """A call that was begun and not completed."""
    journal.begin(spec, OSLO, call_id, owner)
    return journal.get(call_id)


@pytest.mark.parametrize("spec", [READ, IDEMPOTENT, WRITE])
async def test_an_id_that_comes_again_gets_the_recorded_outcome(
    executor: Executor, journal: Journal, shop: Shop, spec: ToolSpec
) -> None:
    first = await executor.run(spec, OSLO, call_id="c1")
    assert await executor.run(spec, OSLO, call_id="c1") == first
    assert shop.bookings == ["Oslo"]
    assert journal.get("c1").result == first


async def test_a_failure_is_an_outcome_too(executor: Executor, shop: Shop) -> None:
    shop.failure = ValueError("closed")
    first = await executor.run(WRITE, OSLO, call_id="c1")
    shop.failure = None
    assert await executor.run(WRITE, OSLO, call_id="c1") == first
    assert first.status is CallStatus.FAILED
    assert len(shop.bookings) == 1


async def test_an_id_that_comes_twice_at_once_makes_one_call(executor: Executor, shop: Shop) -> None:
    results = await asyncio.gather(*(executor.run(WRITE, OSLO, call_id="c1") for _ in range(5)))
    assert len(set(results)) == 1
    assert shop.bookings == ["Oslo"]


async def test_an_id_that_comes_to_two_servers_at_once_makes_one_call(
    tmp_path: Path, executor: Executor, journal: Journal, shop: Shop, clock: Clock
) -> None:
    neighbour = Presence(tmp_path / "servers")
    beside = Executor(builtins={"book": shop}, calls=JournaledCalls(journal, neighbour, now=clock))
    results = await asyncio.gather(*(e.run(WRITE, OSLO, call_id="c1") for e in (executor, beside)))
    assert results[0] == results[1]
    assert shop.bookings == ["Oslo"]
    await beside.close()
    neighbour.close()


async def test_an_id_of_another_call_calls_nothing(executor: Executor, shop: Shop) -> None:
    await executor.run(WRITE, OSLO, call_id="c1")
    other = await executor.run(WRITE, {"city": "Rome"}, call_id="c1")
    assert other.status is CallStatus.FAILED
    assert "belongs to another call, of book" in other.content
    assert shop.bookings == ["Oslo"]


async def test_what_cannot_be_written_down_is_not_called(executor: Executor, engine: sa.Engine, shop: Shop) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE tool_calls RENAME TO elsewhere"))
    with pytest.raises(JournalUnavailable):
        await executor.run(WRITE, OSLO, call_id="c1")
    assert shop.bookings == []


async def test_a_result_that_cannot_be_written_down_is_told_and_the_row_stays_open(
    executor: Executor, journal: Journal, engine: sa.Engine, shop: Shop
) -> None:
    def fill_the_disk(city: str) -> str:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE tool_calls RENAME TO elsewhere"))
        return city

    executor._builtins["book"] = fill_the_disk
    assert (await executor.run(WRITE, OSLO, call_id="c1")).status is CallStatus.OK
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO tool_calls"))
    assert journal.get("c1").outcome is None
    assert (await executor.run(WRITE, OSLO, call_id="c1")).status is CallStatus.UNKNOWN


async def test_arguments_that_break_the_schema_leave_no_row(executor: Executor, journal: Journal) -> None:
    assert (await executor.run(WRITE, {"city": 5}, call_id="c1")).status is CallStatus.BAD_ARGUMENTS
    assert journal.find("c1") is None


async def test_a_call_that_found_no_place_leaves_no_row_and_may_come_again(
    journal: Journal, presence: Presence, shop: Shop
) -> None:
    spec = WRITE.model_copy(update={"max_per_minute": 1, "timeout_s": 0.2})
    executor = Executor(builtins={"book": shop}, calls=JournaledCalls(journal, presence))
    assert (await executor.run(spec, OSLO, call_id="c1")).status is CallStatus.OK
    assert (await executor.run(spec, OSLO, call_id="c2")).status is CallStatus.BUSY
    assert journal.find("c2") is None
    await executor.close()


@pytest.mark.parametrize(("spec", "commits"), [(READ, 1), (IDEMPOTENT, 2), (WRITE, 2)])
async def test_a_call_costs_two_writing_commits_and_a_read_one(
    executor: Executor, engine: sa.Engine, spec: ToolSpec, commits: int
) -> None:
    written: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            written.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    await executor.run(spec, OSLO, call_id="c1")
    assert len(written) == commits


async def test_an_unfinished_write_of_a_stopped_server_is_unknown_and_never_run_again(
    executor: Executor, journal: Journal, recovery: Recovery, shop: Shop, stopped: str
) -> None:
    left_by(journal, stopped, WRITE)
    assert recovery.give_up_writes() == []
    assert journal.get("c1").outcome is CallStatus.UNKNOWN
    result = await executor.run(WRITE, OSLO, call_id="c1")
    assert result.status is CallStatus.UNKNOWN
    assert "do not call it again" in result.content
    journal.settle("c1", CallStatus.OK, result="it was booked")
    assert await executor.run(WRITE, OSLO, call_id="c1") == CallResult(CallStatus.OK, "it was booked", 0.0)
    assert shop.bookings == []


async def test_a_repetition_that_comes_before_anybody_looked_finds_the_write_unknown_too(
    executor: Executor, journal: Journal, shop: Shop, stopped: str
) -> None:
    left_by(journal, stopped, WRITE)
    assert (await executor.run(WRITE, OSLO, call_id="c1")).status is CallStatus.UNKNOWN
    assert shop.bookings == []


async def test_an_unfinished_idempotent_call_is_run_again_with_its_key(
    engine: sa.Engine, journal: Journal, recovery: Recovery, shop: Shop, stopped: str
) -> None:
    left_by(journal, stopped, Catalogue(engine).add(IDEMPOTENT))
    await recovery.run_again(recovery.give_up_writes())
    record = journal.get("c1")
    assert (record.outcome, record.attempts, record.idempotency_key) == (CallStatus.OK, 2, "c1")
    assert shop.bookings == ["Oslo"]


async def test_a_repetition_of_an_unfinished_idempotent_call_finishes_it(
    executor: Executor, journal: Journal, shop: Shop, stopped: str
) -> None:
    left_by(journal, stopped, IDEMPOTENT)
    assert (await executor.run(IDEMPOTENT, OSLO, call_id="c1")).status is CallStatus.OK
    assert journal.get("c1").attempts == 2
    assert shop.bookings == ["Oslo"]


@pytest.mark.parametrize("change", ["removed", "changed", "old"])
def test_an_idempotent_call_is_not_run_again_by_another_definition_or_after_its_keys_life(
    engine: sa.Engine, journal: Journal, recovery: Recovery, stopped: str, clock: Clock, change: str
) -> None:
    catalogue = Catalogue(engine)
    left_by(journal, stopped, catalogue.add(IDEMPOTENT))
    if change == "removed":
        catalogue.remove("book")
    elif change == "changed":
        catalogue.add(IDEMPOTENT.model_copy(update={"description": "Elsewhere."}), replace=True)
    else:
        clock.time += KEY_LIFE + timedelta(seconds=1)
    assert recovery.give_up_writes() == []
    assert journal.get("c1").outcome is CallStatus.UNKNOWN


def test_calls_of_a_server_that_lives_are_left_alone(
    tmp_path: Path, journal: Journal, recovery: Recovery, presence: Presence
) -> None:
    neighbour = Presence(tmp_path / "servers")
    for owner in (neighbour.owner, presence.owner):
        left_by(journal, owner, WRITE, owner)
    assert recovery.give_up_writes() == []
    assert {record.outcome for record in journal.list()} == {None}
    neighbour.close()
    recovery.give_up_writes()
    assert journal.get(neighbour.owner).outcome is CallStatus.UNKNOWN
    assert journal.get(presence.owner).outcome is None


def test_a_server_that_dies_while_calls_are_looked_through_is_not_forgotten(
    tmp_path: Path, engine: sa.Engine, executor: Executor, presence: Presence, clock: Clock
) -> None:
    dying = Presence(tmp_path / "servers")

    class ReadAsItDies(Journal):
        def unfinished(self) -> list[CallRecord]:
            before = super().unfinished()
            if not presence.is_gone(dying.owner):
                left_by(self, dying.owner, WRITE)
                dying.close()
            return before

    journal = ReadAsItDies(engine, now=clock)
    recovery = Recovery(journal, presence, Catalogue(engine), executor, now=clock)
    recovery.give_up_writes()
    assert presence.is_gone(dying.owner)
    recovery.give_up_writes()
    assert journal.get("c1").outcome is CallStatus.UNKNOWN


def test_calls_of_a_server_elsewhere_are_given_up_when_nobody_can_be_at_them(
    journal: Journal, recovery: Recovery, clock: Clock
) -> None:
    left_by(journal, "on another machine", WRITE)
    recovery.give_up_writes()
    assert journal.get("c1").outcome is None
    clock.time += timedelta(seconds=WRITE.timeout_s) + GRACE
    recovery.give_up_writes()
    assert journal.get("c1").outcome is CallStatus.UNKNOWN


async def test_the_look_out_outlives_a_database_that_fails(
    engine: sa.Engine, journal: Journal, recovery: Recovery, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.recovery.LOOK_EVERY_S", 0.01)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE tool_calls RENAME TO elsewhere"))
    async with _running(recovery):
        await asyncio.sleep(0.1)
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE elsewhere RENAME TO tool_calls"))
        left_by(journal, stopped, WRITE)
        async with asyncio.timeout(10):
            while journal.get("c1").outcome is None:
                await asyncio.sleep(0.01)
    assert journal.get("c1").outcome is CallStatus.UNKNOWN


@asynccontextmanager
async def _running(recovery: Recovery) -> AsyncIterator[None]:
    task = asyncio.create_task(recovery.follow(()))
    yield
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
