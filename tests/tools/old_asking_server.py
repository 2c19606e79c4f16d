# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The same server as `asking_server.py`, written for the SDK of the handshake era (mcp 1.x), where a question is a request
of the server in the middle of a call. It runs in that era's environment, not in ours."""

import sys

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import ToolAnnotations
from pydantic import BaseModel


class Party(BaseModel):
    people: int


class Name(BaseModel):
    name: str


server = FastMCP("restaurant")


def note(line: str) -> None:
    with open(sys.argv[1], "a") as log:
        log.write(f"{line}\n")


@server.tool()
async def book(table: str, ctx: Context) -> str:
    """Books a table."""
    note(f"asked for {table}")
    party = await ctx.elicit("For how many people?", Party)
    if party.action != "accept":
        return "nothing was booked"
    note(f"booked {table}")
    return f"{table} is booked for {party.data.people}"


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def find(area: str, ctx: Context) -> str:
    """Finds a table."""
    party = await ctx.elicit("For how many people?", Party)
    if party.action != "accept":
        return "nothing was looked for"
    guest = await ctx.elicit("In what name?", Name)
    return f"table 7 {area} seats {party.data.people}, kept for {guest.data.name}"


if __name__ == "__main__":
    server.run("stdio")
