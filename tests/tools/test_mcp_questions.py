"""Tools that ask the user in the middle of a call: servers of both protocol eras, real and over stdio."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.tools.mcp_environments import python_of
from tests.tools.serving import to_this_machine
from tools.execution import CallResult, Executor
from tools.held_calls import HeldCalls
from tools.mcp_sessions import McpSessions
from tools.question import Answer, Question, read_answer
from tools.spec import CallStatus, McpBackend, McpStdioServer, SideEffect, ToolSpec

HERE = Path(__file__).parent
PARAMETERS = {"type": "object", "properties": {"table": {"type": "string"}, "area": {"type": "string"}}}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture(params=["2026-07-28", "handshake"])
def server(request: pytest.FixtureRequest, log: Path) -> McpStdioServer:
    if request.param == "handshake":
        return McpStdioServer(command=python_of("sqlite"), args=(str(HERE / "old_asking_server.py"), str(log)))
    return McpStdioServer(command=sys.executable, args=(str(HERE / "asking_server.py"), str(log)))


@pytest_asyncio.fixture
async def executor() -> AsyncIterator[Executor]:
    executor = Executor(mcp=McpSessions(to_this_machine()))
    yield executor
    await executor.close()


def tool(server: McpStdioServer, name: str, side_effect: SideEffect) -> ToolSpec:
    backend = McpBackend(server=server, remote_name=name)
    return ToolSpec(name=name, parameters=PARAMETERS, backend=backend, side_effect=side_effect, timeout_s=30)


def book(server: McpStdioServer) -> ToolSpec:
    return tool(server, "book", SideEffect.WRITE)


def find(server: McpStdioServer) -> ToolSpec:
    return tool(server, "find", SideEffect.READ)


def answered(asked: CallResult, text: str) -> Answer:
    assert asked.question is not None, asked
    answer = read_answer(asked.question, text)
    assert answer is not None
    return answer


async def test_a_call_stops_to_ask_and_goes_on_with_the_answer(
    executor: Executor, server: McpStdioServer, log: Path
) -> None:
    arguments = {"table": "table 7"}
    asked = await executor.run(book(server), arguments, call_id="c1")
    assert asked.status is CallStatus.INPUT_REQUIRED
    assert asked.question is not None
    assert (asked.question.message, asked.question.fields) == ("For how many people?", ("people",))
    assert "booked" not in log.read_text()
    done = await executor.run(book(server), arguments, call_id="c2", answer=answered(asked, "4"))
    assert (done.status, done.content) == (CallStatus.OK, "table 7 is booked for 4")
    assert log.read_text().count("booked") == 1
    assert log.read_text().count("asked") <= 1  # it was one call, not two


async def test_several_questions_are_asked_one_after_the_other(executor: Executor, server: McpStdioServer) -> None:
    arguments = {"area": "outside"}
    first = await executor.run(find(server), arguments, call_id="c1")
    second = await executor.run(find(server), arguments, call_id="c2", answer=answered(first, "2"))
    assert second.status is CallStatus.INPUT_REQUIRED, second
    assert second.question is not None
    words = {"people": "2", "name": "Ada Young"}
    done = await executor.run(
        find(server), arguments, call_id="c3", answer=answered(second, words[second.question.fields[0]])
    )
    assert done.content == "table 7 outside seats 2, kept for Ada Young"


async def test_a_declined_question_ends_the_call_without_effect(
    executor: Executor, server: McpStdioServer, log: Path
) -> None:
    asked = await executor.run(book(server), {"table": "table 7"}, call_id="c1")
    done = await executor.run(book(server), {"table": "table 7"}, call_id="c2", answer=answered(asked, "never mind"))
    assert done.status in (CallStatus.OK, CallStatus.REJECTED)
    assert "booked for" not in done.content
    assert "booked" not in log.read_text()


async def test_a_write_that_no_longer_waits_is_not_made_again(server: McpStdioServer, log: Path) -> None:
    before, after = Executor(mcp=McpSessions(to_this_machine())), Executor(mcp=McpSessions(to_this_machine()))
    asked = await before.run(book(server), {"table": "table 7"}, call_id="c1")
    await before.close()  # as when hone is started anew
    begun = log.read_text()
    done = await after.run(book(server), {"table": "table 7"}, call_id="c2", answer=answered(asked, "4"))
    await after.close()
    assert done.status is CallStatus.UNKNOWN
    assert "no longer waits for the answer" in done.content
    assert log.read_text() == begun


async def test_a_read_that_no_longer_waits_is_made_again_with_the_answer(server: McpStdioServer) -> None:
    before, after = Executor(mcp=McpSessions(to_this_machine())), Executor(mcp=McpSessions(to_this_machine()))
    asked = await before.run(find(server), {"area": "outside"}, call_id="c1")
    await before.close()
    assert asked.question is not None
    words = {"people": "2", "name": "Ada"}
    next_one = await after.run(
        find(server), {"area": "outside"}, call_id="c2", answer=answered(asked, words[asked.question.fields[0]])
    )
    assert next_one.status is CallStatus.INPUT_REQUIRED
    assert next_one.question is not None
    await after.close()


async def test_a_question_that_nobody_answers_is_given_up(server: McpStdioServer, log: Path) -> None:
    held = HeldCalls(limit_s=0.05)
    executor = Executor(mcp=McpSessions(to_this_machine(), held=held))
    asked = await executor.run(book(server), {"table": "table 7"}, call_id="c1")
    assert asked.question is not None
    await asyncio.sleep(0.3)
    assert held.take(asked.question) is None
    done = await executor.run(book(server), {"table": "table 7"}, call_id="c2", answer=answered(asked, "4"))
    await executor.close()
    assert done.status is CallStatus.UNKNOWN
    assert "booked" not in log.read_text()


async def test_no_user_is_asked_what_anothers_call_wants_to_know(executor: Executor, server: McpStdioServer) -> None:
    """In the handshake era a question names no call: of two under way, neither is put it, rather than the wrong one."""
    tables = [f"table {number}" for number in range(4)]
    asked = await asyncio.gather(*(executor.run(book(server), {"table": table}, call_id=table) for table in tables))
    for table, result in zip(tables, asked, strict=True):
        if result.status is CallStatus.INPUT_REQUIRED:
            done = await executor.run(book(server), {"table": table}, call_id=f"{table}b", answer=answered(result, "3"))
            assert done.content == f"{table} is booked for 3"
        else:
            assert "nothing was booked" in result.content
    later = await asyncio.gather(*(executor.run(book(server), {"table": table}, call_id=table) for table in tables))
    assert all(result.status is CallStatus.INPUT_REQUIRED for result in later)
    for table, result in zip(reversed(tables), reversed(later), strict=True):
        done = await executor.run(book(server), {"table": table}, call_id=f"{table}b", answer=answered(result, "3"))
        assert done.content == f"{table} is booked for 3"


FLAT = {
    "people": {"type": "integer", "minimum": 1},
    "ok": {"type": "boolean"},
    "price": {"type": "number"},
    "size": {"type": "string", "enum": ["s", "m"], "enumNames": ["Small", "Medium"]},
    "colour": {"type": "string", "oneOf": [{"const": "#f00", "title": "Red"}]},
    "days": {"type": "array", "items": {"type": "string", "enum": ["mon", "tue"]}},
    "name": {"type": "string", "title": "Your name"},
}


def question(*fields: str) -> Question:
    properties = {field: FLAT[field] for field in fields}
    requested = {"type": "object", "properties": properties, "required": list(fields)}
    return Question(call="c", message="?", requested=requested)


@pytest.mark.parametrize(
    ("fields", "text", "content"),
    [
        (("people",), "4", {"people": 4}),
        (("people",), "0", None),
        (("people",), "a few", None),
        (("ok",), "Yes!", {"ok": True}),
        (("ok",), "no thanks", {"ok": False}),
        (("ok",), "what is the weather?", None),
        (("price",), "2.50", {"price": 2.5}),
        (("size",), "medium", {"size": "m"}),
        (("size",), "huge", None),
        (("colour",), "red", {"colour": "#f00"}),
        (("days",), "mon and tue", {"days": ["mon", "tue"]}),
        (("name",), "Ada Young", {"name": "Ada Young"}),
        (("name", "people"), "Your name: Ada\npeople: 3", {"name": "Ada", "people": 3}),
        (("name", "people"), '{"name": "Ada", "people": 3}', {"name": "Ada", "people": 3}),
        (("name", "people"), '{"name": "Ada", "people": "3"}', None),
        (("name", "people"), "Ada", None),
        ((), "go ahead", {}),
        ((), "hm", None),
    ],
)
def test_words_are_read_as_the_schema_asks(fields: tuple[str, ...], text: str, content: dict | None) -> None:
    answer = read_answer(question(*fields), text)
    assert (answer.content if answer is not None else None) == content


@pytest.mark.parametrize("text", ["cancel", "Never mind.", "stop"])
def test_a_user_may_decline(text: str) -> None:
    assert read_answer(question("people"), text) == Answer(question=question("people"), content=None)
