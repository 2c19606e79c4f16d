"""A real MCP server whose tools ask the user: `python asking_server.py LOG` speaks stdio in the current protocol.

LOG gets a line when a call begins to act and when it is done.
"""

import sys
from typing import Annotated

from mcp.server.mcpserver import Elicit, MCPServer, Resolve
from mcp_types import ToolAnnotations
from pydantic import BaseModel


class Party(BaseModel):
    people: int


class Name(BaseModel):
    name: str


def ask_people() -> Elicit[Party]:
    return Elicit("For how many people?", Party)


def ask_name() -> Elicit[Name]:
    return Elicit("In what name?", Name)


server = MCPServer("restaurant")


def note(line: str) -> None:
    with open(sys.argv[1], "a") as log:
        log.write(f"{line}\n")


@server.tool()
def book(table: str, party: Annotated[Party, Resolve(ask_people)]) -> str:
    """Books a table."""
    note(f"booked {table}")
    return f"{table} is booked for {party.people}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def find(area: str, party: Annotated[Party, Resolve(ask_people)], guest: Annotated[Name, Resolve(ask_name)]) -> str:
    """Finds a table."""
    return f"table 7 {area} seats {party.people}, kept for {guest.name}"


if __name__ == "__main__":
    server.run("stdio")
