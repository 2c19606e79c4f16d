"""Bounds on the calls of one tool, on functions of our own."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tools.execution import Executor
from tools.outcome import CallResult
from tools.spec import BuiltinBackend, CallStatus, ToolSpec


class Gauge:
    """Counts how many of its calls run at once; each ends when the gate is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running = 0
        self.most = 0
        self.gate = threading.Event()

    def __call__(self) -> int:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(10)
        with self._lock:
            self.running -= 1
        return 1


@pytest.fixture
def gauge() -> Gauge:
    return Gauge()


@pytest_asyncio.fixture
async def executor(gauge: Gauge) -> AsyncIterator[Executor]:
    executor = Executor(builtins={"f": gauge, "g": lambda: 1})
    yield executor
    gauge.gate.set()
    await executor.close()


def tool(function: str = "f", **limits: Any) -> ToolSpec:
    return ToolSpec(name="tool", parameters={"type": "object"}, backend=BuiltinBackend(function=function), **limits)


async def calls(executor: Executor, spec: ToolSpec, count: int) -> list[CallResult]:
    return await asyncio.gather(*(executor.run(spec, {}, call_id=f"c{n}") for n in range(count)))


async def until_running(gauge: Gauge, count: int) -> None:
    async with asyncio.timeout(5):
        while gauge.running < count:
            await asyncio.sleep(0.001)


async def test_no_more_calls_run_at_a_time_than_the_tool_takes(executor: Executor, gauge: Gauge) -> None:
    running = asyncio.create_task(calls(executor, tool(max_concurrent=2), 6))
    await until_running(gauge, 2)
    gauge.gate.set()
    assert {result.status for result in await running} == {CallStatus.OK}
    assert gauge.most == 2


async def test_who_finds_no_place_in_time_is_told_the_bound(executor: Executor, gauge: Gauge) -> None:
    holding = asyncio.create_task(executor.run(tool(max_concurrent=1), {}, call_id="c1"))
    await until_running(gauge, 1)
    late = await executor.run(tool(max_concurrent=1, timeout_s=0.5), {}, call_id="c2")
    assert late.status is CallStatus.BUSY
    told = json.loads(late.content)
    assert told["error"] == "busy"
    assert "1 at a time" in told["message"]
    assert "not called" in told["message"]
    gauge.gate.set()
    assert (await holding).status is CallStatus.OK
    assert (await executor.run(tool(max_concurrent=1), {}, call_id="c3")).status is CallStatus.OK


async def test_calls_beyond_the_rate_are_told_so(executor: Executor) -> None:
    spec = tool("g", max_per_minute=3, timeout_s=0.5)
    results = await calls(executor, spec, 5)
    assert sorted(result.status for result in results) == [CallStatus.BUSY] * 2 + [CallStatus.OK] * 3
    assert any("3 a minute" in result.content for result in results)


async def test_a_new_bound_holds_for_the_next_call(executor: Executor) -> None:
    assert (await calls(executor, tool("g", max_per_minute=1, timeout_s=0.5), 2))[1].status is CallStatus.BUSY
    widened = await calls(executor, tool("g", max_per_minute=5, timeout_s=0.5), 2)
    assert [result.status for result in widened] == [CallStatus.OK] * 2


async def test_a_call_that_is_given_up_while_it_waits_keeps_no_place(executor: Executor, gauge: Gauge) -> None:
    holding = asyncio.create_task(executor.run(tool(max_concurrent=1), {}, call_id="c1"))
    await until_running(gauge, 1)
    waiting = asyncio.create_task(executor.run(tool(max_concurrent=1), {}, call_id="c2"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gauge.gate.set()
    await holding
    assert (await executor.run(tool(max_concurrent=1), {}, call_id="c3")).status is CallStatus.OK


def test_a_tool_without_bounds_keeps_its_digest() -> None:
    plain = tool()
    assert "max_concurrent" not in plain.model_dump()
    assert "max_per_minute" not in plain.model_dump()
    assert tool(max_concurrent=1).sha256 != plain.sha256
