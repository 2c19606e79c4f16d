"""What a key, a tenant and the server may do: buckets, places, and how a refusal is told."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from runtime.access.keys import KeyLimits
from runtime.access.limits import Limits, Measure, Payer, WaitingRoom
from runtime.access.roles import Role
from runtime.errors import Overloaded, RateLimited
from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import ServedApp, served_app
from tools.tenancy import for_tenant


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_come_back_evenly_and_the_refusal_says_when() -> None:
    clock = Clock()
    limits, who = Limits(clock=clock), (Payer("key a", Measure(requests_per_minute=2)),)
    first, second = limits.enter(who), limits.enter(who)
    assert [told.requests.remaining for told in (first, second) if told.requests] == [1, 0]
    with pytest.raises(RateLimited, match="key a may send 2 requests a minute") as refused:
        limits.enter(who)
    assert refused.value.retry_s == pytest.approx(30)
    assert refused.value.told["x-ratelimit-reset-requests"] == "60.000s"
    clock.now = 30
    assert limits.enter(who).headers()["x-ratelimit-remaining-requests"] == "0"


def test_tokens_are_paid_for_afterwards_and_what_is_owed_is_waited_for() -> None:
    clock = Clock()
    limits, who = Limits(clock=clock), (Payer("key a", Measure(tokens_per_minute=100)),)
    limits.enter(who)
    limits.pay(who, 250)
    with pytest.raises(RateLimited, match="100 tokens a minute") as refused:
        limits.enter(who)
    assert refused.value.retry_s == pytest.approx(90.6)
    clock.now = 91
    limits.enter(who)


def test_a_tenants_bound_is_shared_by_its_keys_and_a_refusal_counts_nothing() -> None:
    limits = Limits(clock=Clock())
    tenant = Payer("tenant t", Measure(concurrency=2))
    a, b = (Payer("key a", Measure(requests_per_minute=5)), tenant), (Payer("key b", Measure()), tenant)
    limits.enter(a)
    limits.enter(b)
    with pytest.raises(RateLimited, match="tenant t may have 2 requests under way"):
        limits.enter(a)
    told = limits.told(a).requests
    assert told is not None
    assert told.remaining == 4
    limits.leave(b)
    limits.enter(a)


async def test_places_go_in_the_order_of_coming_and_the_waiting_room_is_bounded() -> None:
    room = WaitingRoom(running=1, waiting=2, wait_s=5)
    first = await room.enter()
    waiting = [asyncio.create_task(room.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="runs 1 turns and 2 wait"):
        await room.enter()
    first.give_back()
    first.give_back()
    second = await waiting[0]
    assert not waiting[1].done()
    second.give_back()
    (await waiting[1]).give_back()
    assert (room.running, room.waiting) == (0, 0)


async def test_nobody_waits_longer_than_said_and_who_goes_away_leaves_no_hole() -> None:
    room = WaitingRoom(running=1, waiting=5, wait_s=0.05)
    first = await room.enter()
    with pytest.raises(Overloaded, match=r"no turn ended within 0\.05 s"):
        await room.enter()
    leaving = asyncio.create_task(room.enter())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    first.give_back()
    assert (room.running, room.waiting) == (0, 0)
    (await room.enter()).give_back()


@pytest.fixture
def small(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    """A server with one place and one chair, whose policy takes half a second."""
    with served_app(tmp_path, renderer, ["Hello."] * 200, max_turns=1, max_waiting=1, reader_stall_s=1.0) as served:
        write = served.policy.sample

        async def slowly(*args, **kwargs):
            await asyncio.sleep(0.5)
            return await write(*args, **kwargs)

        served.policy.sample = slowly  # type: ignore[method-assign]
        yield served


def test_overload_is_refused_at_once_and_politely_while_the_admitted_are_served(small: ServedApp) -> None:
    answers: list[tuple[int, float, httpx2.Headers]] = []

    def ask() -> None:
        with httpx2.Client(base_url=small.url, timeout=30) as http:
            http.get("/livez")  # the connection is there before the clock runs
            ready.wait()
            began = time.perf_counter()
            got = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]})
            answers.append((got.status_code, time.perf_counter() - began, got.headers))

    ready = threading.Barrier(10)
    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [(seconds, headers) for status, seconds, headers in answers if status == 429]
    assert sorted(status for status, *_ in answers) == [200, 200] + [429] * 8
    # on the server's own clock, since ten clients start on the same cores; how long in figures: `docs/log.md`
    told = {
        status: sorted(int(h["openai-processing-ms"]) for s, _, h in answers if s == status) for status in (200, 429)
    }
    assert told[429][len(refused) // 2] < told[200][0]
    for _, headers in refused:
        assert (headers["retry-after"], headers["x-should-retry"]) == ("1", "true")


def test_a_reader_that_takes_nothing_holds_no_place(small: ServedApp) -> None:
    body = b'{"stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as lazy:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        lazy.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(1)
        for _ in range(3):
            assert small.chat("Hi").status_code == 200


def test_each_key_has_its_own_measure_and_is_told_where_it_stands(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer, ["Hello."] * 20, key_requests_per_minute=50) as server, for_tenant("acme"):
        keys = server.services.keys
        _, tight = keys.create("tight", role=Role.USER, limits=KeyLimits(requests_per_minute=1, tokens_per_minute=5))
        _, usual = keys.create("usual", role=Role.USER)
        body = {"messages": [{"role": "user", "content": "Hi"}]}

        def ask(key: str) -> httpx2.Response:
            return server.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})

        first = ask(tight)
        assert (first.status_code, first.headers["x-ratelimit-remaining-requests"]) == (200, "0")
        assert first.headers["x-ratelimit-limit-tokens"] == "5"
        second = ask(tight)
        assert second.status_code == 429
        assert second.json()["error"]["code"] == "rate_limit_exceeded"
        assert 0 < int(second.headers["retry-after"]) <= 600
        assert second.headers["x-ratelimit-remaining-requests"] == "0"
        assert [ask(usual).headers["x-ratelimit-remaining-requests"] for _ in range(2)] == ["49", "48"]


def test_a_turn_whose_tool_runs_keeps_its_place_until_it_ends(tmp_path: Path, renderer: Renderer) -> None:
    script = [execute(("weather", {"city": "Rome"})), "Sunny."]
    with served_app(tmp_path, renderer, script, tools=[tool()], results={"weather": "sun"}, max_turns=1) as server:
        assert server.chat("weather in Rome?").status_code == 200
        deadline = time.monotonic() + 5
        while server.services.waiting_room.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.services.waiting_room.running == 0
