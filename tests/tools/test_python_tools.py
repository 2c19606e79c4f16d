"""Functions of the embedding program as tools."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, Any, Literal

import pytest
import pytest_asyncio
from pydantic import BaseModel, Field

from tools import PythonTools, refusal
from tools.catalogue import check_spec
from tools.errors import BadToolSpec, DuplicateTool
from tools.execution import Executor
from tools.python_tools import MOST_LEFT
from tools.spec import CallStatus, PythonBackend, SideEffect, ToolSpec


class Parcel(BaseModel):
    weight_kg: float
    fragile: bool = False


@pytest.fixture
def tools() -> PythonTools:
    return PythonTools()


@pytest_asyncio.fixture
async def executor(tools: PythonTools) -> AsyncIterator[Executor]:
    executor = Executor(python=tools)
    yield executor
    await executor.close()


def spec(tools: PythonTools) -> ToolSpec:
    (only,) = tools.specs
    return only


def test_the_schema_comes_from_the_hints(tools: PythonTools) -> None:
    @tools.tool(side_effect=SideEffect.READ, timeout_s=3)
    def shipping(
        parcel: Parcel, country: Literal["DE", "FR"], json: Annotated[int, Field(gt=0, description="Copies.")] = 1
    ) -> float:
        """What it costs to send a parcel."""
        return parcel.weight_kg * json

    made = spec(tools)
    check_spec(made)
    assert (made.name, made.description) == ("shipping", "What it costs to send a parcel.")
    assert (made.side_effect, made.timeout_s, made.backend) == (
        SideEffect.READ,
        3,
        PythonBackend(function="shipping"),
    )
    assert made.required == ("parcel", "country")
    assert made.parameters["properties"]["country"] == {"enum": ["DE", "FR"], "type": "string"}
    copies = {"default": 1, "description": "Copies.", "exclusiveMinimum": 0, "type": "integer"}
    assert made.parameters["properties"]["json"] == copies
    assert made.parameters["additionalProperties"] is False


def test_a_function_that_says_nothing_counts_as_a_write(tools: PythonTools) -> None:
    tools.tool(ping)
    assert spec(tools).side_effect is SideEffect.WRITE


def ping() -> str:
    return "pong"


async def test_arguments_reach_the_function_as_its_types(tools: PythonTools, executor: Executor) -> None:
    seen: list[Any] = []

    @tools.tool
    def plan(parcel: Parcel, day: date, note: str = "none") -> dict[str, Any]:
        seen.extend([parcel, day, note, threading.current_thread().name])
        return {"day": day, "weights": (parcel.weight_kg,)}

    result = await executor.run(spec(tools), {"parcel": {"weight_kg": 2}, "day": "2026-05-01"}, call_id="c1")
    assert (result.status, result.content) == (CallStatus.OK, '{"day":"2026-05-01","weights":[2.0]}')
    assert seen == [Parcel(weight_kg=2), date(2026, 5, 1), "none", "tool plan"]


async def test_coroutines_run_in_the_loop(tools: PythonTools, executor: Executor) -> None:
    @tools.tool
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    result = await executor.run(spec(tools), {}, call_id="c1")
    assert "MainThread" in result.content


def _refuses() -> None:
    raise refusal("no parcels on Sundays")


def _breaks() -> None:
    raise KeyError("tariff")


def _ends_the_program() -> None:
    raise SystemExit(3)


def _unsayable() -> object:
    return object()


@pytest.mark.parametrize(
    ("function", "status", "told"),
    [
        (_refuses, CallStatus.REJECTED, "no parcels on Sundays"),
        (_breaks, CallStatus.UNKNOWN, "KeyError: 'tariff'"),
        (_ends_the_program, CallStatus.UNKNOWN, "tried to end the program: SystemExit(3)"),
        (_unsayable, CallStatus.UNKNOWN, "not JSON"),
    ],
)
async def test_what_goes_wrong_is_an_outcome(
    tools: PythonTools, executor: Executor, function: Any, status: CallStatus, told: str
) -> None:
    tools.tool(function)
    result = await executor.run(spec(tools), {}, call_id="c1")
    assert result.status is status, result
    assert told in result.content


async def test_arguments_that_only_the_types_refuse_are_a_rejection(tools: PythonTools, executor: Executor) -> None:
    @tools.tool
    def even(number: Annotated[int, Field(multiple_of=2)], day: date) -> int:
        return number

    bad = await executor.run(spec(tools), {"number": 3, "day": "2026-05-01"}, call_id="c1")
    assert bad.status is CallStatus.BAD_ARGUMENTS
    worse = await executor.run(spec(tools), {"number": 2, "day": "2026-02-30"}, call_id="c2")
    assert worse.status in (CallStatus.BAD_ARGUMENTS, CallStatus.REJECTED)
    assert "day" in worse.content


async def test_functions_that_never_end_run_out_of_time_and_hold_up_nothing(
    tools: PythonTools, executor: Executor
) -> None:
    over = threading.Event()

    @tools.tool(timeout_s=0.05, side_effect=SideEffect.READ)
    def stuck() -> None:
        over.wait()

    for number in range(MOST_LEFT):
        result = await executor.run(spec(tools), {}, call_id=f"c{number}")
        assert result.status is CallStatus.TIMEOUT
    full = await executor.run(spec(tools), {}, call_id="c")
    assert full.status is CallStatus.FAILED
    assert "have not ended yet" in full.content
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 5) == "free"
    over.set()


async def test_a_function_that_is_not_here_is_named(executor: Executor) -> None:
    elsewhere = ToolSpec(name="elsewhere", parameters={"type": "object"}, backend=PythonBackend(function="elsewhere"))
    result = await executor.run(elsewhere, {}, call_id="c1")
    assert result.status is CallStatus.UNKNOWN_TOOL
    assert "no Python function 'elsewhere'" in result.content


class _Opaque:
    pass


def _untyped(a): ...  # type: ignore[no-untyped-def]


def _many(*a: int) -> None: ...


def _opaque(a: _Opaque) -> None: ...


def _unknown(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (_untyped, "parameter 'a' of '_untyped' has no type hint"),
        (_many, "arguments have names"),
        (_opaque, "cannot be described"),
        (_unknown, "type hints of '_unknown' cannot be read"),
    ],
)
def test_a_function_that_no_schema_describes_is_refused(tools: PythonTools, function: Any, told: str) -> None:
    with pytest.raises(BadToolSpec, match=told):
        tools.tool(function)
    assert tools.specs == []


def test_a_taken_name_and_a_bad_one_are_refused(tools: PythonTools) -> None:
    tools.tool(ping)
    with pytest.raises(DuplicateTool, match="'ping'"):
        tools.tool(ping)
    with pytest.raises(BadToolSpec, match=r"\$\.name"):
        tools.tool(name="two words")(ping)
