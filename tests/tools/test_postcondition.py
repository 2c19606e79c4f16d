"""Checks after a call: what they may say, and what comes of the call when they do not hold."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from runtime.database import open_database
from tools.catalogue import Catalogue, check_spec
from tools.errors import BadToolSpec, ToolError, UnknownTool
from tools.execution import Executor
from tools.postcondition import Unconfirmed, confirm
from tools.spec import BuiltinBackend, CallStatus, Postcondition, ReadBack, SideEffect, ToolSpec

QUANTITY = {"type": "object", "properties": {"quantity": {"type": "integer"}}, "required": ["quantity"]}
ORDER_ID = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
READ_BACK = ReadBack(tool="get_order", arguments={"id": "result.id"})
HOLDS = Postcondition(holds="read.quantity == arguments.quantity", read=READ_BACK)


def order(check: Postcondition | None, name: str = "order") -> ToolSpec:
    return ToolSpec(
        name=name,
        parameters=QUANTITY,
        backend=BuiltinBackend(function="order"),
        side_effect=SideEffect.WRITE,
        postcondition=check,
    )


GET_ORDER = ToolSpec(name="get_order", parameters=ORDER_ID, backend=BuiltinBackend(function="get_order"))


def find(name: str) -> ToolSpec:
    if name != GET_ORDER.name:
        raise UnknownTool(f"no tool is named {name!r}")
    return GET_ORDER


def shop(*kept: int, answer: Any = None) -> Executor:
    """A service that keeps the quantities given, one reading after the other, whatever was ordered."""
    seen = deque(kept)

    def get_order(id: int) -> dict[str, int]:
        return {"id": id, "quantity": seen.popleft() if len(seen) > 1 else seen[0]}

    async def at_once(seconds: float) -> None:
        pass

    functions: dict[str, Callable[..., Any]] = {
        "order": lambda quantity: {"id": 7} if answer is None else answer,
        "get_order": get_order,
    }
    return Executor(builtins=functions, find=find, sleep=at_once)


async def test_a_call_whose_check_holds_is_ok() -> None:
    result = await shop(3).run(order(HOLDS), {"quantity": 3}, call_id="c")
    assert (result.status, result.content) == (CallStatus.OK, '{"id": 7}')


async def test_a_call_that_says_it_worked_and_did_not_is_unconfirmed() -> None:
    result = await shop(0).run(order(HOLDS), {"quantity": 3}, call_id="c")
    assert result.status is CallStatus.UNCONFIRMED
    assert "read.quantity == arguments.quantity is false" in result.content
    assert "it said: " in result.content


async def test_what_is_read_may_come_late_where_the_check_says_so() -> None:
    patient = HOLDS.model_copy(update={"within_s": 5.0})
    assert (await shop(0, 0, 3).run(order(patient), {"quantity": 3}, call_id="c")).status is CallStatus.OK
    assert (await shop(0, 0, 3).run(order(HOLDS), {"quantity": 3}, call_id="c")).status is CallStatus.UNCONFIRMED


@pytest.mark.parametrize(
    ("answer", "told"),
    [({"number": 7}, "there is no"), ("done", "result.id"), ({"id": "seven"}, "get_order could not read it")],
)
async def test_a_check_that_cannot_be_made_confirms_nothing(answer: Any, told: str) -> None:
    result = await shop(3, answer=answer).run(order(HOLDS), {"quantity": 3}, call_id="c")
    assert result.status is CallStatus.UNCONFIRMED
    assert told in result.content


async def test_a_reader_that_is_gone_confirms_nothing() -> None:
    gone = Postcondition(holds="true", read=ReadBack(tool="gone"))
    result = await shop(3).run(order(gone), {"quantity": 3}, call_id="c")
    assert result.status is CallStatus.UNCONFIRMED
    assert "'gone'" in result.content


async def test_a_call_that_failed_is_not_checked() -> None:
    executor = Executor(builtins={}, find=find)
    assert (await executor.run(order(HOLDS), {"quantity": 3}, call_id="c")).status is not CallStatus.UNCONFIRMED


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_only_true_confirms(answer: Any) -> None:
    check = Postcondition(holds="result")
    text = {True: "true", False: "false"}.get(answer, "") if isinstance(answer, bool) else repr(answer)
    if answer is True:
        confirm(check, {}, text)
    else:
        with pytest.raises(Unconfirmed):
            confirm(check, {}, text)


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (Postcondition(holds="result."), r"\$\.postcondition\.holds: .*CEL"),
        (Postcondition(holds="read.id == 1"), "read is not known here"),
        (Postcondition(holds="results.id == 1"), "results is not known here"),
        (Postcondition(holds="arguments.quantities == 1"), "no argument 'quantities'; there are: quantity"),
        (Postcondition(holds="exec(result)"), "'exec'"),
        (Postcondition(holds="result.all(a, result.all(b, a == b))"), "more than one"),
        (
            Postcondition(holds="true", read=ReadBack(tool="get_order", arguments={"id": "read.id"})),
            r"\$\.postcondition\.read\.arguments\.id: read is not known",
        ),
    ],
)
def test_a_check_that_cannot_work_is_refused_at_registration(check: Postcondition, told: str) -> None:
    with pytest.raises(BadToolSpec, match=told):
        check_spec(order(check))


def test_a_loop_over_what_came_back_may_name_its_variable() -> None:
    check_spec(order(Postcondition(holds="result.lines.exists(line, line.quantity == arguments.quantity)")))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path / 'hone.db'}")


def test_a_reader_must_be_registered_and_only_read(engine: Engine) -> None:
    catalogue = Catalogue(engine)
    with pytest.raises(BadToolSpec, match=r"get_order.*register it first"):
        catalogue.add(order(HOLDS))
    assert catalogue.list() == []
    catalogue.add_all([order(HOLDS), GET_ORDER])
    assert catalogue.get("order").postcondition == HOLDS
    itself = Postcondition(holds="true", read=ReadBack(tool="order"))
    with pytest.raises(ToolError, match="'order' does not only read"):
        catalogue.add(order(itself, "again"))
