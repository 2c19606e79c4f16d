"""A server made with FastMCP: `python fastmcp_server.py PORT` serves streamable HTTP. It runs in FastMCP's environment."""

import sys

from fastmcp import FastMCP  # pyright: ignore[reportMissingImports]
from fastmcp.exceptions import ToolError  # pyright: ignore[reportMissingImports]

shop = FastMCP("shop")


@shop.tool(annotations={"readOnlyHint": True})
def price(tea: str) -> dict[str, object]:
    """What a cup of tea costs."""
    if tea == "gold":
        raise ToolError("no gold tea today")
    return {"tea": tea, "price": 2.5}


@shop.tool
def order(tea: str, cups: int = 1) -> str:
    """Orders tea."""
    return f"{cups} cups of {tea}"


if __name__ == "__main__":
    shop.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="ERROR")
