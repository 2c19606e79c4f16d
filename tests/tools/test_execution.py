"""What holds for every backend, seen on small functions of our own; the backends have files of their own."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tools.builtin import builtin_functions, builtin_tools
from tools.execution import Executor
from tools.outcome import failure, refusal
from tools.spec import BuiltinBackend, CallStatus, ClientBackend, ToolSpec


def spec(function: str = "f", **changes: Any) -> ToolSpec:
    given: dict[str, Any] = {"parameters": {"type": "object"}, "backend": BuiltinBackend(function=function)}
    return ToolSpec(name="tool", **(given | changes))


async def outcome(function: Callable[..., Any], arguments: dict[str, Any] | None = None, **changes: Any):
    executor = Executor(builtins={"f": function})
    try:
        return await executor.run(spec(**changes), arguments or {}, call_id="c1")
    finally:
        await executor.close()


@pytest_asyncio.fixture
async def at_home(tmp_path: Path) -> AsyncIterator[Executor]:
    executor = Executor.for_home(tmp_path / "home")
    yield executor
    await executor.close()


async def test_a_result_goes_as_json() -> None:
    result = await outcome(lambda a: {"twice": 2 * a, "word": "là"}, {"a": 4})
    assert (result.status, result.content) == (CallStatus.OK, '{"twice": 8, "word": "là"}')


async def test_latency_is_measured_by_the_given_clock() -> None:
    ticks = iter([1.0, 1.25])
    executor = Executor(builtins={"f": lambda: 1}, clock=lambda: next(ticks))
    assert (await executor.run(spec(), {}, call_id="c1")).latency_ms == 250
    await executor.close()


def refuses() -> None:
    raise refusal("no such city: 'Oz'")


def fails() -> None:
    raise failure("the disk is full")


def crashes() -> None:
    raise KeyError("missing\nkey " + "x" * 5_000)


@pytest.mark.parametrize(
    ("function", "status", "message"),
    [
        (refuses, CallStatus.REJECTED, "no such city: 'Oz'"),
        (fails, CallStatus.FAILED, "the disk is full"),
        (crashes, CallStatus.FAILED, "tool broke: KeyError"),
        (lambda: float("nan"), CallStatus.FAILED, "tool broke: ValueError"),
        (lambda: object(), CallStatus.FAILED, "tool broke: TypeError"),
        (lambda: "x" * 100_000, CallStatus.FAILED, "100,002 bytes, more than the limit of 65,536"),
        (lambda unexpected: 1, CallStatus.FAILED, "tool broke: TypeError"),
    ],
)
async def test_every_fault_is_a_short_outcome(function: Callable[..., Any], status: CallStatus, message: str) -> None:
    result = await outcome(function)
    assert result.status is status
    told = json.loads(result.content)
    assert told["error"] == status.value
    assert message in told["message"]
    assert len(told["message"]) <= 600


async def test_a_function_that_hangs_runs_out_of_time() -> None:
    release = threading.Event()
    try:
        result = await outcome(release.wait, timeout_s=0.1)
    finally:
        release.set()
    assert result.status is CallStatus.TIMEOUT


async def test_a_timeout_of_the_tools_own_is_not_ours() -> None:
    def times_out() -> None:
        raise TimeoutError("the printer did not answer")

    result = await outcome(times_out)
    assert result.status is CallStatus.FAILED
    assert "the printer did not answer" in result.content


async def test_a_cancelled_turn_is_cancelled() -> None:
    release = threading.Event()
    turn = asyncio.create_task(outcome(release.wait))
    await asyncio.sleep(0)
    turn.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await turn


async def test_an_unknown_function_is_an_unknown_tool() -> None:
    result = await outcome(lambda: 1, backend=BuiltinBackend(function="g"))
    assert result.status is CallStatus.UNKNOWN_TOOL
    assert "there are: f" in result.content


async def test_a_clients_tool_does_not_run_here() -> None:
    result = await outcome(lambda: 1, backend=ClientBackend())
    assert result.status is CallStatus.FAILED
    assert "at the chat client" in result.content


def test_every_builtin_has_a_function_and_a_sound_contract(tmp_path: Path) -> None:
    from tools.catalogue import check_spec

    tools = builtin_tools(tmp_path)
    assert {tool.name for tool in tools} == set(builtin_functions(tmp_path))
    for tool in tools:
        check_spec(tool)
        assert tool.description
        assert tool.parameters["additionalProperties"] is False
        for schema in tool.parameters["properties"].values():
            assert schema["description"]
    assert list(tmp_path.iterdir()) == []


async def test_builtins_run_from_their_specs(at_home: Executor, tmp_path: Path) -> None:
    tools = {tool.name: tool for tool in builtin_tools(tmp_path / "home")}

    async def run(name: str, **arguments: Any) -> Any:
        result = await at_home.run(tools[name], arguments, call_id="c1")
        assert result.status is CallStatus.OK, result.content
        return json.loads(result.content)

    assert await run("calculate", expression="6 * 7") == {"value": 42}
    assert await run("convert_units", value=10, from_unit="km", to_unit="miles") == {
        "value": 6.213711922,
        "unit": "mile",
    }
    assert await run("describe_numbers", numbers=[1, 2, 6], measure="mean") == {
        "measure": "mean",
        "value": 3,
        "count": 3,
    }
    assert (await run("convert_time", time="2026-01-05 09:30", from_zone="Paris", to_zone="Tokyo"))[
        "time"
    ] == "2026-01-05 17:30"
    assert await run("add_task", title="Water the plants", due="2026-06-01") == {
        "task_id": 1,
        "title": "Water the plants",
        "status": "open",
        "due": "2026-06-01",
    }
    assert (await run("list_tasks", status="open"))["total"] == 1


async def test_a_builtin_refuses_in_words(at_home: Executor, tmp_path: Path) -> None:
    tools = {tool.name: tool for tool in builtin_tools(tmp_path / "home")}
    arguments = {"value": 3, "from_unit": "metres", "to_unit": "kg"}
    result = await at_home.run(tools["convert_units"], arguments, call_id="c1")
    assert result.status is CallStatus.REJECTED
    assert "'metres' cannot become 'kg'" in result.content
    wrong = await at_home.run(tools["add_task"], {"title": "x", "due": "Friday"}, call_id="c2")
    assert wrong.status is CallStatus.BAD_ARGUMENTS
    assert "YYYY-MM-DD" in wrong.content
