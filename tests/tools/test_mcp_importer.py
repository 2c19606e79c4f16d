import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.mcp_server import build_server
from tests.tools.serving import serving, to_this_machine
from tools.errors import ImportFailed
from tools.importers.mcp import discover, sort_out, survey
from tools.mcp_session import McpServer
from tools.spec import McpBackend, McpHttpServer, McpStdioServer, SideEffect

STDIO = McpStdioServer(command=sys.executable, args=(str(Path(__file__).with_name("mcp_server.py")),))


@pytest.fixture(params=["stdio", "http"])
def server(request: pytest.FixtureRequest) -> Iterator[McpServer]:
    if request.param == "stdio":
        yield STDIO
    else:
        with serving(build_server().streamable_http_app()) as url:
            yield McpHttpServer(url=f"{url}/mcp")


async def test_tools_come_with_schema_description_and_side_effect(server: McpServer) -> None:
    tools = {tool.name: tool for tool in await discover(server, to_this_machine(), prefix="shelter_")}
    pet = tools["shelter_find_pet"]
    assert pet.description == "Find a pet that waits for a home."
    assert pet.required == ("species",)
    assert pet.parameters["properties"]["max_age"]["type"] == "integer"
    assert isinstance(pet.backend, McpBackend)
    assert (pet.backend.server, pet.backend.remote_name) == (server, "find_pet")
    assert pet.backend.definition is not None
    assert pet.backend.definition["inputSchema"] == pet.parameters
    assert pet.side_effect is SideEffect.READ
    assert tools["shelter_reserve_pet"].side_effect is SideEffect.IDEMPOTENT
    assert tools["shelter_adopt_pet"].side_effect is SideEffect.WRITE


async def test_a_reserved_name_is_left_out_with_the_reason() -> None:
    found = await survey(STDIO, to_this_machine())
    assert "find_pet" in [tool.name for tool in found.tools]
    assert [(skipped.name, "reserved" in skipped.reason) for skipped in found.skipped] == [("ask_user", True)]


async def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(ImportFailed, match=r"http://127\.0\.0\.1:9/mcp.*connection attempts failed"):
        await discover(McpHttpServer(url="http://127.0.0.1:9/mcp"), to_this_machine())


async def test_a_server_that_dies_at_its_start_is_quoted() -> None:
    dying = McpStdioServer(command=sys.executable, args=("-c", "raise SystemExit('no licence')"))
    with pytest.raises(ImportFailed, match="no licence"):
        await discover(dying, to_this_machine())


def test_one_bad_tool_does_not_keep_the_others_out() -> None:
    offered = [
        {"name": "files/read", "inputSchema": {"type": "object"}},
        {"name": "files.read", "inputSchema": {"type": "object"}},
        {"name": "broken", "inputSchema": {"type": "object", "properties": {"a": {"type": "strange"}}}},
        {"name": "n" * 80, "inputSchema": {"type": "object"}},
        {"name": "outside", "inputSchema": {"type": "object", "$ref": "http://example.com/schema.json"}},
    ]
    found = sort_out(STDIO, offered)
    assert [(tool.name, tool.backend.remote_name) for tool in found.tools if isinstance(tool.backend, McpBackend)] == [
        ("files_read", "files/read")
    ]
    reasons = {skipped.name: skipped.reason for skipped in found.skipped}
    assert "taken" in reasons["files.read"]
    assert "$.parameters.properties.a.type" in reasons["broken"]
    assert "pattern" in reasons["n" * 80]
    assert "$defs" in reasons["outside"]
