"""The demo's MCP server, a public library: `python -m hone.demo.library` speaks stdio."""

import hashlib

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)

server = MCPServer("library")


def _number(text: str, low: int, high: int) -> int:
    return low + int.from_bytes(hashlib.sha256(text.lower().encode()).digest()[:4]) % (high - low)


@server.tool(annotations=READS)
def find_book(title: str) -> dict[str, object]:
    """Find a book by its title."""
    return {"shelf": f"B{_number(title, 1, 90)}", "copies": _number(title + "c", 0, 6)}


@server.tool()
def renew_loan(card: str, days: int) -> dict[str, object]:
    """Renew the loan of a library card."""
    if days > 60:
        raise ToolError("days must be 60 or fewer")
    return {"status": "renewed", "days": days}


@server.tool()
def reserve_room(room: str, date: str, seats: int) -> dict[str, object]:
    """Reserve a reading room."""
    return {"status": "reserved", "code": f"R{_number(room + date, 100, 999)}"}


@server.tool(annotations=READS)
def find_film(director: str, year: int | None = None) -> dict[str, object]:
    """Find a film by its director."""
    return {"shelf": f"F{_number(director, 1, 60)}", "year": year or _number(director, 1950, 2024)}


if __name__ == "__main__":
    server.run()
