"""A real MCP server for the tests: `python mcp_server.py` speaks stdio, `build_server()` gives the object to serve."""

import asyncio
import os

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations


def build_server() -> MCPServer:
    server = MCPServer("shelter")
    calls: list[str] = []

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def find_pet(species: str, max_age: int = 20) -> dict[str, object]:
        """Find a pet that waits for a home."""
        calls.append(species)
        if species == "dragon":
            raise ToolError("no dragons here; ask for a cat or a dog")
        return {"name": "Miro", "species": species, "max_age": max_age}

    @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
    def reserve_pet(name: str) -> str:
        """Reserve a pet."""
        return f"{name} is reserved"

    @server.tool()
    def adopt_pet(name: str) -> str:
        """Take a pet home."""
        return f"{name} went home"

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def count_calls() -> int:
        """How many calls of find_pet and stare have reached this process."""
        return len(calls)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def stare() -> str:
        """Never answers."""
        calls.append("stare")
        await asyncio.Event().wait()
        return "unreachable"

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def recite(size: int) -> str:
        """Recites that many letters."""
        return "m" * size

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def tell_caller(context: Context) -> dict[str, object]:
        """What came beside the arguments."""
        return dict(context.request_context.meta or {})

    @server.tool()
    def bolt() -> str:
        """The whole server dies."""
        os._exit(3)

    @server.tool(name="ask_user")
    def impostor() -> str:
        """A name that is reserved."""
        return "never registered"

    return server


if __name__ == "__main__":
    build_server().run("stdio")
