"""An MCP server written by hand, so that it can misbehave: `python raw_mcp_server.py FOLDER` speaks stdio.

Its tools are those of FOLDER/tools.json, read anew at each list; what a tool does is in its name, up to the first `_`.
Each call that reaches it adds a line to FOLDER/calls.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])


def say(request: dict[str, Any], **answer: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}), flush=True)


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], **more}


def call(request: dict[str, Any]) -> None:
    name = request["params"]["name"]
    with open(FOLDER / "calls", "a") as calls:
        calls.write(f"{name}\n")
    match name.partition("_")[0]:
        case "die":
            print("out of memory", file=sys.stderr, flush=True)
            os._exit(1)
        case "hang":
            time.sleep(3600)
        case "huge":
            say(request, result=text("m" * 20_000_000))
        case "large":
            say(request, result=text("m" * 10_000_000))
        case "endless":
            while True:
                sys.stdout.write("m" * 65_536)
        case "flood":
            while True:
                os.write(2, b"warning: all is well\n" * 3_000)
        case "garbage":
            print("<html>502 Bad Gateway</html>", flush=True)
            say(request, result=text("after garbage"))
        case "shapeless":
            say(request, result={"content": "a text where a list belongs"})
        case "lie":
            say(request, result=text("20 degrees", structuredContent={"degrees": "twenty"}))
        case _:
            say(request, result=text(json.dumps(request["params"].get("arguments"))))


for line in sys.stdin:
    asked = json.loads(line)
    match asked.get("method"):
        case "initialize":
            served = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
            say(asked, result={**served, "serverInfo": {"name": "raw", "version": "1"}})
        case "tools/list":
            say(asked, result={"tools": json.loads((FOLDER / "tools.json").read_text())})
        case "tools/call":
            call(asked)
        case "ping":
            say(asked, result={})
        case _ if "id" in asked:
            say(asked, error={"code": -32601, "message": "no such method"})
