"""`raw_mcp_server.py` from the side of a test: what it offers, and what reached it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.spec import McpStdioServer


@dataclass(frozen=True)
class RawServer:
    folder: Path

    @property
    def server(self) -> McpStdioServer:
        script = Path(__file__).with_name("raw_mcp_server.py")
        return McpStdioServer(command=sys.executable, args=(str(script), str(self.folder)))

    def offers(self, *definitions: dict[str, Any]) -> None:
        """From its next list on."""
        (self.folder / "tools.json").write_text(json.dumps(definitions))

    @property
    def calls(self) -> list[str]:
        """Names of the tools whose calls reached it."""
        log = self.folder / "calls"
        return log.read_text().split() if log.exists() else []


def definition(name: str = "weather", description: str = "Tells the weather.", **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {
        "name": name,
        "description": description,
        "inputSchema": schema,
        "annotations": {"readOnlyHint": True},
        **more,
    }
