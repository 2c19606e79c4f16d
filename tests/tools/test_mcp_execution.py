"""MCP tools against a real server, over stdio and over streamable HTTP."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from tests.tools.mcp_server import build_server
from tests.tools.serving import free_port, serving, to_this_machine
from tools.execution import CallResult, Executor
from tools.mcp_session import McpServer, McpSession
from tools.mcp_sessions import McpSessions
from tools.spec import CallStatus, McpBackend, McpHttpServer, McpStdioServer, SideEffect, ToolSpec

STDIO = McpStdioServer(command=sys.executable, args=(str(Path(__file__).with_name("mcp_server.py")),))


@pytest_asyncio.fixture
async def executor() -> AsyncIterator[Executor]:
    executor = Executor(mcp=McpSessions(to_this_machine(), open_limit_s=20))
    yield executor
    await executor.close()


@pytest.fixture(params=["stdio", "http"])
def server(request: pytest.FixtureRequest) -> Any:
    if request.param == "stdio":
        yield STDIO
    else:
        with serving(build_server().streamable_http_app()) as url:
            yield McpHttpServer(url=f"{url}/mcp")


def tool(server: McpServer, name: str, **changes: Any) -> ToolSpec:
    parameters = {"type": "object", "properties": {"species": {"type": "string"}}}
    return ToolSpec(name=name, parameters=parameters, backend=McpBackend(server=server, remote_name=name), **changes)


async def until(condition: Callable[[], Awaitable[bool]], *, limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.05)


async def test_a_tool_answers_through_one_kept_session(executor: Executor, server: McpServer) -> None:
    found = await executor.run(tool(server, "find_pet"), {"species": "cat"}, call_id="c1")
    assert found == CallResult(CallStatus.OK, '{"name": "Miro", "species": "cat", "max_age": 20}', found.latency_ms)
    counted = await executor.run(tool(server, "count_calls"), {}, call_id="c2")
    assert counted.content == "1"


async def test_a_server_is_told_which_span_calls_it_and_nothing_else(executor: Executor, server: McpServer) -> None:
    span = SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with use_span(NonRecordingSpan(span)):
        told = json.loads((await executor.run(tool(server, "tell_caller"), {}, call_id="c1")).content)
    assert told["traceparent"] == f"00-{0xA1:032x}-{0xB2:016x}-01"
    assert "baggage" not in told
    outside = json.loads((await executor.run(tool(server, "tell_caller"), {}, call_id="c2")).content)
    assert "traceparent" not in outside


async def test_a_tools_own_error_is_a_rejection(executor: Executor, server: McpServer) -> None:
    result = await executor.run(tool(server, "find_pet"), {"species": "dragon"}, call_id="c1")
    assert result.status is CallStatus.REJECTED
    assert "ask for a cat or a dog" in result.content


async def test_arguments_that_only_the_server_refuses_are_a_rejection(executor: Executor, server: McpServer) -> None:
    result = await executor.run(tool(server, "find_pet"), {}, call_id="c1")
    assert result.status is CallStatus.REJECTED
    assert "species" in result.content


async def test_calls_run_side_by_side_on_one_session(executor: Executor, server: McpServer) -> None:
    results = await asyncio.gather(
        *(executor.run(tool(server, "find_pet"), {"species": f"cat {n}"}, call_id=f"c{n}") for n in range(10))
    )
    assert [json.loads(result.content)["species"] for result in results] == [f"cat {n}" for n in range(10)]


async def test_a_tool_that_hangs_runs_out_of_time_and_the_next_call_works(
    executor: Executor, server: McpServer
) -> None:
    await executor.run(tool(server, "count_calls"), {}, call_id="c1")
    hung = await executor.run(tool(server, "stare", timeout_s=0.3), {}, call_id="c2")
    assert hung.status is CallStatus.TIMEOUT
    assert (await executor.run(tool(server, "count_calls"), {}, call_id="c3")).status is CallStatus.OK


async def test_a_result_over_the_limit_is_a_failure_naming_it(executor: Executor, server: McpServer) -> None:
    result = await executor.run(tool(server, "recite", max_result_bytes=1_000), {"size": 2_000_000}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "more than the limit of 1,000" in result.content


async def test_a_write_on_a_dying_server_is_not_repeated(executor: Executor) -> None:
    result = await executor.run(tool(STDIO, "bolt", side_effect=SideEffect.WRITE), {}, call_id="c1")
    assert result.status is CallStatus.UNKNOWN
    assert "not known whether the tool ran" in result.content


async def test_a_read_that_finds_its_server_dead_is_sent_to_a_new_one(executor: Executor) -> None:
    await executor.run(tool(STDIO, "find_pet"), {"species": "cat"}, call_id="c1")
    await executor.run(tool(STDIO, "bolt", side_effect=SideEffect.WRITE), {}, call_id="c2")
    counted = await executor.run(tool(STDIO, "count_calls"), {}, call_id="c3")
    assert (counted.status, counted.content) == (CallStatus.OK, "0")


async def test_a_restarted_http_server_is_found_again(executor: Executor) -> None:
    port = free_port()
    spec = tool(McpHttpServer(url=f"http://127.0.0.1:{port}/mcp"), "adopt_pet", side_effect=SideEffect.WRITE)
    with serving(build_server().streamable_http_app(), port=port):
        assert (await executor.run(spec, {"name": "Miro"}, call_id="c1")).status is CallStatus.OK
    down = await executor.run(spec, {"name": "Miro"}, call_id="c2")
    # The session was open: the SDK does not say whether the request left before it broke.
    assert down.status is CallStatus.UNKNOWN
    assert f"http://127.0.0.1:{port}/mcp" in down.content

    async def back() -> bool:
        return (await executor.run(spec, {"name": "Miro"}, call_id="c3")).status is CallStatus.OK

    with serving(build_server().streamable_http_app(), port=port):
        await until(back)


@pytest.mark.parametrize(
    ("server", "cause"),
    [
        (McpStdioServer(command="no-such-command-here"), "there is no command 'no-such-command-here'"),
        (McpStdioServer(command=sys.executable, args=("-c", "raise SystemExit('no licence')")), "no licence"),
        (McpHttpServer(url="http://127.0.0.1:9/mcp"), "connection attempts failed"),
    ],
)
async def test_a_server_that_cannot_be_opened_is_a_failure_with_its_cause(
    executor: Executor, server: McpServer, cause: str
) -> None:
    result = await executor.run(tool(server, "find_pet"), {"species": "cat"}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert cause in result.content


async def test_a_server_that_never_shakes_hands_is_given_up() -> None:
    silent = McpStdioServer(command=sys.executable, args=("-c", "import sys; sys.stdin.read()"))
    executor = Executor(mcp=McpSessions(to_this_machine(), open_limit_s=0.5))
    result = await executor.run(tool(silent, "find_pet"), {"species": "cat"}, call_id="c1")
    await executor.close()
    assert result.status is CallStatus.FAILED
    assert "did not answer the handshake within 0.5 s" in result.content


async def test_a_cancelled_turn_leaves_the_session_in_use(executor: Executor) -> None:
    await executor.run(tool(STDIO, "find_pet"), {"species": "cat"}, call_id="c1")
    turn = asyncio.create_task(executor.run(tool(STDIO, "stare"), {}, call_id="c2"))

    async def arrived() -> bool:
        return (await executor.run(tool(STDIO, "count_calls"), {}, call_id="c3")).content == "2"

    await until(arrived)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert (await executor.run(tool(STDIO, "count_calls"), {}, call_id="c4")).content == "2"


def telling_its_pid(pid_file: Path) -> McpStdioServer:
    script = "import os, runpy, sys; open(sys.argv[1], 'w').write(str(os.getpid())); " + (
        f"runpy.run_path({str(Path(__file__).with_name('mcp_server.py'))!r}, run_name='__main__')"
    )
    return McpStdioServer(command=sys.executable, args=("-c", script, str(pid_file)))


async def test_closing_ends_the_servers_process(tmp_path: Path) -> None:
    executor = Executor()
    spec = tool(telling_its_pid(tmp_path / "pid"), "count_calls")
    assert (await executor.run(spec, {}, call_id="c1")).status is CallStatus.OK
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    await executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_server_that_dies_while_idle_is_noticed_before_a_call_is_lost_on_it(tmp_path: Path) -> None:
    session = McpSession(telling_its_pid(tmp_path / "pid"), to_this_machine(), open_limit_s=20)
    await session.call("count_calls", {})
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    async def noticed() -> bool:
        return session.retired

    await until(noticed)
    await session.close()
    assert session.ended
