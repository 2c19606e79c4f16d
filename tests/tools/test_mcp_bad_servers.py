"""MCP servers that misbehave: each is an outcome with its cause, in time, and other tools go on."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.tools.raw_mcp import RawServer, definition
from tests.tools.serving import to_this_machine
from tools.errors import ImportFailed
from tools.execution import CallResult, Executor
from tools.importers.mcp import survey
from tools.mcp_sessions import McpSessions
from tools.spec import CallStatus, McpStdioServer, ToolSpec

LIMIT_S = 5.0


@pytest.fixture
def raw(tmp_path: Path) -> RawServer:
    return RawServer(tmp_path)


@pytest_asyncio.fixture
async def executor() -> AsyncIterator[Executor]:
    executor = Executor(mcp=McpSessions(to_this_machine(), open_limit_s=20))
    yield executor
    await executor.close()


async def offered(server: McpStdioServer, timeout_s: float = LIMIT_S) -> dict[str, ToolSpec]:
    found = await survey(server, to_this_machine())
    return {tool.name: tool.model_copy(update={"timeout_s": timeout_s}) for tool in found.tools}


async def called(executor: Executor, raw: RawServer, name: str) -> CallResult:
    """One call of a tool of the server, and then one of another server's tool, which must not suffer."""
    raw.offers(definition(name), definition("echo"))
    neighbour = RawServer(raw.folder / "neighbour")
    neighbour.folder.mkdir()
    neighbour.offers(definition("echo"))
    tools, other = await offered(raw.server), await offered(neighbour.server)
    assert (await executor.run(tools["echo"], {"city": "Oslo"}, call_id="c0")).status is CallStatus.OK
    assert (await executor.run(other["echo"], {"city": "Oslo"}, call_id="c1")).status is CallStatus.OK
    began = time.monotonic()
    result = await executor.run(tools[name], {}, call_id="c2")
    assert time.monotonic() - began < LIMIT_S + 3
    now = await executor.run(other["echo"], {"city": "Oslo"}, call_id="c3")
    assert now.status is CallStatus.OK, now
    return result


@pytest.mark.parametrize(
    ("name", "status", "cause"),
    [
        ("die", CallStatus.FAILED, "out of memory"),
        ("hang", CallStatus.TIMEOUT, "no answer within 5 s"),
        ("huge", CallStatus.FAILED, "a message of more than 20,000,000 bytes"),
        ("large", CallStatus.FAILED, "more than the limit of 65,536"),
        ("endless", CallStatus.FAILED, "a message of more than 20,000,000 bytes"),
        ("flood", CallStatus.TIMEOUT, "no answer within 5 s"),
        ("garbage", CallStatus.OK, "after garbage"),
        ("shapeless", CallStatus.FAILED, "gave an answer that cannot be used"),
    ],
)
async def test_a_server_that_misbehaves_in_a_call_is_an_outcome_with_its_cause(
    executor: Executor, raw: RawServer, name: str, status: CallStatus, cause: str
) -> None:
    result = await called(executor, raw, name)
    assert result.status is status, result.content
    assert cause in result.content
    again = (await offered(raw.server))["echo"]
    assert (await executor.run(again, {"city": "Oslo"}, call_id="c4")).status is CallStatus.OK


async def test_a_result_that_breaks_the_tools_own_schema_is_a_failure(executor: Executor, raw: RawServer) -> None:
    degrees = {"type": "object", "properties": {"degrees": {"type": "number"}}}
    raw.offers(definition("lie", outputSchema=degrees))
    result = await executor.run((await offered(raw.server))["lie"], {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "'twenty' is not of type 'number'" in result.content


async def test_a_list_that_is_none_is_named_at_import(raw: RawServer) -> None:
    raw.offers(definition(inputSchema="anything"))
    with pytest.raises(ImportFailed, match="would not list its tools"):
        await survey(raw.server, to_this_machine())
