"""Servers side by side on one PostgreSQL, each with a home of its own as on machines of their own."""

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from runtime.agent.tables import servers
from runtime.presence import LEASE_S, SharedPresence
from tests.faults.counting_service import SECRET, CountingService
from tests.faults.killed_server import Server, register
from tests.tools.serving import serving

TAKEN_UP_WITHIN_S = 10.0


@pytest.fixture
def shared(postgres: str, database_numbers: Iterator[int]) -> str:
    """URL of an empty PostgreSQL database."""
    name = f"shared_{os.getpid()}_{next(database_numbers)}"
    admin = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return sa.make_url(postgres).set(database=name).render_as_string(hide_password=False)


class SlowService(CountingService):
    """Takes its time, so that a server can be killed meanwhile."""

    async def _pause(self) -> None:
        await asyncio.sleep(0.6)


@contextmanager
def two_servers(home: Path, database_url: str, service: CountingService) -> Iterator[tuple[Server, Server]]:
    with serving(service.app()) as url, ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_SECRET_COUNTING", SECRET)
        patch.setenv("HONE_HOSTS_COUNTING", url.removeprefix("http://"))
        register(home / "a", url, "write", "keyed", "read", database_url=database_url)
        both = [Server(home / name, settings={"database_url": database_url}) for name in ("a", "b")]
        for server in both:
            server.begin()  # both at once, on tables that are not there yet
            stack.callback(server.kill)
        for server in both:
            server.wait()
        yield both[0], both[1]


def say(server: Server, text: str, **headers: str) -> dict[str, Any]:
    body = {"model": "hone", "metadata": {"thread": "t"}, "messages": [{"role": "user", "content": text}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(f"{server.url}/v1/chat/completions", json=body, headers=named, timeout=60).json()


def statuses(reply: dict[str, Any]) -> list[tuple[str, str]]:
    return [(call["tool"], call["status"]) for step in reply["hone"]["steps"] for call in step.get("calls", ())]


@pytest.mark.timeout(240)
def test_a_thread_is_talked_in_through_both_and_a_turn_of_one_that_is_killed_ends_at_the_other(
    tmp_path: Path, shared: str
) -> None:
    service = SlowService()
    with two_servers(tmp_path, shared, service) as (first, second), ThreadPoolExecutor(4) as pool:
        assert statuses(say(first, "call read 1")) == [("read", "ok")]
        # the same thread, at the same time, through both: one after the other
        at_once = [pool.submit(say, server, f"call read {n}") for n, server in ((2, first), (3, second))]
        assert [statuses(each.result()) for each in at_once] == [[("read", "ok")]] * 2
        # the first dies in the middle of a call, and its client turns to the second
        lost = pool.submit(say, first, "call keyed 4, then call write 5", idempotency_key="k")
        wait_for(lambda: ("keyed", 4) in service.asked)
        first.kill()
        began = time.monotonic()
        reply = say(second, "call keyed 4, then call write 5", idempotency_key="k")
        took = time.monotonic() - began
        assert lost.exception() is not None
        assert statuses(reply) == [("keyed", "ok"), ("write", "ok")]
        assert took < TAKEN_UP_WITHIN_S
        assert service.effects.total() == 5, "each once: three that read, one keyed, one write"
        trace = httpx2.get(f"{second.url}/v1/traces/{reply['hone']['trace']}", timeout=30).json()
        assert (trace["status"], trace["runs"]) == ("finished", 2)
        # and one that dies in the middle of a write is told as what it is: nobody knows
        first.start()
        lost = pool.submit(say, first, "call write 6", idempotency_key="w")
        wait_for(lambda: ("write", 6) in service.asked)
        first.kill()
        assert statuses(say(second, "call write 6", idempotency_key="w")) == [("write", "unknown")]
        assert service.asked["write", 6].total() == 1
        listed = httpx2.get(f"{second.url}/v1/traces", params={"thread": "t"}, timeout=30).json()["data"]
        assert [each["status"] for each in listed] == ["finished"] * 5
        erased = httpx2.delete(f"{second.url}/v1/threads/t", timeout=30)
        assert erased.status_code == 409, "its unknown call wants a word first"
        call = httpx2.get(f"{second.url}/v1/tool-calls", params={"status": "unknown"}, timeout=30).json()["data"][0]
        settled = httpx2.post(f"{second.url}/v1/tool-calls/{call['id']}/settle", json={"status": "ok"}, timeout=30)
        assert settled.status_code == 200, settled.text
        assert httpx2.delete(f"{second.url}/v1/threads/t", timeout=30).json()["erased"]["traces"] == 5
        engine = sa.create_engine(shared)
        with engine.connect() as connection:
            left = "SELECT count(*) FROM checkpoints WHERE thread_id = 't'"
            assert connection.scalar(sa.text(left)) == 0
        engine.dispose()


def wait_for(happened: Any) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_process_that_says_nothing_is_taken_for_dead_by_those_of_other_homes(
    tmp_path: Path, engine: sa.Engine
) -> None:
    me, other = SharedPresence(tmp_path / "a", engine), SharedPresence(tmp_path / "b", engine)
    me.beat()
    assert not me.is_gone(other.owner)
    if engine.dialect.name == "postgresql":
        assert not me.has_left(other.owner)
        with engine.begin() as connection:
            late = sa.text(f"UPDATE servers SET until = until - interval '{LEASE_S + 1} s' WHERE owner = :owner")
            connection.execute(late, {"owner": other.owner})
        me.beat()
        assert me.has_left(other.owner)
        other.beat()
        me.beat()
        assert not me.has_left(other.owner)
        other.close()
        me.beat()
        assert me.has_left(other.owner)
    else:
        assert me.has_left(other.owner), "all processes of a SQLite database share one folder"
        with engine.connect() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(servers)) == 0
        other.close()
    me.close()


def test_a_process_of_the_same_home_that_lives_is_never_taken_for_dead(tmp_path: Path, engine: sa.Engine) -> None:
    me, neighbour = SharedPresence(tmp_path, engine), SharedPresence(tmp_path, engine)
    with engine.begin() as connection:
        connection.execute(sa.update(servers).values(until=sa.func.now()))
    me.beat()
    assert not me.has_left(neighbour.owner), "it may be slow, and its lock says that it lives"
    neighbour.close()
    me.beat()
    assert me.has_left(neighbour.owner)
    me.close()
